"""1x1 convolutions that read several maps, or give several, without concatenating them in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.modules.conv import activation
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.utils.torch_utils import fuse_conv_and_bn

Factor = float | tuple[float, ...]


def start_like_dense(weight: torch.Tensor, k: int, c: int) -> None:
    """Initialize weights like those of a dense k x k convolution of `c` channels, uniformly in +-1 / (k sqrt(c)).

    Adam moves every weight by steps of one size. Before a batch norm a depthwise or 1x1 kernel, which PyTorch starts
    sqrt(c) or k times larger, turns that many times slower than the dense ones beside it: docs/ghost-design.md.
    """
    bound = 1 / (k * math.sqrt(c))
    nn.init.uniform_(weight, -bound, bound)


class JoinConv(nn.Module):
    """1x1 convolution of concatenated maps, computed without concatenation: the sum of one convolution per map.

    Args:
        ch: channels of the maps.
        c2: output channels.
        up: the first map has half of the others' height and width; its product is upsampled (nearest), which equals
            the convolution of the upsampled map at a quarter of the cost.
    """

    def __init__(self, ch: list[int], c2: int, up: bool = False, act: bool | nn.Module = True):
        super().__init__()
        convs = [nn.Conv2d(c, c2, 1, bias=False) for c in ch]
        self.convs = nn.ModuleList(convs)
        self.bn: nn.BatchNorm2d | None = BatchNorm2d(c2)
        self.act = activation(act)
        self.factors: list[Factor | None] = [2.0 if up and i == 0 else None for i in range(len(ch))]  # of upsampling
        for conv in convs:
            start_like_dense(conv.weight, 3, sum(ch))

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        first, *others = (
            conv(part) if factor is None else F.interpolate(conv(part), scale_factor=factor, mode="nearest")
            for conv, factor, part in zip(self.convs, self.factors, x)
        )
        y = sum(others, first)
        return self.act(y if self.bn is None else self.bn(y))

    def fuse(self) -> None:
        """Fold the batch norm into the convolutions; the first one takes the bias (inference only)."""
        if self.bn is None:
            return
        folded = [fuse_conv_and_bn(conv, self.bn) for conv in self.convs if isinstance(conv, nn.Conv2d)]
        for conv in folded[1:]:
            conv.bias = None
        self.convs, self.bn = nn.ModuleList(folded), None


class SplitConv(nn.Module):
    """Convolutions of one input, each giving a part of the channels; the parts come as a tuple."""

    def __init__(self, parts: Sequence[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(part(x) for part in self.parts)


def joined(conv: nn.Module, maps: list[torch.Tensor]) -> torch.Tensor:
    """Return the convolution of concatenated maps; a `JoinConv` reads them where they are."""
    return conv(maps if isinstance(conv, JoinConv) else torch.cat(maps, 1))


def halves(conv: nn.Module, x: torch.Tensor | list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return the two halves of a convolution's output channels; a `SplitConv` computes them separately."""
    y = conv(x)
    return y if isinstance(conv, SplitConv) else y.chunk(2, 1)
