"""Small functions for the layers of transformers and heads, under their names of 8.3.0."""

from __future__ import annotations

import math

import torch
from torch import nn


def bias_init_with_prob(prior_prob: float = 0.01) -> float:
    """Return the bias with which a sigmoid starts at the probability `prior_prob`, 0..1."""
    return -math.log((1 - prior_prob) / prior_prob)


def linear_init(module: nn.Linear) -> None:
    """Draw weights and bias of a linear layer uniformly from +-1 / sqrt(its outputs)."""
    bound = 1 / math.sqrt(module.out_features)
    nn.init.uniform_(module.weight, -bound, bound)
    if module.bias is not None:
        nn.init.uniform_(module.bias, -bound, bound)


def inverse_sigmoid(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Return the logits of probabilities; both they and their complements are taken as at least `eps`."""
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()
