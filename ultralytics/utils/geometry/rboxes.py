"""Rotated boxes from one notation into another: xywhr = centre, size and angle in radians; xyxyxyxy = four corners."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

if TYPE_CHECKING:
    Array = TypeVar("Array", np.ndarray, torch.Tensor)


def xywhr2xyxyxyxy(x: Array) -> Array:
    """Turn rotated boxes (..., 5) into their corners (..., 4, 2), in the order in which they are joined."""
    lib = torch if isinstance(x, torch.Tensor) else np
    centre, w, h, angle = x[..., :2], x[..., 2:3], x[..., 3:4], x[..., 4:5]
    cos, sin = lib.cos(angle), lib.sin(angle)
    join = torch.cat if lib is torch else np.concatenate
    along, across = join((w / 2 * cos, w / 2 * sin), -1), join((-h / 2 * sin, h / 2 * cos), -1)
    corners = (centre + along + across, centre + along - across, centre - along - across, centre - along + across)
    return lib.stack(corners, -2)


def regularize_rboxes(rboxes: Array) -> Array:
    """Return the same rotated boxes (..., 5) with width >= height and an angle in [0, pi)."""
    lib = torch if isinstance(rboxes, torch.Tensor) else np
    x, y, w, h, angle = (rboxes[..., i] for i in range(5))
    wide = w > h
    angle = lib.where(wide, angle, angle + math.pi / 2) % math.pi
    return lib.stack((x, y, lib.where(wide, w, h), lib.where(wide, h, w), angle), -1)
