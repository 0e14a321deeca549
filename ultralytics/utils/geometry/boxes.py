"""Conversion, clipping and scaling of boxes, and boxes around polygons.

Every box function takes NumPy arrays and tensors alike, keeps leading dimensions, and returns floats of the input's
own precision (float32 for integers). Formats: xyxy = two corners, xywh = centre and size, ltwh = top left corner and
size; with an `n` appended: divided by the image's width and height.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    Array = TypeVar("Array", np.ndarray, torch.Tensor)


# Formats -------------------------------------------------------------------------------------------------------------


def _float_copy(x: Array) -> Array:
    """Copy boxes as floats."""
    if x.shape[-1] < 4:
        raise ValueError(f"Boxes need 4 numbers in the last dimension, but the shape given is {tuple(x.shape)}.")
    if isinstance(x, torch.Tensor):
        return x.clone() if x.is_floating_point() else x.float()
    return x.copy() if np.issubdtype(x.dtype, np.floating) else x.astype(np.float32)


def xyxy2xywh(x: Array) -> Array:
    """Turn corners into centre and size."""
    y = _float_copy(x)
    y[..., 2:4] = y[..., 2:4] - y[..., :2]
    y[..., :2] += y[..., 2:4] / 2
    return y


def xywh2xyxy(x: Array) -> Array:
    """Turn centre and size into corners."""
    y = _float_copy(x)
    half = y[..., 2:4] / 2
    y[..., 2:4] = y[..., :2] + half
    y[..., :2] -= half
    return y


def xywhn2xyxy(x: Array, w: int = 640, h: int = 640, padw: float = 0, padh: float = 0) -> Array:
    """Turn normalised centre and size into corners in pixels of a (w, h) image that lies at (padw, padh)."""
    y = xywh2xyxy(x)
    y[..., 0:4:2] = y[..., 0:4:2] * w + padw
    y[..., 1:4:2] = y[..., 1:4:2] * h + padh
    return y


def xyxy2xywhn(x: Array, w: int = 640, h: int = 640, clip: bool = False, eps: float = 0.0) -> Array:
    """Turn corners in pixels into normalised centre and size; `clip` first clips the boxes `eps` inside the image."""
    y = _float_copy(x)
    if clip:
        clip_boxes(y, (h - eps, w - eps))
    y = xyxy2xywh(y)
    y[..., 0:4:2] /= w
    y[..., 1:4:2] /= h
    return y


def xywh2ltwh(x: Array) -> Array:
    """Turn centre and size into top left corner and size."""
    y = _float_copy(x)
    y[..., :2] -= y[..., 2:4] / 2
    return y


def xyxy2ltwh(x: Array) -> Array:
    """Turn corners into top left corner and size."""
    y = _float_copy(x)
    y[..., 2:4] = y[..., 2:4] - y[..., :2]
    return y


def ltwh2xywh(x: Array) -> Array:
    """Turn top left corner and size into centre and size."""
    y = _float_copy(x)
    y[..., :2] += y[..., 2:4] / 2
    return y


def ltwh2xyxy(x: Array) -> Array:
    """Turn top left corner and size into corners."""
    y = _float_copy(x)
    y[..., 2:4] += y[..., :2]
    return y


# From one image into another ---------------------------------------------------------------------------------------


def clip_boxes(boxes: Array, shape: tuple[float, ...]) -> Array:
    """Clip xyxy boxes at the borders of an image of shape (h, w, ...), in place; the same boxes are returned."""
    for side, bound in ((slice(0, 4, 2), shape[1]), (slice(1, 4, 2), shape[0])):
        boxes[..., side] = boxes[..., side].clip(0, bound)
    return boxes


def clip_coords(coords: Array, shape: tuple[float, ...]) -> Array:
    """Clip points (..., x, y[, visibility]) at the borders of an image of shape (h, w, ...), in place."""
    coords[..., 0] = coords[..., 0].clip(0, shape[1])
    coords[..., 1] = coords[..., 1].clip(0, shape[0])
    return coords


def _letterbox_of(
    img1_shape: Sequence[float], img0_shape: Sequence[float], ratio_pad: tuple | None
) -> tuple[float, float, float]:
    """Return (gain, left, top) of the letterbox that made an image of `img1_shape` from one of `img0_shape`."""
    if ratio_pad is not None:
        return ratio_pad[0][0], *ratio_pad[1]
    gain = min(img1_shape[0] / img0_shape[0], img1_shape[1] / img0_shape[1])
    # 0.1 less than half: an odd pixel of padding is on the right and at the bottom, as LetterBox puts it
    left, top = (round((img1_shape[i] - img0_shape[i] * gain) / 2 - 0.1) for i in (1, 0))
    return gain, left, top


def scale_boxes(
    img1_shape: tuple[int, ...],
    boxes: Array,
    img0_shape: tuple[int, ...],
    ratio_pad: tuple | None = None,
    padding: bool = True,
    xywh: bool = False,
) -> Array:
    """Map boxes on a letterboxed image back onto the original, clipped at its borders.

    Args:
        img1_shape: (h, w) of the letterboxed image.
        boxes: (..., 4+) xyxy, pixels of that image; columns beyond the fourth are kept.
        img0_shape: (h, w) of the original.
        ratio_pad: ((gain, gain), (left, top)) if known; else it follows from the two shapes.
        padding: whether the letterbox has padding to remove.
        xywh: the boxes are xywh (they are then not clipped).

    Returns:
        new boxes, pixels of the original.
    """
    gain, left, top = _letterbox_of(img1_shape, img0_shape, ratio_pad)
    boxes = _float_copy(boxes)
    if padding:
        end = 2 if xywh else 4  # sizes do not move
        boxes[..., 0:end:2] -= left
        boxes[..., 1:end:2] -= top
    boxes[..., :4] /= gain
    return boxes if xywh else clip_boxes(boxes, img0_shape)


def scale_coords(
    img1_shape: tuple[int, ...],
    coords: Array,
    img0_shape: tuple[int, ...],
    ratio_pad: tuple | None = None,
    normalize: bool = False,
    padding: bool = True,
) -> Array:
    """Map points (..., x, y[, visibility]) on a letterboxed image back onto the original, in place.

    `normalize` divides them by the original's width and height. The other arguments are those of `scale_boxes`.
    """
    gain, left, top = _letterbox_of(img1_shape, img0_shape, ratio_pad)
    if padding:
        coords[..., 0] -= left
        coords[..., 1] -= top
    coords[..., :2] /= gain
    clip_coords(coords, img0_shape)
    if normalize:
        coords[..., 0] /= img0_shape[1]
        coords[..., 1] /= img0_shape[0]
    return coords


# Polygons ------------------------------------------------------------------------------------------------------------


def segment2box(segment: np.ndarray, width: int = 640, height: int = 640) -> np.ndarray:
    """Return the box (4,) xyxy around the points of a polygon (m, 2) that lie in the image; zeros if none does."""
    inside = segment[((segment >= 0) & (segment <= (width, height))).all(1)]
    if not len(inside):
        return np.zeros(4, dtype=segment.dtype)
    return np.concatenate([inside.min(0), inside.max(0)])


def segments2boxes(segments: Sequence[np.ndarray]) -> np.ndarray:
    """Return the boxes (n, 4) xywh around polygons (m, 2)."""
    boxes = [np.concatenate([s.min(0), s.max(0)]) for s in segments]
    return xyxy2xywh(np.array(boxes).reshape(-1, 4))


def resample_segments(segments: Sequence[np.ndarray], n: int = 1000) -> list[np.ndarray]:
    """Resample each closed polygon (m, 2) to n points, spread evenly over the indices of its corners; float32."""
    resampled = []
    for s in segments:
        closed = np.concatenate([s, s[:1]])
        at, corners = np.linspace(0, len(closed) - 1, n), np.arange(len(closed))
        resampled.append(np.stack([np.interp(at, corners, closed[:, i]) for i in range(2)], 1).astype(np.float32))
    return resampled
