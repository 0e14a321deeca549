"""Outlines of objects: joining several parts, and tracing masks given as pixels or as COCO's run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ultralytics.utils.errors import DataError
from ultralytics.utils.hostile import limits


def min_index(arr1: np.ndarray, arr2: np.ndarray) -> tuple[int, int]:
    """Return the indices of the two nearest points of two outlines (n, 2) and (m, 2)."""
    distance = ((arr1[:, None] - arr2[None]) ** 2).sum(-1)
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    return int(i), int(j)


def merge_multi_segment(segments: Sequence[ArrayLike]) -> list[np.ndarray]:
    """Join the parts of one object by bridges of no width, so that one outline goes around them all.

    Args:
        segments: parts, each x1, y1, x2, y2, ...

    Returns:
        Arrays (n, 2) which, one after the other, are the outline.
    """
    parts = [np.asarray(s, np.float64).reshape(-1, 2) for s in segments]
    if len(parts) < 2:
        return parts
    outline, rest = parts[0], parts[1:]
    while rest:  # the nearest part first, else a bridge would cross others
        ends = [min_index(outline, part) for part in rest]
        gaps = [((outline[i] - part[j]) ** 2).sum() for (i, j), part in zip(ends, rest)]
        k = int(np.argmin(gaps))
        (i, j), part = ends[k], rest.pop(k)
        loop = np.concatenate([part[j:], part[: j + 1]])  # around the part, back to where the bridge lands
        outline = np.concatenate([outline[: i + 1], loop, outline[i:]])
    return [outline]


def rle_to_mask(rle: Mapping) -> np.ndarray:
    """Decode COCO's run lengths, which go down the columns, into a mask (h, w) uint8.

    Args:
        rle: `size` [h, w] and `counts`, a list or the packed text.

    Raises:
        DataError: the runs do not fill the image.
    """
    try:
        h, w = (int(side) for side in rle["size"])
        counts = rle["counts"]
        runs = np.asarray(_unpack_counts(counts) if isinstance(counts, (str, bytes)) else counts, np.int64)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        raise DataError("A mask is not in COCO's run-length form of `size` and `counts`.") from None
    if runs.ndim != 1 or min(h, w) < 1 or h * w > limits.PIXELS:
        raise DataError(f"A mask of {h} x {w} pixels is not possible.")
    if (runs < 0).any() or (runs > h * w).any() or runs.sum() != h * w:
        raise DataError(f"The run lengths of a mask sum up to {runs.sum()}, not to {h} x {w} pixels.")
    return np.repeat((np.arange(len(runs)) % 2).astype(np.uint8), runs).reshape(w, h).T


def _unpack_counts(text: str | bytes) -> list[int]:
    """Decode COCO's packed counts: 5 bits a character from 48 on, low ones first; from the third on, differences."""
    data = text.encode("ascii") if isinstance(text, str) else bytes(text)
    counts: list[int] = []
    value = shift = 0
    for byte in data:
        bits = byte - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign of the last group
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts


def mask_to_polygons(mask: np.ndarray) -> list[np.ndarray]:
    """Trace the outer outlines (n, 2) of a mask (h, w), in pixels; holes and outlines without area are dropped."""
    found = cv2.findContours(np.ascontiguousarray(mask, np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    outlines = [contour.reshape(-1, 2).astype(np.float64) for contour in found]
    return [o for o in outlines if len(o) >= 3 and cv2.contourArea(o.astype(np.float32)) > 0]
