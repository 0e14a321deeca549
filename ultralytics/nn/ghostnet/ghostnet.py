"""The network both versions share: the table of blocks, the trunk that runs them, the classifier on top."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn as nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ultralytics.nn.ghostnet.layers import ConvBnAct, GhostBottleneck, ReducedLinear, round_channels
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.registry import Bound, Context
from ultralytics.utils.errors import ModelError

STEM = 16  # channels behind the first convolution
LAST, HEAD = 960, 1280  # channels of the last 1x1 convolution and of the vector that is classified

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
# Where a picture is at its last block before the next halving: strides 2, 4, 8, 16, 32.
TAPS = [i for i, stage in enumerate(STAGES) if i + 1 == len(STAGES) or STAGES[i + 1][0].s == 2]


class GhostTrunk(nn.Module):
    """Stem and bottlenecks of a GhostNet, at any width; what is done with the maps is left to the subclass.

    Args:
        c1: input channels.
        width: factor on all channels, which are rounded to multiples of 4.
    """

    attention_from: int | None = None  # index of the first entry of STAGES with DFC attention; None: no attention

    def __init__(self, c1: int = 3, width: float = 1.0):
        super().__init__()
        if width <= 0:
            name = type(self).__name__
            raise ModelError(f"The width of {name} is {width}; it is a factor above 0, such as 0.5 or 1.0.")
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
                stage.append(GhostBottleneck(c, hidden, c2, row.k, row.s, row.se, attention))
                c = c2
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)

    def stages(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the output of each entry of `blocks` for pictures x (b, c1, h, w)."""
        x = self.act1(self.bn1(self.conv_stem(x)))
        for block in self.blocks:
            x = block(x)
            yield x

    def fuse(self) -> GhostTrunk:
        """Fold each batch norm into the convolution before it, for inference; twice is as good as once."""
        for parent in [*self.modules()]:
            for (conv_name, conv), (bn_name, bn) in pairwise([*parent.named_children()]):
                if isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d):
                    fused = fuse_conv_bn_eval(conv.eval(), bn.eval())
                    setattr(parent, conv_name, fused.requires_grad_(False).train(parent.training))
                    setattr(parent, bn_name, nn.Identity())
        return self


class GhostNet(GhostTrunk):
    """A GhostNet that classifies pictures; the versions differ in `attention_from` alone.

    Shapes: (b, in_channels, h, w) -> logits (b, num_classes).

    Args:
        width: factor on all channels.
        num_classes: length of the logits.
        dropout: probability before the classifier.
        head: "linear" (also None), "reduced" (`ReducedLinear`), or a function of (in_features, num_classes).
        in_channels: channels of the pictures.
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
        *_, x = self.stages(x)
        x = self.act2(self.conv_head(self.global_pool(x)))
        return self.classifier(self.dropout(x.flatten(1)))


def bind_network(context: Context, args: list) -> Bound:
    """The YAML's `[classes, dropout, head]`, the last two optional; the width comes with the model's scale letter."""
    nc, dropout, head = (*args, *(0.2, None)[len(args) - 1 :])
    return Bound([context.width, nc, dropout, head, context.c1], nc)


def _head(head: str | Head | None) -> Head:
    """Return the function that makes a classifier for what the user asked for."""
    if callable(head):
        return head
    if head is not None and head not in HEADS:
        known = " or ".join(map(repr, HEADS))
        raise ModelError(f"'{head}' is no classifier head. Give {known}, or a function (inputs, classes).")
    return HEADS[head or "linear"]
