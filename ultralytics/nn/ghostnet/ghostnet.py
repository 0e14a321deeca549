"""GhostNet V1 and V2: their blocks, the classification networks, and the detection backbones.

Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, arXiv 1911.11907, section 3;
Tang et al., "GhostNetV2: Enhance Cheap Operation with Long-Range Attention", arXiv 2211.12905, section 4.
Attribute names are those of the published weight files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ultralytics.nn.checkpoint import load_state_dict_file
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.registry import Bound, Context, register
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError, ModelError


def round_channels(channels: float, divisor: int = 4) -> int:
    """Return the multiple of `divisor` nearest to `channels`, never more than 10 % below it and at least `divisor`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_bn(c1: int, c2: int, k: int | tuple[int, int], s: int = 1, g: int = 1, act: bool = False) -> list[nn.Module]:
    """Return a convolution that keeps the size at stride 1, its batch norm and, with `act`, ReLU."""
    padding = k // 2 if isinstance(k, int) else (k[0] // 2, k[1] // 2)
    layers: list[nn.Module] = [nn.Conv2d(c1, c2, k, s, padding, groups=g, bias=False), BatchNorm2d(c2)]
    return [*layers, nn.ReLU(inplace=True)] if act else layers


class GhostModule(nn.Module):
    """Ghost module: half of the maps by a convolution, the others from them by a cheap depthwise one.

    1911.11907, section 3.1.

    Args:
        c1: input channels.
        c2: output channels; ceil(c2 / ratio) of them are intrinsic.
        k: kernel of the primary convolution.
        ratio: `s` of the paper, output maps per intrinsic one.
        d: kernel of the cheap depthwise convolution.
        act: ReLU after both parts.
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


class DFCGate(nn.Sequential):
    """A factor from 0 to 1 for each of `c2` maps, by decoupled fully connected attention (2211.12905, section 4.1).

    It sees a row, then a column, at half the size: two depthwise convolutions replace the two fully connected layers,
    so any image size fits.

    Shapes: (b, c1, h, w) -> (b, c2, h, w).
    """

    def __init__(self, c1: int, c2: int, k: int = 1, reach: int = 5):
        super().__init__(*conv_bn(c1, c2, k), *conv_bn(c2, c2, (1, reach), g=c2), *conv_bn(c2, c2, (reach, 1), g=c2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        window = [min(2, size) for size in x.shape[-2:]]  # a side of one pixel cannot be halved
        gate = super().forward(F.avg_pool2d(x, window)).sigmoid()
        return F.interpolate(gate, size=x.shape[-2:], mode="nearest")


class DFCGhostModule(GhostModule):
    """A Ghost module whose output a `DFCGate` weighs."""

    def __init__(self, c1: int, c2: int, k: int = 1, ratio: int = 2, d: int = 3, act: bool = True, reach: int = 5):
        super().__init__(c1, c2, k, ratio, d, act)
        self.short_conv = DFCGate(c1, c2, k, reach)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.short_conv(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: each channel is weighted by a hard sigmoid of all channels' means (arXiv 1709.01507)."""

    def __init__(self, c: int, ratio: float = 0.25):
        super().__init__()
        hidden = round_channels(c * ratio)
        self.conv_reduce = nn.Conv2d(c, hidden, 1)
        self.conv_expand = nn.Conv2d(hidden, c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        squeezed = F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.conv_expand(squeezed))


def shortcut(c1: int, c2: int, k: int, s: int) -> nn.Sequential:
    """Return the layers of a bottleneck's shortcut: none where its input and output have the same shape."""
    keep = c1 == c2 and s == 1
    return nn.Sequential(*([] if keep else [*conv_bn(c1, c1, k, s, g=c1), *conv_bn(c1, c2, 1)]))


