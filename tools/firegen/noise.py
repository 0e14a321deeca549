"""Smooth noise: the stuff that clouds, grass, bark and flames are made of."""

from __future__ import annotations

import cv2
import numpy as np


def fbm(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: float | tuple[float, float],
    octaves: int = 4,
    gain: float = 0.5,
) -> np.ndarray:
    """Fractal noise of zero mean and unit deviation; `cell` is the size of the largest lump, px or (y, x) px."""
    h, w = shape
    cy, cx = cell if isinstance(cell, tuple) else (cell, cell)
    out = np.zeros((h, w), np.float32)
    for i in range(octaves):
        rows, cols = max(2, round(h * 2**i / cy) + 1), max(2, round(w * 2**i / cx) + 1)
        grid = rng.standard_normal((min(rows, h), min(cols, w)), dtype=np.float32)
        out += gain**i * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
    return (out - out.mean()) / (out.std() + 1e-6)


def profile(rng: np.random.Generator, n: int, cell: float, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
    """One-dimensional fbm, (n,): a skyline."""
    return fbm(rng, (2, n), (4.0, cell), octaves, gain)[0]


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: np.ndarray | float, b: np.ndarray | float, t: np.ndarray | float) -> np.ndarray:
    """`a` where t is 0, `b` where it is 1."""
    return a + (b - a) * t


def rgb(*values: float) -> np.ndarray:
    """A colour, float32."""
    return np.array(values, np.float32)


def vary(rng: np.random.Generator, colour: np.ndarray, hue: float = 0.12, value: float = 0.25) -> np.ndarray:
    """A relative of the given colour."""
    return (colour * np.exp(rng.normal(0, hue, 3) + rng.normal(0, value))).clip(0.005, 0.95).astype(np.float32)


def polygon(shape: tuple[int, int], points: np.ndarray | list, blur: float = 0.0) -> np.ndarray:
    """Antialiased coverage (h, w) in 0..1 of a polygon given as (n, 2) xy px."""
    mask = np.zeros(shape, np.uint8)
    fixed = np.round(np.clip(np.asarray(points, np.float64), -4000, 4000) * 16).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, shift=4)
    cover = mask.astype(np.float32) / 255
    return cv2.GaussianBlur(cover, (0, 0), blur) if blur > 0.2 else cover


def ellipse(shape: tuple[int, int], x: float, y: float, rx: float, ry: float, soft: float = 1.0) -> np.ndarray:
    """Coverage (h, w) of an ellipse; `soft` is the width of its edge, px."""
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    d = np.sqrt(((xx - x) / max(rx, 0.5)) ** 2 + ((yy - y) / max(ry, 0.5)) ** 2).astype(np.float32)
    edge = soft / max(min(rx, ry), 0.5)
    return 1 - smoothstep(1 - edge / 2, 1 + edge / 2, d)
