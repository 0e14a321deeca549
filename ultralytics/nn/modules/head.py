"""Heads: from feature maps to predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

from ultralytics.nn.modules.block import DFL, C2f, Proto
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.registry import Bound, Context, Entry, bind_channel_list, is_built_in, parameters, register
from ultralytics.utils.overrides import is_stock, replaceable
from ultralytics.utils.system.logger import say_once
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

Pair = tuple[torch.Tensor, torch.Tensor]


_yolov8: ContextVar[bool] = ContextVar("yolov8", default=False)


@contextmanager
def heads_of_yolov8(legacy: bool) -> Iterator[None]:
    """Make heads that are built within this context YOLOv8's (`legacy`) or YOLO11's, if they do not say which."""
    token = _yolov8.set(legacy)
    try:
        yield
    finally:
        _yolov8.reset(token)


def is_legacy(given: object, entries: list[Entry]) -> bool:
    """Return whether a model has YOLOv8's head: as `legacy` in its YAML says, or else if no block is one of YOLO11.

    Blocks of YOLO11 are C3k2 and GhostStage, subclasses, classes in their place, and those with a parameter `c3k`,
    which are written after C3k2. Where the answer hangs on a user's own block, it is logged.
    """
    if given is not None:
        return bool(given)
    classes = [e.cls for e in entries]
    yolo11 = [e.cls for e in entries if _is_of_yolo11(e.cls) or (e.replaced and _is_of_yolo11(e.replaced))]
    own = [cls for cls in classes if not is_built_in(cls) and [p.name for p in parameters(cls)][2:3] == ["n"]]
    if not own or not any(issubclass(cls, Detect) for cls in classes):
        return not yolo11
    if yolo11 and not any(map(is_built_in, yolo11)):
        say_once(
            f"The head is YOLO11's, since {yolo11[0].__name__} is a kind of C3k2. For YOLOv8's head, write "
            "`legacy: true` into the model YAML."
        )
    elif not yolo11 and not any(issubclass(cls, C2f) and is_built_in(cls) for cls in classes):
        say_once(
            f"The head is YOLOv8's, since {own[0].__name__} is no kind of C3k2. For YOLO11's head, write "
            "`legacy: false` into the model YAML."
        )
    return not yolo11


def _is_of_yolo11(cls: type) -> bool:
    return getattr(cls, "of_yolo11", False) or any(p.name == "c3k" for p in parameters(cls))


def bind_segment(context: Context, args: list) -> Bound:
    """Bind by `ch`; the prototypes' hidden channels (third argument) are scaled by the model's width."""
    return bind_channel_list(context, [*args[:2], *map(context.widened, args[2:3])])


def _branch(hidden: int, out: int, ch: tuple[int, ...]) -> nn.ModuleList:
    """Return two 3x3 convolutions and a linear layer for each map with `ch` channels."""
    return nn.ModuleList(
        nn.Sequential(Conv(x, hidden, 3), Conv(hidden, hidden, 3), nn.Conv2d(hidden, out, 1)) for x in ch
    )


def light_branch(
    hidden: int, out: int, ch: tuple[int, ...], depthwise: type[Conv] = DWConv, pointwise: type[Conv] = Conv
) -> nn.ModuleList:
    """Return YOLO11's class branch: as `_branch`, but each 3x3 convolution depthwise and followed by a 1x1 one."""
    return nn.ModuleList(
        nn.Sequential(
            nn.Sequential(depthwise(x, x, 3), pointwise(x, hidden)),
            nn.Sequential(depthwise(hidden, hidden, 3), pointwise(hidden, hidden)),
            nn.Conv2d(hidden, out, 1),
        )
        for x in ch
    )


def _rows(branch: nn.ModuleList, x: list[torch.Tensor]) -> torch.Tensor:
    """Return the outputs of a branch at all positions of all maps: (b, channels, positions)."""
    return torch.cat([layer(f).flatten(2) for layer, f in zip(branch, x)], 2)


def _maps(pairs: list[Pair]) -> list[torch.Tensor]:
    """Return the maps that losses read: each pair concatenated."""
    return [torch.cat(pair, 1) for pair in pairs]


