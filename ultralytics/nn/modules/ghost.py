"""Ghost blocks that are faster, not only smaller: the blocks of `yolo11-ghost.yaml`.

Each pair of layers is a dense convolution (the intrinsic maps) and a depthwise one of its output (their ghosts:
GhostNet, arXiv 1911.11907). In training a layer has a parallel identity branch, with a batch norm on each; `fuse` folds
both into one convolution (RepVGG, arXiv 2101.03697; RepGhost, arXiv 2211.06088; GhostNetV3, arXiv 2404.11202). What
GhostConv concatenates is never concatenated here: the 1x1 convolution that reads it is split, W [p; g] = Wp p + Wg g.
docs/ghost-design.md has the measurements.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from ultralytics.nn.modules.conv import Conv, DWConv, activation, add_kernel, identity_like
from ultralytics.nn.modules.head import OBB, Detect, Pose, Segment, bind_segment, light_branch
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.modules.pointwise import JoinConv, start_like_dense
from ultralytics.nn.registry import Bound, Context, register
from ultralytics.utils.torch_utils import fuse_conv_and_bn


def sixteens(c: float) -> int:
    """Return the multiple of 16 nearest to `c`, at least 16: CPUs store channels in blocks of 16."""
    return max(int(c / 16 + 0.5), 1) * 16


@register
class GhostDWConv(DWConv):
    """Depthwise convolution whose kernels start as small as those of a dense one of as many channels."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, d: int = 1, act: bool | nn.Module = True):
        super().__init__(c1, c2, k, s, d, act)
        start_like_dense(self.conv.weight, k, c1)


class GhostPWConv(Conv):
    """1x1 convolution whose kernels start as small as those of a 3x3 one of as many channels."""

    def __init__(self, c1: int, c2: int, act: bool | nn.Module = True):
        super().__init__(c1, c2, act=act)
        start_like_dense(self.conv.weight, 3, c1)


@register
class BranchConv(nn.Module):
    """Convolution with a parallel identity branch in training where shapes allow, a batch norm on each; activation.

    `fuse` folds both into one convolution. arXiv 2101.03697, section 3.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, s: int = 1, g: int = 1, act: bool | nn.Module = True):
        super().__init__()
        depthwise = 1 < g == c1
        self.branch: Conv | None = (
            GhostDWConv(c1, c2, k, s, act=False) if depthwise else Conv(c1, c2, k, s, g=g, act=False)
        )
        self.identity: nn.BatchNorm2d | None = BatchNorm2d(c2) if c1 == c2 and s == 1 else None
        self.conv: nn.Conv2d | None = None  # both branches, once they are fused
        self.act = activation(act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.conv is not None:
            return self.act(self.conv(x))
        assert self.branch is not None
        y = self.branch(x)
        return self.act(y if self.identity is None else y + self.identity(x))

    @torch.no_grad()
    def fuse(self) -> None:
        """Fold the branch and the identity into one convolution (inference only)."""
        if self.branch is None:
            return
        self.branch.fuse()
        self.conv = conv = self.branch.conv
        if self.identity is not None:
            add_kernel(conv, fuse_conv_and_bn(identity_like(conv), self.identity))
        self.branch, self.identity = None, None


def _pair(c1: int, c2: int, s: int = 1) -> list[nn.Module]:
    """Return a dense 3x3 convolution and the depthwise 5x5 one that makes ghosts of its output."""
    return [BranchConv(c1, c2, 3, s), BranchConv(c2, c2, 5, g=c2)]


def _bind_stage(context: Context, args: list) -> Bound:
    """Bind like (c1, c2, n, ...); `c1` is a list of channels where the line reads several layers."""
    c2 = context.widened(args[0])
    c1 = context.c1 if len(context.channels) == 1 else context.channels
    return Bound([c1, c2, context.repeats, *args[1:]], c2)


@register(bind=_bind_stage)
class GhostStage(nn.Module):
    """A chain of alternating dense 3x3 and depthwise 5x5 convolutions, all of which a last 1x1 convolution reads.

    At stride 2 the first dense one halves height and width; at stride 1 a 1x1 convolution of all inputs comes first,
    and is kept as well. One-shot aggregation as in VoVNet, arXiv 1904.09730.

    Args:
        c1: input channels; a list where several maps are read.
        c2: output channels.
        n: pairs of layers; at stride 2 those after the first one.
        e: width of the chain as a share of `c2`.
        s: stride.
        up: of several maps the first one has half of the others' height and width.
    """

    of_yolo11 = True  # a model that has one has YOLO11's head

    def __init__(self, c1: int | list[int], c2: int, n: int = 1, e: float = 0.5, s: int = 1, up: bool = False):
        super().__init__()
        ch = c1 if isinstance(c1, list) else [c1]
        hidden = sixteens(c2 * e)
        self.cv1 = JoinConv(ch, hidden, up) if s == 1 else None
        first = _pair(ch[0], hidden, s) if s > 1 else []
        self.m = nn.ModuleList([*first, *(layer for _ in range(n) for layer in _pair(hidden, hidden))])
        self.cv2 = JoinConv([hidden] * (len(self.m) + (s == 1)), c2)

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        kept = []
        if self.cv1 is not None:
            x = self.cv1(x if isinstance(x, list) else [x])
            kept.append(x)
        for layer in self.m:
            x = layer(x)
            kept.append(x)
        return self.cv2(kept)


def _ghost_branch(hidden: int, out: int, ch: tuple[int, ...]) -> nn.ModuleList:
    """Return, for each map, a depthwise 3x3 and a 1x1 convolution, a dense 3x3 one, and a linear layer."""
    hidden = math.ceil(hidden / 16) * 16
    return nn.ModuleList(
        nn.Sequential(
            nn.Sequential(GhostDWConv(x, x, 3), GhostPWConv(x, hidden)),
            BranchConv(hidden, hidden, 3),
            nn.Conv2d(hidden, out, 1),
        )
        for x in ch
    )


class _GhostBranches:
    """Mixin of heads: of the two 3x3 convolutions of each branch the first, wide one is separable.

    Class branches are YOLO11's, but start small, like all depthwise and 1x1 kernels here.
    """

    branch = staticmethod(_ghost_branch)
    class_branch = staticmethod(partial(light_branch, depthwise=GhostDWConv, pointwise=GhostPWConv))
    legacy_class_branch = class_branch


@register
class GhostDetect(_GhostBranches, Detect):
    """`Detect` with lighter box branches."""


@register(bind=bind_segment)
class GhostSegment(_GhostBranches, Segment):
    """`Segment` with lighter box and coefficient branches."""


@register
class GhostPose(_GhostBranches, Pose):
    """`Pose` with lighter box and keypoint branches."""


@register
class GhostOBB(_GhostBranches, OBB):
    """`OBB` with lighter box and angle branches."""
