"""Convolutions: each with its batch norm and activation, plain, depthwise, transposed, and Ghost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import nn

from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.registry import register
from ultralytics.utils.torch_utils import fuse_conv_and_bn, fuse_deconv_and_bn

_default_act: ContextVar[nn.Module | None] = ContextVar("default_act", default=None)


@contextmanager
def default_activation(act: nn.Module | None) -> Iterator[None]:
    """Make `act=True` mean `act` (None: `Conv.default_act`) in every convolution that is built within this context."""
    token = _default_act.set(act)
    try:
        yield
    finally:
        _default_act.reset(token)


def activation(act: bool | nn.Module) -> nn.Module:
    """Return the module that an `act` argument names: True the default, False none, or the module given."""
    if isinstance(act, nn.Module):
        return act
    return (_default_act.get() or Conv.default_act) if act else nn.Identity()


def autopad(k: int | Sequence[int], p: int | Sequence[int] | None = None, d: int = 1) -> int | Sequence[int]:
    """Return the padding that keeps height and width at stride 1, for kernel `k` and dilation `d`."""
    if p is not None:
        return p
    return (d * (k - 1)) // 2 if isinstance(k, int) else [(d * (x - 1)) // 2 for x in k]


@register
class Conv(nn.Module):
    """Convolution, batch norm, activation."""

    default_act = nn.SiLU()

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int | tuple[int, int] = 1,
        s: int = 1,
        p: int | tuple[int, int] | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
    ):
        super().__init__()
        padding = cast("int | tuple[int, int]", autopad(k, p, d))
        self.conv = nn.Conv2d(c1, c2, k, s, padding, groups=g, dilation=d, bias=False)
        self.bn: nn.BatchNorm2d | None = BatchNorm2d(c2)
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.act(x if self.bn is None else self.bn(x))

    def fuse(self) -> None:
        """Fold the batch norm into the convolution (inference only)."""
        if self.bn is not None:
            self.conv, self.bn = fuse_conv_and_bn(self.conv, self.bn), None


@register
class DWConv(Conv):
    """Depthwise convolution: as many groups as the channels allow."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, d: int = 1, act: bool | nn.Module = True):
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


@register
class ConvTranspose(nn.Module):
    """Transposed convolution, batch norm (optional), activation."""

    def __init__(
        self, c1: int, c2: int, k: int = 2, s: int = 2, p: int = 0, bn: bool = True, act: bool | nn.Module = True
    ):
        super().__init__()
        self.conv_transpose = nn.ConvTranspose2d(c1, c2, k, s, p, bias=not bn)
        self.bn: nn.BatchNorm2d | None = BatchNorm2d(c2) if bn else None
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_transpose(x)
        return self.act(x if self.bn is None else self.bn(x))

    def fuse(self) -> None:
        """Fold the batch norm into the transposed convolution (inference only)."""
        if self.bn is not None:
            self.conv_transpose, self.bn = fuse_deconv_and_bn(self.conv_transpose, self.bn), None


@register
class GhostConv(nn.Module):
    """Ghost module: half of the channels from a convolution, the other half from a cheap 5x5 depthwise one of them.

    GhostNet: More Features from Cheap Operations, arXiv 1911.11907, section 3.1, with ratio s = 2 and d = 5. It saves
    nearly half of the parameters and FLOPs where `k` is 3, little where `k` is 1; the depthwise half is memory-bound,
    so measured latency falls less than FLOPs, or not at all.
    """

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool | nn.Module = True):
        super().__init__()
        hidden = c2 // 2
        self.cv1 = Conv(c1, hidden, k, s, None, g, act=act)
        self.cv2 = Conv(hidden, hidden, 5, 1, None, hidden, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        intrinsic = self.cv1(x)
        return torch.cat((intrinsic, self.cv2(intrinsic)), 1)


@register
class Ghost(nn.Module):
    """Ghost bottleneck: two GhostConvs with half of the output channels between them, and a shortcut.

    At stride 2 there is a depthwise convolution between the two and in the shortcut; at stride 1 the shortcut is the
    identity, so `c1` must equal `c2`. arXiv 1911.11907, section 3.2, figure 3. It is the same network as
    `GhostBottleneck`, with the same names and shapes of weights: tutorials use both names.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1):
        super().__init__()
        hidden = c2 // 2
        self.conv = nn.Sequential(
            GhostConv(c1, hidden, 1, 1),
            DWConv(hidden, hidden, k, s, act=False) if s == 2 else nn.Identity(),
            GhostConv(hidden, c2, 1, 1, act=False),
        )
        self.shortcut = (
            nn.Sequential(DWConv(c1, c1, k, s, act=False), Conv(c1, c2, 1, 1, act=False)) if s == 2 else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.shortcut(x)


@register
class Concat(nn.Module):
    """Concatenation of a list of tensors along `dimension`."""

    def __init__(self, dimension: int = 1):
        super().__init__()
        self.d = dimension

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat(x, self.d)
