"""Warping of images, and of a canvas of several images of which only what a warp shows is painted."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import DTypeLike

GREY = 114  # value of every padded pixel
BORDER = (GREY, GREY, GREY)


class Canvas:
    """Images laid out on grey but not yet painted, so that a warp paints only the pixels it shows.

    Args:
        shape: (height, width, 3).
        tiles: (pixels, left, top) of each image; they do not overlap.
    """

    def __init__(self, shape: tuple[int, int, int], tiles: list[tuple[np.ndarray, int, int]]):
        self.shape, self.tiles, self.dtype, self.ndim = shape, tiles, np.dtype(np.uint8), 3

    def paint(self) -> np.ndarray:
        """Paint the whole canvas into an array."""
        return self.region(0, 0, self.shape[1], self.shape[0])

    def region(self, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
        """Paint the pixels in x1..x2 and y1..y2 into an array."""
        img = np.full((y2 - y1, x2 - x1, 3), GREY, np.uint8)
        for tile, x, y in self.tiles:
            left, top = max(x - x1, 0), max(y - y1, 0)
            shown = tile[max(y1 - y, 0) : max(y2 - y, 0), max(x1 - x, 0) : max(x2 - x, 0)]
            if shown.size:
                img[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
        return img

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self.paint().astype(dtype or np.uint8, copy=False)


def warp(img: np.ndarray | Canvas, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Warp an image by a 3x3 matrix to size (w, h), grey outside."""
    pixels = img.paint() if isinstance(img, Canvas) else img
    if np.array_equal(matrix[2], (0, 0, 1)):
        return cv2.warpAffine(pixels, matrix[:2], dsize=size, borderValue=BORDER)
    return cv2.warpPerspective(pixels, matrix, dsize=size, borderValue=BORDER)


def is_upright(matrix: np.ndarray) -> bool:
    """Whether a 3x3 matrix only enlarges or shrinks, and shifts."""
    (sx, turn_x, _), (turn_y, sy, _), last = matrix.tolist()
    return turn_x == turn_y == 0 and last == [0, 0, 1] and min(sx, sy) > 0


def scale(img: np.ndarray | Canvas, matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift an image into a frame of (w, h), by a matrix that is upright, grey outside.

    What is shown is cut out and resized, which takes a fraction of the time of a warp, but puts the edge of the cut on
    the edge of a pixel: for that the image is shifted by up to half a pixel more.

    Returns:
        The frame, and the matrix with the shift that was applied.
    """
    gain, exact = (float(matrix[0, 0]), float(matrix[1, 1])), matrix.astype(np.float64)
    cut, place = [], []
    for axis, side in enumerate(img.shape[1::-1]):
        start, stop = ((edge - matrix[axis, 2]) / gain[axis] for edge in (0, size[axis]))
        low = min(max(math.floor(start) - 1, 0), side)  # one more than shown, which the outer pixels blend in
        cut.append((low, max(min(math.ceil(stop) + 2, side), low)))
        place.append(round(low * gain[axis] + matrix[axis, 2]))
        exact[axis, 2] = place[axis] - low * gain[axis]
    (x1, x2), (y1, y2) = cut
    pixels = img.region(x1, y1, x2, y2) if isinstance(img, Canvas) else img[y1:y2, x1:x2]
    if min(round(n * g) for n, g in zip(pixels.shape[1::-1], gain)) < 1:
        return np.full((size[1], size[0], 3), GREY, np.uint8), exact
    pixels = cv2.resize(pixels, None, fx=gain[0], fy=gain[1], interpolation=cv2.INTER_LINEAR)
    left, top = (max(p, 0) for p in place)
    shown = pixels[top - place[1] : size[1] - place[1], left - place[0] : size[0] - place[0]]
    if shown.shape[1::-1] == size:
        return shown, exact
    frame = np.full((size[1], size[0], 3), GREY, np.uint8)
    frame[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return frame, exact
