"""Convolutions: each with its batch norm and activation, plain, depthwise, transposed, with branches, and Ghost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.modules.attention import CBAM, ChannelAttention, SpatialAttention  # noqa: F401  where 8.3.0 has them
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.registry import bind_scaled, register
from ultralytics.utils.errors import ModelError
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
    """Return the padding that keeps height and width at stride 1, for kernel `k` and dilation `d`.

    An even kernel at dilation 1 adds a row and a column, as in 8.3.0.
    """
    if p is not None:
        return p
    return (d * (k - 1) + 1) // 2 if isinstance(k, int) else [(d * (x - 1) + 1) // 2 for x in k]


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
        if self.bn is None:
            return self.forward_fuse(x)
        return self.act(self.bn(self.conv(x)))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output where there is no batch norm: `fuse` has folded it into the convolution."""
        return self.act(self.conv(x))

    def fuse(self) -> None:
        """Fold the batch norm into the convolution (inference only)."""
        if self.bn is not None:
            self.conv, self.bn = fuse_conv_and_bn(self.conv, self.bn), None


@torch.no_grad()
def add_kernel(conv: nn.Conv2d, other: nn.Conv2d) -> None:
    """Add a convolution with a smaller kernel of the same groups to `conv` in place, with its bias if both have one."""
    high, wide = ((a - b) // 2 for a, b in zip(conv.kernel_size, other.kernel_size))
    conv.weight += F.pad(other.weight, [wide, wide, high, high])
    if conv.bias is not None and other.bias is not None:
        conv.bias += other.bias


def identity_like(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the 1x1 convolution with the groups of `conv` that is the identity."""
    same = nn.Conv2d(conv.in_channels, conv.out_channels, 1, groups=conv.groups, bias=False).to(conv.weight)
    nn.init.dirac_(same.weight, conv.groups)
    return same


@register
class Conv2(Conv):
    """`Conv` with a 1x1 convolution beside its own, before the batch norm; `fuse` adds the two kernels up."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 3,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
    ):
        super().__init__(c1, c2, k, s, p, g, d, act)
        padding = cast(int, autopad(1, p, d))
        self.cv2: nn.Conv2d | None = nn.Conv2d(c1, c2, 1, s, padding, groups=g, dilation=d, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.cv2 is None:
            return super().forward(x)
        assert self.bn is not None
        return self.act(self.bn(self.conv(x) + self.cv2(x)))

    def fuse_convs(self) -> None:
        """Add the 1x1 convolution to the other one."""
        if self.cv2 is not None:
            add_kernel(self.conv, self.cv2)
            self.cv2 = None

    def fuse(self) -> None:
        """Add both convolutions up and fold the batch norm into them (inference only)."""
        self.fuse_convs()
        super().fuse()


@register
class RepConv(nn.Module):
    """3x3 and 1x1 convolutions beside each other, each with its batch norm; `fuse` makes them one convolution.

    RepVGG, arXiv 2101.03697, section 3.

    Args:
        c1, c2, k, s, p, g, d, act: as for `Conv`; `k` must be 3 and `p` 1.
        bn: add a third branch, the identity with a batch norm, where the shapes allow it.
        deploy: without effect, as in 8.3.0.
    """

    default_act = nn.SiLU()  # also where the YAML names another activation, as in 8.3.0

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 3,
        s: int = 1,
        p: int = 1,
        g: int = 1,
        d: int = 1,
        act: bool | nn.Module = True,
        bn: bool = False,
        deploy: bool = False,
    ):
        super().__init__()
        if k != 3 or p != 1:
            raise ModelError(f"RepConv has a kernel of size 3 and padding 1, not k={k} and p={p}. Use Conv for others.")
        self.g, self.c1, self.c2 = g, c1, c2
        self.act = self.default_act if act is True else activation(act)
        self.conv: nn.Conv2d | None = None  # all branches, once they are fused
        self.bn: nn.BatchNorm2d | None = BatchNorm2d(c1) if bn and c2 == c1 and s == 1 else None
        self.conv1: Conv | None = Conv(c1, c2, k, s, p=p, g=g, act=False)
        self.conv2: Conv | None = Conv(c1, c2, 1, s, p=p - k // 2, g=g, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv1 is None or self.conv2 is None:
            return self.forward_fuse(x)
        y = self.conv1(x) + self.conv2(x)
        return self.act(y if self.bn is None else y + self.bn(x))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output of the single convolution that `fuse_convs` leaves."""
        assert self.conv is not None
        return self.act(self.conv(x))

    @torch.no_grad()
    def fuse_convs(self) -> None:
        """Fold all branches into one convolution (inference only)."""
        if self.conv1 is None or self.conv2 is None:
            return
        self.conv1.fuse()
        self.conv2.fuse()
        whole = self.conv1.conv
        add_kernel(whole, self.conv2.conv)
        if self.bn is not None:
            add_kernel(whole, fuse_conv_and_bn(identity_like(whole), self.bn))
        self.conv, self.conv1, self.conv2, self.bn = whole, None, None, None

    def fuse(self) -> None:
        """Fold all branches into one convolution (inference only)."""
        self.fuse_convs()


@register
class LightConv(nn.Module):
    """1x1 convolution without activation, then a depthwise one of size `k` (PP-HGNetV2)."""

    def __init__(self, c1: int, c2: int, k: int = 1, act: bool | nn.Module | None = None):
        super().__init__()
        self.conv1 = Conv(c1, c2, 1, act=False)
        self.conv2 = DWConv(c2, c2, k, act=nn.ReLU() if act is None else act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv2(self.conv1(x))


@register
class Focus(nn.Module):
    """Move each 2x2 square of pixels into the channels, then a convolution: (b, c1, h, w) to (b, c2, h / 2, w / 2)."""

    def __init__(
        self,
        c1: int,
        c2: int,
        k: int = 1,
        s: int = 1,
        p: int | None = None,
        g: int = 1,
        act: bool | nn.Module = True,
    ):
        super().__init__()
        self.conv = Conv(c1 * 4, c2, k, s, p, g, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1))


@register
class DWConv(Conv):
    """Depthwise convolution: as many groups as the channels allow."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, d: int = 1, act: bool | nn.Module = True):
        super().__init__(c1, c2, k, s, g=math.gcd(c1, c2), d=d, act=act)


register(nn.ConvTranspose2d, bind=bind_scaled, name="nn.ConvTranspose2d")


@register
class DWConvTranspose2d(nn.ConvTranspose2d):
    """Depthwise transposed convolution: as many groups as the channels allow."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p1: int = 0, p2: int = 0):
        super().__init__(c1, c2, k, s, p1, p2, groups=math.gcd(c1, c2))


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
        if self.bn is None:
            return self.forward_fuse(x)
        return self.act(self.bn(self.conv_transpose(x)))

    def forward_fuse(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output where there is no batch norm: `fuse` has folded it into the transposed convolution."""
        return self.act(self.conv_transpose(x))

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
