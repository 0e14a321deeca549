"""Small data sets made for the tests of segmentation, pose and rotated boxes: painted shapes, known to the pixel.

An object of class 0 is red, one of class 1 green, on black; padding is grey, so that each pixel says what it shows.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scenes import write_image

COLORS = {0: (0, 0, 255), 1: (0, 255, 0)}  # BGR
POINT_COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
FLIP_IDX = [1, 0, 2]
SIZES = ((192, 256), (256, 192), (220, 220))


def arrow(cx: float, cy: float, r: float, angle: float) -> np.ndarray:
    """Return a concave polygon (5, 2) around a centre."""
    turns = angle + np.array([0, 2.4, 3.3, 3.9, 5.0])
    radii = r * np.array([1, 0.9, 0.35, 0.95, 0.8])
    return np.stack([cx + radii * np.cos(turns), cy + radii * np.sin(turns)], 1).astype(np.float32)


def rectangle(cx: float, cy: float, w: float, h: float, angle: float) -> np.ndarray:
    """Return the corners (4, 2) of a rotated rectangle; angle in radians, clockwise as y points down."""
    u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corners = [(cx, cy) + sx * w / 2 * u + sy * h / 2 * v for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return np.array(corners, np.float32)


def fill(img: np.ndarray, polygon: np.ndarray, color) -> None:
    """Paint the pixels whose centres lie within a polygon, to a sixteenth of a pixel."""
    cv2.fillPoly(img, [((polygon - 0.5) * 16).round().astype(np.int32)], color, shift=4)


def _write(root: Path, i: int, img: np.ndarray, rows: list) -> None:
    write_image(root / "images" / "train" / f"p{i}.png", img)
    label = root / "labels" / "train" / f"p{i}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("\n".join(" ".join(f"{v:.7g}" for v in row) for row in rows), encoding="utf-8")


def make_polygon_set(root: Path, n: int = 6, kind: str = "segment") -> Path:
    """Write images of two arrows each, or of two rotated rectangles (`obb`); return the folder of images."""
    for i in range(n):
        (h, w), rng = SIZES[i % 3], np.random.default_rng(i)
        img, rows = np.zeros((h, w, 3), np.uint8), []
        for j in range(2):
            cx, cy, angle = (j + 0.5) * w / 2, rng.uniform(0.35, 0.65) * h, rng.uniform(0, 6)
            r = rng.uniform(0.17, 0.22) * w
            shape = arrow(cx, cy, r, angle) if kind == "segment" else rectangle(cx, cy, 2 * r, 0.8 * r, angle)
            fill(img, shape, COLORS[(i + j) % 2])
            rows.append([(i + j) % 2, *(shape / (w, h)).clip(0, 1).ravel()])
        _write(root, i, img, rows)
    return root / "images" / "train"


def make_pose_set(root: Path, n: int = 6, ndim: int = 3) -> Path:
    """Write images of two dark boxes with three coloured dots each, some of which are not there."""
    for i in range(n):
        (h, w), rng = SIZES[i % 3], np.random.default_rng(i)
        img, rows = np.zeros((h, w, 3), np.uint8), []
        for j in range(2):
            x1, y1 = j * w / 2 + 12, rng.uniform(0.1, 0.25) * h
            size = np.array([w / 2 - 24, h * 0.55])
            places = np.array([[0.2, 0.3], [0.8, 0.25], [0.5, 0.8]]) + rng.uniform(-0.05, 0.05, (3, 2))
            points, there = np.array([x1, y1]) + places * size, rng.random(3) < 0.8
            cv2.rectangle(img, (int(x1), int(y1)), tuple(int(v) for v in (x1, y1) + size), (40, 40, 40), -1)
            for point, color, seen in zip(points, POINT_COLORS, there):
                if seen:
                    cv2.circle(img, [round(v * 16) for v in point - 0.5], 4 * 16, color, -1, shift=4)
            points = points / (w, h) * there[:, None]
            full = np.concatenate([points, 2.0 * there[:, None]], 1)[:, :ndim]
            rows.append([0, (x1 + size[0] / 2) / w, (y1 + size[1] / 2) / h, *(size / (w, h)), *full.ravel()])
        _write(root, i, img, rows)
    return root / "images" / "train"
