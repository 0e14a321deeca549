"""GhostNet V3: the network of V2, whose convolutions are sums of parallel branches until training is over.

Liu et al., "GhostNetV3: Exploring the Training Strategies for Compact Models", arXiv 2404.11202. A branch is a
convolution with its batch norm, and both are linear in inference, so that `deploy` merges the branches of each sum into
one convolution without a change of the output. Attribute names are those of the published weight files, in either form.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn as nn
import torch.nn.functional as F

from ultralytics.nn.ghostnet.ghostnet import (
    V2_ATTENTION_FROM,
    DFCGate,
    GhostBackbone,
    GhostNet,
    GhostTrunk,
    SqueezeExcite,
    bind_network,
    shortcut,
)
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.registry import register
from ultralytics.utils.torch_utils import fuse_conv_and_bn

BRANCHES = 3  # of the same shape, in each sum


class ConvBn(nn.Module):
    """A convolution and its batch norm."""

    def __init__(self, c1: int, c2: int, k: int, s: int = 1, g: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = BatchNorm2d(c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


def branches(c1: int, c2: int, k: int, s: int = 1, g: int = 1) -> nn.ModuleList:
    """Return `BRANCHES` convolutions of the same shape, each with its own batch norm."""
    return nn.ModuleList(ConvBn(c1, c2, k, s, g) for _ in range(BRANCHES))


def added(x: torch.Tensor, parts: Iterable[nn.Module]) -> torch.Tensor:
    """Return the sum of what each part gives for x."""
    first, *others = parts
    y = first(x)
    for part in others:
        y = y + part(x)
    return y


@torch.no_grad()
def merged(parts: Iterable[nn.Module]) -> nn.Conv2d:
    """Return one convolution that gives in inference what `added` gives.

    Args:
        parts: `ConvBn`s, the first with the largest kernel, and batch norms of the input itself.
    """
    whole, *others = [_folded(part) for part in parts]
    for conv in others:
        margin = (whole.kernel_size[0] - conv.kernel_size[0]) // 2
        whole.weight.add_(F.pad(conv.weight, [margin] * 4))
        whole.get_parameter("bias").add_(conv.get_parameter("bias"))
    return whole


def _folded(part: nn.Module) -> nn.Conv2d:
    """Return a branch as one convolution; a batch norm of the input becomes a depthwise 1x1 one."""
    if isinstance(part, ConvBn):
        return fuse_conv_and_bn(part.conv, part.bn)
    assert isinstance(part, nn.BatchNorm2d)
    c = part.num_features
    identity = nn.Conv2d(c, c, 1, groups=c, bias=False).to(part.weight)
    nn.init.ones_(identity.weight)
    return fuse_conv_and_bn(identity, part)


class RepGhostModule(nn.Module):
    """A Ghost module of branches: 1x1 convolutions give half of the maps, 3x3 depthwise ones of these the other half.

    The depthwise sum also has a 1x1 convolution (`cheap_rpr_scale`) and the maps themselves (`cheap_rpr_skip`).

    Args:
        c1: input channels.
        c2: output channels, an even number.
        act: ReLU after both sums.
        attention: weigh the output by a `DFCGate`.
    """

    def __init__(self, c1: int, c2: int, act: bool = True, attention: bool = False):
        super().__init__()
        half = c2 // 2
        self.short_conv = DFCGate(c1, c2) if attention else None
        self.primary_rpr_conv: nn.ModuleList | None = branches(c1, half, 1)
        self.cheap_rpr_skip: nn.BatchNorm2d | None = BatchNorm2d(half)
        self.cheap_rpr_conv: nn.ModuleList | None = branches(half, half, 3, g=half)
        self.cheap_rpr_scale: ConvBn | None = ConvBn(half, half, 1, g=half)
        self.act = nn.ReLU(inplace=True) if act else nn.Identity()
        self.primary_conv: nn.Sequential | None = None  # the sums in one convolution each, by `deploy`
        self.cheap_operation: nn.Sequential | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.primary_conv is not None and self.cheap_operation is not None:
            intrinsic = self.primary_conv(x)
            ghosts = self.cheap_operation(intrinsic)
        else:
            intrinsic = self.act(added(x, self._primary()))
            ghosts = self.act(added(intrinsic, self._cheap()))
        maps = torch.cat((intrinsic, ghosts), 1)
        return maps if self.short_conv is None else maps * self.short_conv(x)

    def deploy(self) -> None:
        """Merge the branches of each sum into one convolution (inference only); a second call changes nothing."""
        if self.primary_conv is None:
            self.primary_conv = nn.Sequential(merged(self._primary()), self.act)
            self.cheap_operation = nn.Sequential(merged(self._cheap()), self.act)
            self.primary_rpr_conv = self.cheap_rpr_conv = self.cheap_rpr_scale = self.cheap_rpr_skip = None

    def _primary(self) -> list[nn.Module]:
        """Return the branches of the first sum."""
        assert self.primary_rpr_conv is not None
        return [*self.primary_rpr_conv]

    def _cheap(self) -> list[nn.Module]:
        """Return the branches of the depthwise sum."""
        assert self.cheap_rpr_conv is not None and self.cheap_rpr_scale is not None and self.cheap_rpr_skip is not None
        return [*self.cheap_rpr_conv, self.cheap_rpr_scale, self.cheap_rpr_skip]


class RepGhostBottleneck(nn.Module):
    """The bottleneck of V2 with branches in its Ghost modules and in the depthwise convolution of stride 2.

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
        self.ghost1 = RepGhostModule(c1, hidden, attention=attention)
        self.dw_rpr_conv: nn.ModuleList | None = branches(hidden, hidden, k, s, g=hidden) if s > 1 else None
        self.dw_rpr_scale: ConvBn | None = ConvBn(hidden, hidden, 1, s, g=hidden) if s > 1 else None
        self.se = SqueezeExcite(hidden, se_ratio) if se_ratio else nn.Identity()
        self.ghost2 = RepGhostModule(hidden, c2, act=False)
        self.shortcut = shortcut(c1, c2, k, s)
        self.conv_dw: nn.Conv2d | None = None  # the depthwise sum in one convolution, by `deploy`

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.ghost1(x)
        if self.conv_dw is not None:
            hidden = self.conv_dw(hidden)
        elif self.dw_rpr_conv is not None:
            hidden = added(hidden, self._downsampling())
        return self.ghost2(self.se(hidden)) + self.shortcut(x)

    def deploy(self) -> None:
        """Merge the branches of the depthwise sum, if there is one; those of the Ghost modules are their own."""
        if self.dw_rpr_conv is not None:
            self.conv_dw = merged(self._downsampling())
            self.dw_rpr_conv = self.dw_rpr_scale = None

    def _downsampling(self) -> list[nn.Module]:
        """Return the branches of the depthwise sum of stride 2."""
        assert self.dw_rpr_conv is not None and self.dw_rpr_scale is not None
        return [*self.dw_rpr_conv, self.dw_rpr_scale]


class RepTrunk(GhostTrunk):
    """The trunk of V3, for a classifier or a backbone to be mixed with."""

    bottleneck = RepGhostBottleneck
    attention_from = V2_ATTENTION_FROM

    def deploy(self) -> RepTrunk:
        """Merge the branches of each sum into one convolution (inference only); a second call changes nothing.

        The other batch norms stay, as in the published deployed form; `fuse` folds them too.
        """
        for module in [*self.modules()]:
            if isinstance(module, (RepGhostModule, RepGhostBottleneck)):
                module.deploy()
        return self

    def fuse(self) -> GhostTrunk:
        """Deploy, then fold each batch norm into the convolution before it; a second call changes nothing."""
        self.deploy()
        return super().fuse()


@register(bind=bind_network)
class GhostNetV3(RepTrunk, GhostNet):
    """GhostNetV3 as a classifier, `[-1, 1, GhostNetV3, [nc]]` in a YAML; official weights load strictly."""


@register(weights=1)
class Ghostnetv3(RepTrunk, GhostBackbone):
    """GhostNetV3 as a backbone: `[-1, 1, Ghostnetv3, [width, weights]]` fills layers 0 to 4, strides 2 to 32."""
