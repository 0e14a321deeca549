"""Boxes from one notation into another, from one image into another, and a stopwatch.

Every box function takes NumPy arrays and tensors alike, keeps leading dimensions, and returns floats of the input's
own precision (float32 where the input holds integers). Notations: xyxy = two corners, xywh = centre and size,
ltwh = left top corner and size; an `n` behind them: divided by the image's width and height.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import torch

from ultralytics.utils.geometry.masks import (  # noqa: F401  public names of this module
    convert_torch2numpy_batch,
    crop_mask,
    masks2segments,
    process_mask,
    process_mask_native,
    process_mask_upsample,
    scale_image,
    scale_masks,
)
from ultralytics.utils.geometry.rboxes import regularize_rboxes, xywhr2xyxyxyxy  # noqa: F401

if TYPE_CHECKING:
    Array = TypeVar("Array", np.ndarray, torch.Tensor)


def __getattr__(name: str):
    """Offer the functions of `utils.nms` here too, where 8.3.0 keeps them; `utils.nms` itself needs this module."""
    if name in {"non_max_suppression", "nms", "nms_rotated"}:
        from ultralytics.utils.geometry import nms

        return getattr(nms, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


# Notations -----------------------------------------------------------------------------------------------------------


def _float_copy(x: Array) -> Array:
    """Copy the boxes, as floats."""
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
    """Turn corners in pixels into normalised centre and size; `clip` first cuts the boxes `eps` inside the image."""
    y = _float_copy(x)
    if clip:
        clip_boxes(y, (h - eps, w - eps))
    y = xyxy2xywh(y)
    y[..., 0:4:2] /= w
    y[..., 1:4:2] /= h
    return y


def xywh2ltwh(x: Array) -> Array:
    """Turn centre and size into left top corner and size."""
    y = _float_copy(x)
    y[..., :2] -= y[..., 2:4] / 2
    return y


def xyxy2ltwh(x: Array) -> Array:
    """Turn corners into left top corner and size."""
    y = _float_copy(x)
    y[..., 2:4] = y[..., 2:4] - y[..., :2]
    return y


def ltwh2xywh(x: Array) -> Array:
    """Turn left top corner and size into centre and size."""
    y = _float_copy(x)
    y[..., :2] += y[..., 2:4] / 2
    return y


def ltwh2xyxy(x: Array) -> Array:
    """Turn left top corner and size into corners."""
    y = _float_copy(x)
    y[..., 2:4] += y[..., :2]
    return y


# From one image into another ---------------------------------------------------------------------------------------


def clip_boxes(boxes: Array, shape: tuple[float, ...]) -> Array:
    """Cut xyxy boxes at the borders of an image of shape (h, w, ...), in place; the same boxes are returned."""
    for side, bound in ((slice(0, 4, 2), shape[1]), (slice(1, 4, 2), shape[0])):
        boxes[..., side] = boxes[..., side].clip(0, bound)
    return boxes


def clip_coords(coords: Array, shape: tuple[float, ...]) -> Array:
    """Cut points (..., x, y[, visibility]) at the borders of an image of shape (h, w, ...), in place."""
    coords[..., 0] = coords[..., 0].clip(0, shape[1])
    coords[..., 1] = coords[..., 1].clip(0, shape[0])
    return coords


def _letterbox_of(img1_shape, img0_shape, ratio_pad) -> tuple[float, float, float]:
    """Return (gain, left, top) of the letterbox that made an image of `img1_shape` from one of `img0_shape`."""
    if ratio_pad is not None:
        return ratio_pad[0][0], *ratio_pad[1]
    gain = min(img1_shape[0] / img0_shape[0], img1_shape[1] / img0_shape[1])
    # 0.1 less than the half: an odd pixel of border stands on the right and at the bottom, as LetterBox puts it
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
    """Map boxes on a letterboxed image back onto the original, cut at its borders.

    Args:
        img1_shape: (h, w) of the letterboxed image.
        boxes: (..., 4+) xyxy, pixels of that image; columns beyond the fourth are kept.
        img0_shape: (h, w) of the original.
        ratio_pad: ((gain, gain), (left, top)) if known; else it follows from the two shapes.
        padding: whether the letterbox has borders to take off.
        xywh: the boxes are xywh (they are then not cut).

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
    """Return the box (4,) xyxy around those points of a polygon (m, 2) that lie in the image; zeros if none does."""
    inside = segment[((segment >= 0) & (segment <= (width, height))).all(1)]
    if not len(inside):
        return np.zeros(4, dtype=segment.dtype)
    return np.concatenate([inside.min(0), inside.max(0)])