class GhostNetBottleneck(nn.Module):
    """Ghost bottleneck: a Ghost module expands, a second one without ReLU reduces; plus a shortcut.

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
        downsample = conv_bn(hidden, hidden, k, s, g=hidden) if s > 1 else [nn.Identity(), nn.Identity()]
        self.conv_dw: nn.Module = downsample[0]
        self.bn_dw: nn.Module = downsample[1]
        self.se = SqueezeExcite(hidden, se_ratio) if se_ratio else nn.Identity()
        self.ghost2 = GhostModule(hidden, c2, act=False)
        self.shortcut = shortcut(c1, c2, k, s)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.bn_dw(self.conv_dw(self.ghost1(x)))
        return self.ghost2(self.se(hidden)) + self.shortcut(x)


class ConvBnAct(nn.Module):
    """A 1x1 convolution, batch norm and ReLU, with the names of the published weights."""

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


STEM = 16  # channels after the first convolution
LAST, HEAD = 960, 1280  # channels of the last 1x1 convolution, and length of the vector that is classified

Head = Callable[[int, int], nn.Module]  # (in_features, num_classes) -> classifier
HEADS: dict[str, Head] = {"linear": nn.Linear, "reduced": ReducedLinear}


class Row(NamedTuple):
    """One Ghost bottleneck at width 1.0: kernel, hidden channels, output channels, squeeze-and-excitation, stride."""

    k: int
    hidden: int
    c: int
    se: float
    s: int


# 1911.11907, table 1. A list of rows is one entry of `blocks`; the first row of a list has its stride.
STAGES: list[list[Row]] = [
    [Row(3, 16, 16, 0, 1)],
    [Row(3, 48, 24, 0, 2)],
    [Row(3, 72, 24, 0, 1)],
    [Row(5, 72, 40, 0.25, 2)],
    [Row(5, 120, 40, 0.25, 1)],
    [Row(3, 240, 80, 0, 2)],
    [
        Row(3, 200, 80, 0, 1),
        Row(3, 184, 80, 0, 1),
        Row(3, 184, 80, 0, 1),
        Row(3, 480, 112, 0.25, 1),
        Row(3, 672, 112, 0.25, 1),
    ],
    [Row(5, 672, 160, 0.25, 2)],
    [Row(5, 960, 160, 0, 1), Row(5, 960, 160, 0.25, 1), Row(5, 960, 160, 0, 1), Row(5, 960, 160, 0.25, 1)],
]
# Index of the last entry at each of the strides 2, 4, 8, 16, 32.
TAPS = [i for i, stage in enumerate(STAGES) if i + 1 == len(STAGES) or STAGES[i + 1][0].s == 2]
V2_ATTENTION_FROM = 2  # the maps of the first two entries are large, and attention gains little there


class GhostTrunk(nn.Module):
    """Stem and bottlenecks of a GhostNet, at any width; a subclass uses the maps.

    Args:
        c1: input channels.
        width: factor on all channels, which are rounded to multiples of 4.
    """

    bottleneck: type[nn.Module] = GhostNetBottleneck
    attention_from: int | None = None  # index of the first entry of STAGES with DFC attention; None: no attention

    def __init__(self, c1: int = 3, width: float = 1.0):
        super().__init__()
        if width <= 0:
            name = type(self).__name__
            raise ModelError(f"The width of {name} is {width}; it must be a factor above 0, such as 0.5 or 1.0.")
        self.width = width
        c = round_channels(STEM * width)
        self.conv_stem = nn.Conv2d(c1, c, 3, 2, 1, bias=False)
        self.bn1 = BatchNorm2d(c)
        self.act1 = nn.ReLU(inplace=True)
        stages = []
        for i, rows in enumerate(STAGES):
            attention = self.attention_from is not None and i >= self.attention_from
            stage = []
            for row in rows:
                hidden, c2 = round_channels(row.hidden * width), round_channels(row.c * width)
                stage.append(self.bottleneck(c, hidden, c2, row.k, row.s, row.se, attention))
                c = c2
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the output of each entry of `blocks` for images x (b, c1, h, w)."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
            yield x

    def fuse(self) -> GhostTrunk:
        """Fold each batch norm into the convolution before it, for inference; a second call changes nothing."""
        for parent in [*self.modules()]:
            for (conv_name, conv), (bn_name, bn) in pairwise([*parent.named_children()]):
                if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                    fused = fuse_conv_bn_eval(conv.eval(), bn.eval())
                    setattr(parent, conv_name, fused.requires_grad_(False).train(parent.training))
                    setattr(parent, bn_name, nn.Identity())
        return self


class GhostNet(GhostTrunk):
    """A GhostNet that classifies images; the versions differ in `bottleneck` and `attention_from`.

    Shapes: (b, in_channels, h, w) -> logits (b, num_classes).

    Args:
        width: factor on all channels.
        num_classes: length of the logits.
        dropout: probability before the classifier.
        head: "linear" (also None), "reduced" (`ReducedLinear`), or a function of (in_features, num_classes).
        in_channels: channels of the images.
    """

    def __init__(
        self,
        width: float = 1.0,
        num_classes: int = 1000,
        dropout: float = 0.2,
        head: str | Head | None = None,
        in_channels: int = 3,
    ):
        super().__init__(in_channels, width)
        last = round_channels(LAST * width)
        self.blocks.append(nn.Sequential(ConvBnAct(round_channels(STAGES[-1][-1].c * width), last)))
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_head = nn.Conv2d(last, HEAD, 1)
        self.act2 = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = _head(head)(HEAD, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *_, last = self.stages(x)
        features = self.act2(self.conv_head(self.global_pool(last)))
        return self.classifier(self.dropout(features.flatten(1)))


def bind_network(context: Context, args: list) -> Bound:
    """Bind the YAML's `[classes, dropout, head]`, the last two optional; the model's scale letter gives the width."""
    defaults: list = [0.2, None]
    nc, dropout, head = args + defaults[len(args) - 1 :]
    return Bound([context.width, nc, dropout, head, context.c1], nc)


def _head(head: str | Head | None) -> Head:
    """Return the function that makes the classifier named by `head`."""
    if callable(head):
        return head
    if head is not None and head not in HEADS:
        known = " or ".join(map(repr, HEADS))
        raise ModelError(f"'{head}' is not a classifier head. Give {known}, or a function (inputs, classes).")
    return HEADS[head or "linear"]


# Entries of published weight files that detection does not use.
CLASSIFIER = (f"blocks.{len(STAGES)}.", "conv_head.", "classifier.")


class GhostBackbone(GhostTrunk):
    """The trunk of a GhostNet with the last map of each stride as its outputs.

    Shapes: (b, c1, h, w) -> five maps (b, out_channels[i], ceil(h / 2^(i+1)), ceil(w / 2^(i+1))).

    The scale letter of a model (n, s, m, l, x) does not widen the backbone: `width` does, so that a weight file fits
    heads of any scale.

    Args:
        c1: input channels.
        width: factor on all channels; None is 1.0.
    """

    def __init__(self, c1: int, width: float | None = 1.0):
        super().__init__(c1, 1.0 if width is None else width)
        self.out_channels: list[int] = [round_channels(STAGES[i][-1].c * self.width) for i in TAPS]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [m for i, m in enumerate(self.stages(x)) if i in TAPS]

    def load_weights(self, file: str | Path) -> GhostBackbone:
        """Load the weights of the classification network of the same width, and log how many entries were loaded.

        Raises:
            MissingFileError: there is no such file.
            CheckpointError: it cannot be read or belongs to another network or width.
        """
        found = load_state_dict_file(file)
        own = self.state_dict()
        trunk = {name: value for name, value in found.items() if not name.startswith(CLASSIFIER)}
        stem, c1, note = trunk.get("conv_stem.weight"), self.conv_stem.in_channels, ""
        if stem is not None and stem.ndim == 4 and stem.shape[1] != c1:
            # The sum over colours, distributed evenly: a grey image gives the same response as before.
            note = f", its stem distributed from {stem.shape[1]} to {c1} input channels"
            trunk["conv_stem.weight"] = stem.sum(1, keepdim=True).expand(-1, c1, -1, -1) / c1
        self._check(file, own, trunk)
        self.load_state_dict(trunk)
        left = len(found) - len(trunk)
        LOGGER.info(
            f"{type(self).__name__}: {len(trunk)} of {len(own)} entries loaded from '{file}', "
            f"{left} of the classifier left out{note}."
        )
        return self

    def _check(self, file: str | Path, own: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
        """Raise CheckpointError, with counts, unless `found` has the names and shapes of this backbone's entries."""
        missing, unknown = own.keys() - found.keys(), found.keys() - own.keys()
        shapes = [n for n in own if n in found and own[n].shape != found[n].shape]
        if not (missing or unknown or shapes):
            return
        first = ""
        if shapes:
            name, ours, theirs = shapes[0], tuple(own[shapes[0]].shape), tuple(found[shapes[0]].shape)
            first = f" ('{name}' is {theirs}, not {ours})"
        raise CheckpointError(
            f"'{file}' does not fit {type(self).__name__} at width {self.width:g}: of its {len(own)} entries "
            f"{len(missing)} are missing and {len(shapes)} have another shape{first}; {len(unknown)} entries of the "
            "file are unknown. Give the width and the version (V1 to V3) the file was trained with."
        )


@register(bind=bind_network)
class GhostNetV1(GhostNet):
    """GhostNet as a classifier, `[-1, 1, GhostNetV1, [nc]]` in a YAML; official weights load strictly."""


@register(bind=bind_network)
class GhostNetV2(GhostNet):
    """GhostNetV2 as a classifier, `[-1, 1, GhostNetV2, [nc]]` in a YAML; official weights load strictly."""

    attention_from = V2_ATTENTION_FROM


@register(weights=1)
class Ghostnetv1(GhostBackbone):
    """GhostNet as a backbone: `[-1, 1, Ghostnetv1, [width, weights]]` fills layers 0 to 4, strides 2 to 32."""


@register(weights=1)
class Ghostnetv2(GhostBackbone):
    """GhostNetV2 as a backbone: `[-1, 1, Ghostnetv2, [width, weights]]` fills layers 0 to 4, strides 2 to 32."""

    attention_from = V2_ATTENTION_FROM
