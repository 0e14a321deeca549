"""Conversion of rotated boxes: xywhr is centre, size and angle in radians; xyxyxyxy are the four corners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar, overload

import cv2
import numpy as np
import torch

if TYPE_CHECKING:
    Array = TypeVar("Array", np.ndarray, torch.Tensor)


def xywhr2xyxyxyxy(x: Array) -> Array:
    """Turn rotated boxes (..., 5) into their corners (..., 4, 2), in order around the box."""
    lib = torch if isinstance(x, torch.Tensor) else np
    centre, w, h, angle = x[..., :2], x[..., 2:3], x[..., 3:4], x[..., 4:5]
    cos, sin = lib.cos(angle), lib.sin(angle)
    join = torch.cat if lib is torch else np.concatenate
    along, across = join((w / 2 * cos, w / 2 * sin), -1), join((-h / 2 * sin, h / 2 * cos), -1)
    corners = (centre + along + across, centre + along - across, centre - along - across, centre - along + across)
    return lib.stack(corners, -2)


def regularize_rboxes(rboxes: Array) -> Array:
    """Normalise rotated boxes (..., 5) to width >= height and an angle in [0, pi)."""
    lib = torch if isinstance(rboxes, torch.Tensor) else np
    x, y, w, h, angle = (rboxes[..., i] for i in range(5))
    wide = w > h
    angle = lib.where(wide, angle, angle + math.pi / 2) % math.pi
    return lib.stack((x, y, lib.where(wide, w, h), lib.where(wide, h, w), angle), -1)


@overload
def xyxyxyxy2xywhr(x: torch.Tensor) -> torch.Tensor: ...
@overload
def xyxyxyxy2xywhr(x: np.ndarray | Sequence[np.ndarray]) -> np.ndarray: ...
def xyxyxyxy2xywhr(x: torch.Tensor | np.ndarray | Sequence[np.ndarray]) -> torch.Tensor | np.ndarray:
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