@register
class Detect(nn.Module):
    """Anchor-free detection head of YOLOv8 and YOLO11: for each position, `nc` class logits and a box distribution.

    In training it returns the maps, each (b, 4 * reg_max + nc, h, w); in inference a pair of the decoded predictions
    (b, 4 + nc, positions), boxes as xywh in input pixels and class probabilities, and the maps.

    Args:
        nc: number of classes.
        ch: channels of the maps.
        legacy: plain convolutions in the class branch (YOLOv8) instead of depthwise ones (YOLO11); by default as the
            model that is being built has them.
    """

    stride: torch.Tensor  # (nl,) of the maps, in pixels
    anchors: torch.Tensor  # (2, positions) in strides, while a method that a subclass replaced runs, as in 8.3.0
    strides: torch.Tensor  # (1, positions), likewise
    branch = staticmethod(_branch)  # builds all branches but that of the classes: (hidden, out, ch)
    class_branch = staticmethod(light_branch)
    legacy_class_branch = staticmethod(_branch)

    def __init__(self, nc: int = 80, ch: tuple[int, ...] = (), legacy: bool | None = None):
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.reg_max = 16
        self.no = nc + self.reg_max * 4  # outputs at each position
        self.register_buffer("stride", torch.zeros(self.nl), persistent=False)  # set by the model that holds the head
        c2, c3 = max(16, ch[0] // 4, self.reg_max * 4), max(ch[0], min(nc, 100))
        self.cv2 = self.branch(c2, 4 * self.reg_max, ch)
        self.legacy = _yolov8.get() if legacy is None else legacy
        self.cv3 = (self.legacy_class_branch if self.legacy else self.class_branch)(c3, nc, ch)
        self.dfl = DFL(self.reg_max)

    def forward(self, x: list[torch.Tensor]) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        pairs = self.pairs(x)
        return _maps(pairs) if self.training else (self.decode(pairs), _maps(pairs))

    def pairs(self, x: list[torch.Tensor]) -> list[Pair]:
        """Return box distributions (b, 4 * reg_max, h, w) and class logits (b, nc, h, w) of each map."""
        return [(box(f), cls(f)) for f, box, cls in zip(x, self.cv2, self.cv3)]

    def decode(self, pairs: list[Pair], *more: torch.Tensor) -> torch.Tensor:
        """Turn the pairs of all maps into boxes and class probabilities; `more` goes to `boxes`.

        It does not use the maps, which an exported graph then need not compute, and takes the sigmoid of each map
        separately, which ONNX Runtime fuses with the convolution.
        """
        anchors, strides = self.grid(pairs)
        sides = torch.cat([box.flatten(2) for box, _ in pairs], 2)
        scores = torch.cat([cls.sigmoid().flatten(2) for _, cls in pairs], 2)
        return torch.cat((self.boxes(self.dfl(sides), anchors[None], *more) * strides, scores), 1)

    def grid(self, pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return anchor points (2, positions), in strides, and strides (1, positions)."""
        points, strides = make_anchors([box for box, _ in pairs], self.stride, 0.5)
        return points.T, strides.T

    def boxes(self, distances: torch.Tensor, anchors: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return boxes (b, 4, positions) xywh, in strides, for distances left, top, right, bottom."""
        return self.decode_bboxes(distances, anchors)

    def decode_bboxes(self, bboxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Turn distances (b, 4, positions) from anchor points (1, 2, positions) into boxes xywh, all in strides."""
        return dist2bbox(bboxes, anchors, xywh=True, dim=1)

    def bias_init(self) -> None:
        """Start with boxes of about one cell and with the class odds of five objects in a 640-pixel image."""
        for box, cls, s in zip(self.cv2, self.cv3, self.stride.tolist()):
            _output_bias(box)[:] = 1.0
            _output_bias(cls)[: self.nc] = math.log(5 / self.nc / (640 / s) ** 2)


@contextmanager
def lent(head: nn.Module, **values: torch.Tensor) -> Iterator[None]:
    """Give a head attributes within this context, where methods that were written for 8.3.0 look for them."""
    vars(head).update(values)
    try:
        yield
    finally:
        for name in values:
            del vars(head)[name]


def _output_bias(branch: nn.Module) -> torch.Tensor:
    """Return the values of the bias of a branch's last layer."""
    *_, last = branch.children()
    return last.get_parameter("bias").data


@register(bind=bind_segment)
class Segment(Detect):
    """Detection with masks: each position gives `nm` coefficients, by which prototype maps of the image are added.

    Bolya et al., YOLACT, arXiv 1904.02689, section 3. In training it returns maps, coefficients (b, nm, positions) and
    prototypes (b, nm, 2h, 2w) of the first map's h, w; in inference the decoded predictions with the coefficients below
    (b, 4 + nc + nm, positions), and these three.
    """

    def __init__(
        self, nc: int = 80, nm: int = 32, npr: int = 256, ch: tuple[int, ...] = (), legacy: bool | None = None
    ):
        super().__init__(nc, ch, legacy)
        self.nm, self.npr = nm, npr
        self.proto = Proto(ch[0], npr, nm)
        self.cv4 = self.branch(max(ch[0] // 4, nm), nm, ch)

    def forward(self, x: list[torch.Tensor]) -> tuple:
        pairs = self.pairs(x)
        raw = _, coefficients, _ = _maps(pairs), _rows(self.cv4, x), self.proto(x[0])
        return raw if self.training else (torch.cat((self.decode(pairs), coefficients), 1), raw)


@replaceable("kpts_decode")
@register
class Pose(Detect):
    """Detection with keypoints: `kpt_shape` is their number and 2 for x, y or 3 for x, y, visibility.

    In training it returns maps and raw keypoints (b, points * dimensions, positions); in inference the decoded
    predictions with the keypoints below, x, y in input pixels and visibility 0..1, and these two.
    """

    def __init__(
        self, nc: int = 80, kpt_shape: tuple[int, int] = (17, 3), ch: tuple[int, ...] = (), legacy: bool | None = None
    ):
        super().__init__(nc, ch, legacy)
        self.kpt_shape = kpt_shape
        self.nk = kpt_shape[0] * kpt_shape[1]
        self.cv4 = self.branch(max(ch[0] // 4, self.nk), self.nk, ch)

    def forward(self, x: list[torch.Tensor]) -> tuple:
        pairs = self.pairs(x)
        raw = _, kpts = _maps(pairs), _rows(self.cv4, x)
        return raw if self.training else (torch.cat((self.decode(pairs), self.keypoints(pairs, kpts)), 1), raw)

    def keypoints(self, pairs: list[Pair], kpts: torch.Tensor) -> torch.Tensor:
        """Turn raw keypoints (b, points * dimensions, positions) into pixels and visibility 0..1."""
        anchors, strides = self.grid(pairs)
        if is_stock(self, Pose):
            return self._decoded(kpts, anchors, strides)
        with lent(self, anchors=anchors, strides=strides):
            return self.kpts_decode(kpts.shape[0], kpts)

    def kpts_decode(self, bs: int, kpts: torch.Tensor) -> torch.Tensor:
        """Turn raw keypoints (bs, points * dimensions, positions) into pixels and visibility 0..1, within `forward`.

        A subclass that replaces this finds the anchor points (2, positions) and strides (1, positions) as
        `self.anchors` and `self.strides`.
        """
        return self._decoded(kpts.view(bs, self.nk, -1), self.anchors, self.strides)

    def _decoded(self, kpts: torch.Tensor, anchors: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        y = kpts.view(kpts.shape[0], *self.kpt_shape, kpts.shape[2])
        xy = (y[:, :, :2] * 2 + (anchors - 0.5)) * strides
        return torch.cat((xy, y[:, :, 2:].sigmoid()), 2).flatten(1, 2)


@replaceable("decode_bboxes")
@register
class OBB(Detect):
    """Detection of rotated boxes: distances along the box's own axes, and its angle.

    In training it returns maps and angles (b, ne, positions) in radians, -pi/4 to 3pi/4; in inference the decoded
    predictions (b, 4 + nc + ne, positions), boxes as xywh in pixels and the angle last, and these two.
    """

    angle: torch.Tensor  # (b, ne, positions) radians, while a method that a subclass replaced runs, as in 8.3.0

    def __init__(self, nc: int = 80, ne: int = 1, ch: tuple[int, ...] = (), legacy: bool | None = None):
        super().__init__(nc, ch, legacy)
        self.ne = ne
        self.cv4 = self.branch(max(ch[0] // 4, ne), ne, ch)

    def forward(self, x: list[torch.Tensor]) -> tuple:
        pairs = self.pairs(x)
        raw = _, angle = _maps(pairs), (_rows(self.cv4, x).sigmoid() - 0.25) * math.pi
        return raw if self.training else (torch.cat((self.decode(pairs, angle), angle), 1), raw)

    def boxes(self, distances: torch.Tensor, anchors: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return boxes (b, 4, positions) xywh, in strides; the width lies along the angle (b, 1, positions)."""
        (angle,) = more
        if is_stock(self, OBB):
            return dist2rbox(distances, angle, anchors, dim=1)
        with lent(self, angle=angle):
            return self.decode_bboxes(distances, anchors)

    def decode_bboxes(self, bboxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
        """Turn distances (b, 4, positions) into rotated boxes xywh; within `forward` the angle is `self.angle`."""
        return dist2rbox(bboxes, self.angle, anchors, dim=1)


@register
class Classify(nn.Module):
    """Classification head: a 1x1 convolution, the mean over all positions, a linear layer.

    Logits (b, c2) in training, probabilities in inference.
    """

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, p: int | None = None, g: int = 1):
        super().__init__()
        hidden = 1280  # as EfficientNet-B0
        self.conv = Conv(c1, hidden, k, s, p, g)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(p=0.0, inplace=True)
        self.linear = nn.Linear(hidden, c2)

    def forward(self, x: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        features = torch.cat(x, 1) if isinstance(x, list) else x
        y = self.linear(self.drop(self.pool(self.conv(features)).flatten(1)))
        return y if self.training else y.softmax(1)


@register
class Classifier(nn.Module):
    """The end of a network that is a classifier itself: its logits (b, nc) in training, probabilities in inference."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.training else x.softmax(1)
