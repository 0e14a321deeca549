"""The parts that GhostNet V1 and V2 are built of.

Han et al., "GhostNet: More Features from Cheap Operations", arXiv 1911.11907, section 3;
Tang et al., "GhostNetV2: Enhance Cheap Operation with Long-Range Attention", arXiv 2211.12905, section 4.
Attribute names are those of the published weight files.
"""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.utils.errors import ModelError


def round_channels(channels: float, divisor: int = 4) -> int:
    """Return the multiple of `divisor` nearest to `channels`, never more than 10 % below it and at least `divisor`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_bn(c1: int, c2: int, k: int | tuple[int, int], s: int = 1, g: int = 1, act: bool = False) -> list[nn.Module]:
    """Return a convolution that keeps the size at stride 1, its batch norm and, if asked for, ReLU."""
    padding = k // 2 if isinstance(k, int) else tuple(n // 2 for n in k)
    layers: list[nn.Module] = [nn.Conv2d(c1, c2, k, s, padding, groups=g, bias=False), BatchNorm2d(c2)]
    return [*layers, nn.ReLU(inplace=True)] if act else layers


class GhostModule(nn.Module):
    """Half of the maps by a convolution, the rest from those by a cheap depthwise one (1911.11907, section 3.1).

    Args:
        c1: input channels.
        c2: output channels; ceil(c2 / ratio) of them are intrinsic.
        k: kernel of the primary convolution.
        ratio: `s` of the paper, output maps for each intrinsic one.
        d: kernel of the cheap depthwise convolution.
        act: ReLU behind both parts.
    """

    def __init__(self, c1: int, c2: int, k: int = 1, ratio: int = 2, d: int = 3, act: bool = True):
        super().__init__()
        intrinsic = math.ceil(c2 / ratio)
        self.c2 = c2
        self.primary_conv = nn.Sequential(*conv_bn(c1, intrinsic, k, act=act))
        self.cheap_operation = nn.Sequential(*conv_bn(intrinsic, intrinsic * (ratio - 1), d, g=intrinsic, act=act))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        intrinsic = self.primary_conv(x)
        maps = torch.cat((intrinsic, self.cheap_operation(intrinsic)), 1)
        return maps[:, : self.c2]  # c2 need not be a multiple of the ratio


class DFCGhostModule(GhostModule):
    """A Ghost module gated by decoupled fully connected attention (2211.12905, section 4.1).

    The gate sees a row, then a column, at half the size: two depthwise convolutions stand for the two fully connected
    layers, so any picture size fits.
    """

    def __init__(self, c1: int, c2: int, k: int = 1, ratio: int = 2, d: int = 3, act: bool = True, reach: int = 5):
        super().__init__(c1, c2, k, ratio, d, act)
        self.short_conv = nn.Sequential(
            *conv_bn(c1, c2, k), *conv_bn(c2, c2, (1, reach), g=c2), *conv_bn(c2, c2, (reach, 1), g=c2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = super().forward(x)
        window = [min(2, size) for size in x.shape[-2:]]  # a side of one pixel cannot be halved
        gate = self.short_conv(F.avg_pool2d(x, window)).sigmoid()
        return maps * F.interpolate(gate, size=maps.shape[-2:], mode="nearest")


class SqueezeExcite(nn.Module):
    """Weigh each channel by a hard sigmoid of what all channels hold on average (Hu et al., arXiv 1709.01507)."""

    def __init__(self, c: int, ratio: float = 0.25):
        super().__init__()
        hidden = round_channels(c * ratio)
        self.conv_reduce = nn.Conv2d(c, hidden, 1)
        self.conv_expand = nn.Conv2d(hidden, c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.conv_expand(squeezed))


class GhostBottleneck(nn.Module):
    """Expand by a Ghost module, halve the size at stride 2, reduce by a second one without ReLU, add the shortcut.

    1911.11907, section 3.2; with `attention` the first module is a DFC one: the block of 2211.12905, section 4.2.

    Args:
        c1: input channels.
        hidden: channels between the two Ghost modules.
        c2: output channels.
        k: kernel of the depthwise convolutions at stride 2 and in the shortcut.
        s: stride, 1 or 2.
        se_ratio: hidden share of the squeeze-and-excitation between the modules; 0: none.
        attention: gate the first module by DFC attention.
    """

    def __init__(
        self, c1: int, hidden: int, c2: int, k: int = 3, s: int = 1, se_ratio: float = 0.0, attention: bool = False
    ):
        super().__init__()
        self.ghost1 = (DFCGhostModule if attention else GhostModule)(c1, hidden)
        self.conv_dw, self.bn_dw = conv_bn(hidden, hidden, k, s, g=hidden) if s > 1 else (nn.Identity(), nn.Identity())
        self.se = SqueezeExcite(hidden, se_ratio) if se_ratio else nn.Identity()
        self.ghost2 = GhostModule(hidden, c2, act=False)
        keep = c1 == c2 and s == 1
        self.shortcut = nn.Sequential(*([] if keep else [*conv_bn(c1, c1, k, s, g=c1), *conv_bn(c1, c2, 1)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.bn_dw(self.conv_dw(self.ghost1(x)))
        return self.ghost2(self.se(hidden)) + self.shortcut(x)


class ConvBnAct(nn.Module):
    """A 1x1 convolution, batch norm and ReLU, under the names of the published files."""

    def __init__(self, c1: int, c2: int):
        super().__init__()
        self.conv, self.bn1, self.act1 = conv_bn(c1, c2, 1, act=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act1(self.bn1(self.conv(x)))


class ReducedLinear(nn.Module):
    """A linear layer over the means of `reduction` neighbouring inputs: its weights shrink by that factor.

    Shapes: (..., in_features) -> (..., out_features).
    """

    def __init__(self, in_features: int, out_features: int, reduction: int = 4):
        super().__init__()
        if reduction < 1 or in_features % reduction:
            raise ModelError(
                f"ReducedLinear cannot average {in_features} inputs in groups of {reduction}. "
                f"Give a reduction that divides {in_features}, such as {_divisor_near(in_features, reduction)}."
            )
        self.reduction = reduction
        self.linear = nn.Linear(in_features // reduction, out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.view(*x.shape[:-1], -1, self.reduction).mean(-1))

    def extra_repr(self) -> str:
        return f"reduction={self.reduction}"


def _divisor_near(n: int, wanted: int) -> int:
    """Return the divisor of `n` nearest to `wanted`."""
    return min((d for d in range(1, n + 1) if n % d == 0), key=lambda d: abs(d - wanted))
