"""Warping of images, and of a canvas of several images that is painted only when it is warped."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import DTypeLike

GREY = 114  # value of every padded pixel
BORDER = (GREY, GREY, GREY)


class Canvas:
    """Images laid out on grey but not yet painted, so that a warp touches only the pixels it shows.

    Args:
        shape: (height, width, 3).
        tiles: (pixels, left, top) of each image; they do not overlap.
    """

    def __init__(self, shape: tuple[int, int, int], tiles: list[tuple[np.ndarray, int, int]]):
        self.shape, self.tiles, self.dtype, self.ndim = shape, tiles, np.dtype(np.uint8), 3

    def paint(self) -> np.ndarray:
        """Paint the whole canvas into an array."""
        img = np.full(self.shape, GREY, np.uint8)
        for tile, x, y in self.tiles:
            img[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        return img

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self.paint().astype(dtype or np.uint8, copy=False)

    def warp(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Warp the canvas by a 3x3 matrix into (h, w, 3), for size (w, h); seams between tiles stay sharp."""
        sx, sy = matrix[0, 0], matrix[1, 1]
        upright = np.count_nonzero(matrix[[0, 1, 2, 2], [1, 0, 0, 1]]) == 0 and sx > 0 and sy > 0
        if not upright:  # rotated tiles share rows and columns of the image
            return warp(self.paint(), matrix, size)
        img = np.full((size[1], size[0], 3), GREY, np.uint8)
        for tile, x, y in self.tiles:
            x1, x2 = _shown(x, x + tile.shape[1], sx, matrix[0, 2], size[0])
            y1, y2 = _shown(y, y + tile.shape[0], sy, matrix[1, 2], size[1])
            if x1 >= x2 or y1 >= y2:
                continue
            back = np.array([[1 / sx, 0, (x1 - matrix[0, 2]) / sx - x], [0, 1 / sy, (y1 - matrix[1, 2]) / sy - y]])
            img[y1:y2, x1:x2] = cv2.warpAffine(
                tile,
                back,
                (x2 - x1, y2 - y1),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return img


def _shown(start: int, stop: int, scale: float, shift: float, size: int) -> tuple[int, int]:
    """Return the range of output pixels whose centres fall on the source pixels [start, stop)."""
    low, high = (math.ceil(scale * (edge - 0.5) + shift) for edge in (start, stop))
    return max(low, 0), min(high, size)


def warp(img: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp an image by a 3x3 matrix to size (w, h), grey outside."""
    if np.array_equal(matrix[2], (0, 0, 1)):
        return cv2.warpAffine(img, matrix[:2], dsize=size, borderValue=BORDER)
    return cv2.warpPerspective(img, matrix, dsize=size, borderValue=BORDER)
