"""Activations with parameters of their own."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class AGLU(nn.Module):
    """Adaptive generalized linear unit: between softplus-like and sigmoid-like curves, by two learned numbers.

    Alexandridis et al., Adaptive Parametric Activation, arXiv 2407.08567, equation 4.
    """

    def __init__(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None):
        super().__init__()
        self.lambd = nn.Parameter(torch.rand(1, device=device, dtype=dtype))
        self.kappa = nn.Parameter(torch.rand(1, device=device, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lambd = self.lambd.clamp(min=1e-4)  # its inverse stays finite
        return (-F.softplus(lambd.log() - self.kappa * x) / lambd).exp()
