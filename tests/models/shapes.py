"""Small data sets of painted triangles, whose outlines and corners are known exactly, and tiny models for them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import yaml

COLORS = ((220, 40, 40), (40, 200, 60))  # of the classes, RGB
CORNERS = ((255, 255, 255), (30, 30, 255), (255, 230, 0))  # of the keypoints, RGB
BACKBONE = """nc: 2
{more}
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[2, 3, 4], 1, {head}]
"""
FAST = {"imgsz": 96, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False, "project": "runs"}
PLAIN = {"mosaic": 0.0, "fliplr": 0.0, "scale": 0.0, "translate": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}


def write_model(folder: Path, head: str, more: str = "") -> str:
    """Write the YAML of a model of a few thousand parameters and return its path."""
    file = Path(folder) / f"tiny-{head.split(',')[0].lower()}.yaml"
    file.write_text(BACKBONE.format(head=head, more=more), encoding="utf-8")
    return str(file)


def triangle(rng: np.random.Generator, w: int, h: int) -> np.ndarray:
    """Return the corners (3, 2) of a triangle in an image, in pixels, by angle from the top."""
    r = rng.uniform(16, 22)
    cx, cy = rng.uniform(r + 2, w - r - 2), rng.uniform(r + 2, h - r - 2)
    turns = rng.uniform(-0.3, 0.3) - np.pi / 2 + np.arange(3) * 2 * np.pi / 3
    return np.stack([cx + r * np.cos(turns), cy + r * np.sin(turns)], 1)


def _write(folder: Path, pose: bool, part: str, i: int) -> None:
    """Write one image and its labels: one or two triangles side by side, every fifth image without one."""
    h, w = ((96, 128), (128, 96), (64, 80))[i % 3] if part == "val" else (96, 128)
    rng = np.random.default_rng([i, part == "val"])
    image, rows = rng.integers(90, 130, (h, w, 3), dtype=np.uint8), []
    count = 0 if i % 5 == 4 else 1 + (i % 2 and w >= 128)
    for j in range(count):
        cls, points = int(rng.integers(2)), triangle(rng, w // count, h) + (j * w / count, 0)
        cv2.fillPoly(image, [(points * 16).round().astype(np.int32)], COLORS[cls][::-1], shift=4)
        if pose:
            for point, color in zip(points, CORNERS):
                cv2.circle(image, (point * 16).round().astype(int).tolist(), 4 * 16, color[::-1], -1, shift=4)
        low, high, size = points.min(0), points.max(0), np.array((w, h))
        box = [*((low + high) / 2 / size), *((high - low) / size)]
        keypoints = np.concatenate([points / size, np.full((3, 1), 2)], 1)
        rows.append([cls, *box, *keypoints.ravel()] if pose else [cls, *(points / size).ravel()])
    cv2.imwrite(str(folder / "images" / part / f"{i}.png"), image)
    label = folder / "labels" / part / f"{i}.txt"
    label.write_text("".join(" ".join(f"{v:.7g}" for v in row) + "\n" for row in rows), encoding="utf-8")


def write_data(folder: Path, pose: bool = False, train: int = 8, val: int = 5, same: bool = False) -> Path:
    """Write images of 96 x 128 pixels with triangles; return the data YAML.

    Args:
        pose: label boxes and corners; else outlines.
        train, val: numbers of images.
        same: validate on the training images.
    """
    for part, count in (("train", train), ("val", val)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            _write(folder, pose, part, i)
    content = {"train": "images/train", "val": "images/train" if same else "images/val", "names": ["red", "green"]}
    content |= {"kpt_shape": [3, 3], "flip_idx": [0, 2, 1]} if pose else {}
    (folder / "data.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "data.yaml"
