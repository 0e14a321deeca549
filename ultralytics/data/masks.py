"""Rasterisation of polygons into masks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def polygon2mask(
    imgsz: tuple[int, int], polygons: Sequence[np.ndarray], color: int = 1, downsample_ratio: int = 1
) -> np.ndarray:
    """Rasterise one object, given by one or more polygons of x y x y ..., into a mask.

    Args:
        imgsz: (h, w) of the image.
        polygons: in pixels, each (2 m,) or (m, 2).
        color: value of the object's pixels.
        downsample_ratio: how many times smaller than the image the mask is.

    Returns:
        (h / ratio, w / ratio) uint8.
    """
    mask = np.zeros(imgsz, np.uint8)
    corners = [np.asarray(p).reshape(-1, 2).astype(np.int32) for p in polygons]
    cv2.fillPoly(mask, [c for c in corners if len(c)], color=color)
    return cv2.resize(mask, (imgsz[1] // downsample_ratio, imgsz[0] // downsample_ratio))


def polygons2masks(
    imgsz: tuple[int, int], polygons: Sequence[np.ndarray], color: int = 1, downsample_ratio: int = 1
) -> np.ndarray:
    """Rasterise each polygon into a mask of its own: (n, h / ratio, w / ratio) uint8."""
    masks = np.zeros((len(polygons), imgsz[0] // downsample_ratio, imgsz[1] // downsample_ratio), np.uint8)
    for mask, polygon in zip(masks, polygons):
        patch, (y, x) = _patch(imgsz, polygon, color, downsample_ratio)
        mask[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    return masks


def polygons2masks_overlap(
    imgsz: tuple[int, int], segments: Sequence[np.ndarray], downsample_ratio: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Rasterise polygons into one map, larger objects first, so that smaller ones lie on top.

    Returns:
        map (h / ratio, w / ratio) of 0 or 1 + position of the object in the new order, uint8 (int32 above 255
        objects), and the indices of the objects in that order.
    """
    dtype = np.int32 if len(segments) > 255 else np.uint8
    union = np.zeros((imgsz[0] // downsample_ratio, imgsz[1] // downsample_ratio), dtype)
    patches = [_patch(imgsz, s, 1, downsample_ratio) for s in segments]
    order = np.argsort([-int(patch.sum()) for patch, _ in patches], kind="stable").astype(np.int64)
    for place, i in enumerate(order, 1):
        patch, (y, x) = patches[i]
        union[y : y + patch.shape[0], x : x + patch.shape[1]][patch > 0] = place
    return union, order


def _patch(imgsz: tuple[int, int], polygon: np.ndarray, color: int, ratio: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Rasterise only the part of a mask that holds the object; return it and its (y, x) in the mask.

    It equals that part of the whole mask, because its corner lies on the grid of the smaller mask.
    """
    if imgsz[0] % ratio or imgsz[1] % ratio:  # the image is no whole number of grid cells
        return polygon2mask(imgsz, [polygon], color, ratio), (0, 0)
    corners = np.asarray(polygon).reshape(-1, 2).astype(np.int32)
    if not len(corners):
        return np.zeros((0, 0), np.uint8), (0, 0)
    limit = np.array(imgsz[::-1])
    low = corners.min(0).clip(0, limit) // ratio * ratio
    high = np.minimum(-(-(corners.max(0).clip(0, limit) + 1) // ratio) * ratio, limit)
    if (high <= low).any():
        return np.zeros((0, 0), np.uint8), (0, 0)
    size = high - low
    patch = polygon2mask((int(size[1]), int(size[0])), [corners - low], color, ratio)
    return patch, (int(low[1]) // ratio, int(low[0]) // ratio)
