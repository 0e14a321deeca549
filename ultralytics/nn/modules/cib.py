"""The compact inverted block of YOLOv10, and its large depthwise convolution."""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.nn.modules.conv import Conv, add_kernel
from ultralytics.nn.registry import register


@register
class RepVGGDW(nn.Module):
    """Depthwise 7x7 convolution with a 3x3 one beside it in training; `fuse` adds the two kernels up.

    RepVGG, arXiv 2101.03697; large kernels in YOLOv10, arXiv 2405.14458, section 3.2.
    """

    def __init__(self, ed: int):
        super().__init__()
        self.conv: Conv | nn.Conv2d = Conv(ed, ed, 7, 1, 3, g=ed, act=False)
        self.conv1: Conv | None = Conv(ed, ed, 3, 1, 1, g=ed, act=False)
        self.dim = ed
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv1 is None:
            return self.forward_fuse(x)
        return self.act(self.conv(x) + self.conv1(x))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the single convolution that `fuse` leaves."""
        return self.act(self.conv(x))

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold both convolutions with their batch norms into one of size 7 (inference only)."""
        if self.conv1 is None:
            return
        for branch in (self.conv, self.conv1):
            if isinstance(branch, Conv):
                branch.fuse()
        assert isinstance(self.conv, Conv)
        whole = self.conv.conv
        add_kernel(whole, self.conv1.conv)
        self.conv, self.conv1 = whole, None


@register
class CIB(nn.Module):
    """Compact inverted block: depthwise and 1x1 convolutions in turn, and a shortcut where the channels allow one.

    YOLOv10, arXiv 2405.14458, section 3.2.

    Args:
        c1: input channels.
        c2: output channels.
        shortcut: add the input.
        e: half of the widest channels, as a share of `c2`.
        lk: the depthwise convolution in the middle has a large kernel, see `RepVGGDW`.
    """

    def __init__(self, c1: int, c2: int, shortcut: bool = True, e: float = 0.5, lk: bool = False):
        super().__init__()
        wide = 2 * int(c2 * e)
        self.cv1 = nn.Sequential(
            Conv(c1, c1, 3, g=c1),
            Conv(c1, wide, 1),
            RepVGGDW(wide) if lk else Conv(wide, wide, 3, g=wide),
            Conv(wide, c2, 1),
            Conv(c2, c2, 3, g=c2),
        )
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.cv1(x) if self.add else self.cv1(x)
