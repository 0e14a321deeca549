"""Losses of predicted boxes by name: what the setting `box_loss` chooses from, and a decorator to add one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.geometry.overlap import bbox_iou

# (pred (p, 4), target (p, 4), (width, height) of the images) -> (p, 1) or (p,); boxes are xyxy, all in pixels
BoxLoss = Callable[[torch.Tensor, torch.Tensor, tuple[float, float]], torch.Tensor]
BOX_LOSSES: dict[str, BoxLoss] = {}
DEFAULT = "ciou"
EPS = 1e-7


@overload
def register_box_loss(loss: BoxLoss, *, name: str = "") -> BoxLoss: ...
@overload
def register_box_loss(loss: None = None, *, name: str = "") -> Callable[[BoxLoss], BoxLoss]: ...
def register_box_loss(loss: BoxLoss | None = None, *, name: str = "") -> BoxLoss | Callable[[BoxLoss], BoxLoss]:
    """Make a function a choice of the setting `box_loss`, under its own name with dashes, or `name` (decorator).

    The function takes p pairs of boxes, `pred` and `target` (p, 4) xyxy in pixels, and the (width, height) of the
    images, and returns the loss of each pair, (p, 1) or (p,), which is 0 where they are equal. The pairs are then
    weighted and averaged. A function takes the place of an earlier one of its name.
    """

    def add(loss: BoxLoss) -> BoxLoss:
        key = name or loss.__name__.replace("_", "-")
        if key in BOX_LOSSES:
            LOGGER.info(f"box_loss={key} is now the function '{loss.__name__}' of {loss.__module__}.")
        BOX_LOSSES[key] = loss
        return loss

    return add if loss is None else add(loss)


def find_box_loss(name: str) -> BoxLoss:
    """Return the box loss of a name; raise ConfigError if nobody has registered it."""
    if name not in BOX_LOSSES:
        raise ConfigError(
            f"box_loss={name} is not known. Choose {', '.join(BOX_LOSSES)}.{did_you_mean(name, BOX_LOSSES)} A function "
            "of your own needs @register_box_loss above it (from ultralytics.utils.loss), in a file that the script "
            "imports or that the model YAML names under `modules`."
        )
    return BOX_LOSSES[name]


def _sizes(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return center x, center y, width and height, each (p, 1), of boxes (p, 4) xyxy."""
    x1, y1, x2, y2 = boxes.split(1, -1)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def _hull(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return width and height (p, 1) of the smallest box around each pair."""
    size = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    return size[:, :1], size[:, 1:]


def _scaled(boxes: torch.Tensor, ratio: float) -> torch.Tensor:
    """Return boxes (p, 4) with the same centers whose sides are `ratio` times as long."""
    center, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (ratio / 2)
    return torch.cat((center - half, center + half), 1)


@register_box_loss
def ciou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """Complete IoU: overlap, distance of the centers, and aspect ratio. arXiv 1911.08287, section 3.3."""
    return 1 - bbox_iou(pred, target, xywh=False, CIoU=True)


@register_box_loss
def diou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """Distance IoU: overlap and distance of the centers. arXiv 1911.08287, section 3.2."""
    return 1 - bbox_iou(pred, target, xywh=False, DIoU=True)


@register_box_loss
def giou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """Generalized IoU: overlap, and the share of the smallest box around both that is empty. arXiv 1902.09630."""
    return 1 - bbox_iou(pred, target, xywh=False, GIoU=True)


@register_box_loss
def siou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """SCYLLA-IoU: overlap, a distance that counts most across the axes, and shape. arXiv 2205.12740.

    The angle cost sin(2 alpha), for the angle alpha between the line of the centers and an axis, is computed from the
    line's components, without the arcsine, whose slope has no limit.
    """
    (x1, y1, w1, h1), (x2, y2, w2, h2) = _sizes(pred), _sizes(target)
    dx, dy = x2 - x1, y2 - y1
    angle = 2 * (dx * dy).abs() / (dx.square() + dy.square() + EPS)
    width, height = _hull(pred, target)
    gamma = 2 - angle
    distance = sum(1 - (-gamma * (d / (side + EPS)).square()).exp() for d, side in ((dx, width), (dy, height)))
    shape = sum((1 - (-(a - b).abs() / (torch.maximum(a, b) + EPS)).exp()).pow(4) for a, b in ((w1, w2), (h1, h2)))
    return 1 - bbox_iou(pred, target, xywh=False) + (distance + shape) / 2


@register_box_loss
def wiou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """Wise-IoU v1: the loss of overlap, raised by the distance of the centers. arXiv 2301.10051.

    The size of the box around both gets no gradient. Versions 2 and 3 of the paper also weigh by a running mean of the
    loss, which a resumed training would begin anew; they are left out.
    """
    (x1, y1, _, _), (x2, y2, _, _) = _sizes(pred), _sizes(target)
    width, height = (side.detach() for side in _hull(pred, target))
    far = ((x2 - x1).square() + (y2 - y1).square()) / (width.square() + height.square() + EPS)
    return far.exp() * (1 - bbox_iou(pred, target, xywh=False))


@register_box_loss
def mpdiou(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float]) -> torch.Tensor:
    """Minimum point distance: overlap, and the distances of two corners, to the image's diagonal. arXiv 2307.07662."""
    diagonal = imgsz[0] ** 2 + imgsz[1] ** 2
    corners = (pred - target).square().sum(1, keepdim=True) / diagonal  # of both corners together
    return 1 - bbox_iou(pred, target, xywh=False) + corners


@register_box_loss
def inner_ciou(
    pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float], ratio: float = 0.75
) -> torch.Tensor:
    """Inner-IoU with CIoU: the overlap is that of boxes `ratio` times the size. arXiv 2311.02877.

    A ratio below 1 stresses boxes that already fit well, above 1 those that hardly overlap.
    """
    inner = bbox_iou(_scaled(pred, ratio), _scaled(target, ratio), xywh=False)
    return ciou(pred, target, imgsz) + bbox_iou(pred, target, xywh=False) - inner


@register_box_loss
def nwd(pred: torch.Tensor, target: torch.Tensor, imgsz: tuple[float, float], scale: float = 12.8) -> torch.Tensor:
    """Normalized Wasserstein distance of the boxes as Gaussians, for tiny objects. arXiv 2110.13389.

    `scale` is the objects' mean size in pixels, by which the distance is divided; the paper's is that of AI-TOD.
    """
    (x1, y1, w1, h1), (x2, y2, w2, h2) = _sizes(pred), _sizes(target)
    squared = (x1 - x2).square() + (y1 - y2).square() + ((w1 - w2).square() + (h1 - h2).square()) / 4
    return 1 - (-(squared + EPS).sqrt() / scale).exp()
