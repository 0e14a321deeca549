"""Connections from one backbone into another, by which YOLOv9-E feeds its second one.

Liang et al., CBNet: A Composite Backbone Network Architecture for Object Detection, arXiv 2107.00420.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.registry import Bound, Context, register


def _bind_linear(context: Context, args: list) -> Bound:
    """Bind the input channels and the YAML arguments; the maps together have the sum of the channels named."""
    return Bound([context.c1, *args], sum(args[0]), context.repeats)


@register(bind=_bind_linear)
class CBLinear(nn.Module):
    """One convolution whose output is split into maps of `c2s` channels each, which come as a tuple."""

    def __init__(self, c1: int, c2s: Sequence[int], k: int = 1, s: int = 1, p: int | None = None, g: int = 1):
        super().__init__()
        self.c2s = list(c2s)
        self.conv = nn.Conv2d(c1, sum(c2s), k, s, k // 2 if p is None else p, groups=g, bias=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.conv(x).split(self.c2s, 1)


def _bind_fuse(context: Context, args: list) -> Bound:
    """Bind the YAML arguments; the channels are those of the last input."""
    return Bound(list(args), context.channels[-1], context.repeats)


@register(bind=_bind_fuse)
class CBFuse(nn.Module):
    """The sum of the last input and of one map of each input before it, resized to it (nearest).

    Args:
        idx: which map of each of these inputs, which are tuples as of `CBLinear`.
    """

    def __init__(self, idx: Sequence[int]):
        super().__init__()
        self.idx = list(idx)

    def forward(self, x: Sequence) -> torch.Tensor:
        *sources, last = x
        maps = [F.interpolate(maps[i], size=last.shape[2:], mode="nearest") for i, maps in zip(self.idx, sources)]
        return torch.stack([*maps, last]).sum(0)
