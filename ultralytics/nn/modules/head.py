"""Heads: from feature maps to predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy

import torch
from torch import nn

from ultralytics.nn.modules.block import DFL, C2f, Proto
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.registry import Bound, Context, Entry, bind_channel_list, is_built_in, parameters, register
from ultralytics.utils.overrides import is_stock, replaceable
from ultralytics.utils.system.logger import say_once
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

Pair = tuple[torch.Tensor, torch.Tensor]
Maps = list[torch.Tensor]
BothMaps = dict[str, Maps]  # of a head without NMS: "one2many" and "one2one"


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


def _pairs(x: Maps, boxes: nn.ModuleList, classes: nn.ModuleList) -> list[Pair]:
    """Return the outputs of the two branches for each map."""
    return [(box(features), cls(features)) for features, box, cls in zip(x, boxes, classes)]


def _maps(pairs: list[Pair]) -> Maps:
    """Return the maps that losses read: each pair concatenated."""
    return [torch.cat(pair, 1) for pair in pairs]


@register
class Detect(nn.Module):
    """Anchor-free detection head of YOLOv8 and YOLO11: for each position, `nc` class logits and a box distribution.

    In training it returns the maps, each (b, 4 * reg_max + nc, h, w); in inference a pair of the decoded predictions
    (b, 4 + nc, positions), boxes as xywh in input pixels and class probabilities, and the maps. A subclass with
    `end2end = True` needs no NMS, see `forward_end2end`.

    Args:
        nc: number of classes.
        ch: channels of the maps.
        legacy: plain convolutions in the class branch (YOLOv8) instead of depthwise ones (YOLO11); by default as the
            model that is being built has them.
    """

    stride: torch.Tensor  # (nl,) of the maps, in pixels
    end2end = False  # whether one prediction is made for each object, so that there is nothing to suppress
    max_det = 300  # predictions of an image, if `end2end`
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
        self.one2one_cv2 = deepcopy(self.cv2) if self.end2end else None
        self.one2one_cv3 = deepcopy(self.cv3) if self.end2end else None

    def forward(self, x: Maps) -> Maps | BothMaps | tuple[torch.Tensor, Maps | BothMaps]:
        if self.end2end:
            return self.forward_end2end(x)
        pairs = self.pairs(x)
        return _maps(pairs) if self.training else (self.decode(pairs), _maps(pairs))

    def forward_end2end(self, x: Maps) -> BothMaps | tuple[torch.Tensor, BothMaps]:
        """Return predictions that need no NMS, by branches that learn one position for each object.

        YOLOv10, arXiv 2405.14458, section 3.1: a second pair of branches learns many positions for each object, as in
        other heads. From these branches alone the backbone learns.

        Returns:
            in training the maps of both pairs; in inference the predictions of `postprocess` and these maps.
        """
        assert self.one2one_cv2 is not None and self.one2one_cv3 is not None  # by `end2end`
        read = [features.detach() for features in x] if self.training else x
        one = _pairs(read, self.one2one_cv2, self.one2one_cv3)
        raw = {"one2many": _maps(self.pairs(x)), "one2one": _maps(one)}
        if self.training:
            return raw
        return self.postprocess(self.decode(one).transpose(1, 2), self.max_det, self.nc), raw

    def pairs(self, x: Maps) -> list[Pair]:
        """Return box distributions (b, 4 * reg_max, h, w) and class logits (b, nc, h, w) of each map."""
        return _pairs(x, self.cv2, self.cv3)

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
        """Turn distances (b, 4, positions) from anchor points (1, 2, positions) into boxes, all in strides.

        They are xywh, or xyxy if `end2end`.
        """
        return dist2bbox(bboxes, anchors, xywh=not self.end2end, dim=1)

    @staticmethod
    def postprocess(preds: torch.Tensor, max_det: int, nc: int = 80) -> torch.Tensor:
        """Return the highest-scoring pairs of a box and a class.

        Args:
            preds: (b, positions, 4 + nc) boxes and class probabilities.
            max_det: how many, or all if there are fewer positions.
            nc: number of classes.

        Returns:
            (b, max_det, 6) box, score and class, by falling score.
        """
        boxes, scores = preds.split((4, nc), 2)
        count = min(max_det, preds.shape[1])
        best = scores.amax(2).topk(count).indices[..., None]  # their classes hold the highest scores of all
        boxes, scores = boxes.gather(1, best.expand(-1, -1, 4)), scores.gather(1, best.expand(-1, -1, nc))
        scores, index = scores.flatten(1).topk(count)
        place, cls = (index // nc)[..., None], (index % nc)[..., None]
        return torch.cat((boxes.gather(1, place.expand(-1, -1, 4)), scores[..., None], cls.to(boxes.dtype)), 2)

    def bias_init(self) -> None:
        """Start with boxes of about one cell and with the class odds of five objects in a 640-pixel image."""
        for boxes, classes in ((self.cv2, self.cv3), (self.one2one_cv2, self.one2one_cv3)):
            for box, cls, s in zip(boxes or (), classes or (), self.stride.tolist()):
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


@register
class v10Detect(Detect):
    """The detection head of YOLOv10, which needs no NMS: `Detect` with YOLO11's class branches and `end2end`."""

    end2end = True

    def __init__(self, nc: int = 80, ch: tuple[int, ...] = ()):
        super().__init__(nc, ch, legacy=False)


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