def segments2boxes(segments: Sequence[np.ndarray]) -> np.ndarray:
    """Return the boxes (n, 4) xywh around polygons (m, 2)."""
    boxes = [np.concatenate([s.min(0), s.max(0)]) for s in segments]
    return xyxy2xywh(np.array(boxes).reshape(-1, 4))


def resample_segments(segments: Sequence[np.ndarray], n: int = 1000) -> list[np.ndarray]:
    """Return each closed polygon (m, 2) with n points, spread evenly over its corners' numbers; float32."""
    resampled = []
    for s in segments:
        closed = np.concatenate([s, s[:1]])
        at, corners = np.linspace(0, len(closed) - 1, n), np.arange(len(closed))
        resampled.append(np.stack([np.interp(at, corners, closed[:, i]) for i in range(2)], 1).astype(np.float32))
    return resampled


def xyxyxyxy2xywhr(x: Array | Sequence[np.ndarray]) -> Array:
    """Turn corners into the smallest rotated rectangles around them.

    Args:
        x: (n, 8), (n, 4, 2), or a list of polygons (m, 2).

    Returns:
        (n, 5) float32 centre, width, height and angle: from 0 up to a quarter turn, clockwise, between width and x.
    """
    polygons = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x
    rows = [_min_area_rect(np.asarray(p, np.float32).reshape(-1, 2)) for p in polygons]
    boxes = np.array(rows, np.float32).reshape(-1, 5)
    return torch.from_numpy(boxes).to(x.device, x.dtype) if isinstance(x, torch.Tensor) else boxes


def _min_area_rect(points: np.ndarray) -> tuple[float, ...]:
    """Return x, y, w, h and angle; versions of OpenCV differ in which quarter turn they give the angle."""
    if not len(points):
        return (0.0,) * 5
    (x, y), (w, h), degrees = cv2.minAreaRect(points)
    turns, rest = divmod(degrees, 90)
    if rest > 90 - 1e-4:  # upright but for rounding
        turns, rest = turns + 1, 0.0
    w, h = (h, w) if turns % 2 else (w, h)
    return x, y, w, h, math.radians(rest)


# Small things --------------------------------------------------------------------------------------------------------


def make_divisible(x: float, divisor: int | torch.Tensor) -> int:
    """Return the smallest multiple of `divisor` (of its largest entry, if it is a tensor) that is not below `x`."""
    if isinstance(divisor, torch.Tensor):
        divisor = int(divisor.max())
    return math.ceil(x / divisor) * divisor


def clean_str(s: str) -> str:
    """Replace characters that file names and windows dislike by underscores."""
    return re.sub(r"[|@#!¡·$€%&()=?¿^*;:,¨´><+]", "_", s)


class Profile(contextlib.ContextDecorator):
    """A stopwatch: `with Profile() as p: ...` leaves the seconds in `p.dt` and adds them to `p.t`.

    On a CUDA device the clock is read when all queued work is done.
    """

    def __init__(self, t: float = 0.0, device: torch.device | str | None = None):
        self.t, self.dt = t, 0.0
        self.device = device
        self._cuda = device is not None and torch.device(device).type == "cuda"

    def __enter__(self) -> Profile:
        self.start = self.time()
        return self

    def __exit__(self, *_) -> None:
        self.dt = self.time() - self.start
        self.t += self.dt

    def __str__(self) -> str:
        return f"Elapsed time is {self.t} s"

    def time(self) -> float:
        if self._cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
