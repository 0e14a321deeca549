"""Small data sets made for the tests: white rectangles on black, so that boxes can be checked against pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ultralytics.cfg import get_cfg


def settings(task="detect", **overrides):
    """Return the default settings with some changed; the data know each task, also where no model has it yet."""
    cfg = get_cfg(overrides={"imgsz": 128, **overrides})
    cfg.task = task
    return cfg


def scene(h: int, w: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a black image with up to n separate white rectangles, and their boxes (n, 4) xyxy in pixels."""
    rng, img, boxes = np.random.default_rng(seed), np.zeros((h, w, 3), np.uint8), []
    for i in range(n):  # one in each vertical strip, with black between
        low, high = i * w // n + 4, (i + 1) * w // n - 4
        x1, x2 = low + int(rng.integers(0, 5)), high - int(rng.integers(0, 5))
        y1 = int(rng.integers(4, h // 3))
        y2 = int(rng.integers(h // 2, h - 4))
        img[y1:y2, x1:x2] = 255
        boxes.append((x1, y1, x2, y2))
    return img, np.array(boxes, np.float32).reshape(-1, 4)


def write_image(path: Path, img: np.ndarray) -> None:
    """Write an image, whatever its path is made of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, img)[1].tofile(str(path))


def write_labels(path: Path, boxes: np.ndarray, shape: tuple[int, int], classes=None) -> None:
    """Write boxes (n, 4) xyxy in pixels as a label file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    h, w = shape
    rows = [
        f"{0 if classes is None else classes[i]} {(x1 + x2) / 2 / w:.6f} {(y1 + y2) / 2 / h:.6f} "
        f"{(x2 - x1) / w:.6f} {(y2 - y1) / h:.6f}"
        for i, (x1, y1, x2, y2) in enumerate(boxes)
    ]
    path.write_text("\n".join(rows), encoding="utf-8")


def make_set(root: Path, n: int = 6, sizes=((96, 128), (128, 96), (100, 100)), objects: int = 2) -> Path:
    """Write n images with labels under root/images/train and root/labels/train; return the folder of images."""
    for i in range(n):
        h, w = sizes[i % len(sizes)]
        img, boxes = scene(h, w, objects, seed=i)
        write_image(root / "images" / "train" / f"p{i}.png", img)
        write_labels(root / "labels" / "train" / f"p{i}.txt", boxes, (h, w), [j % 2 for j in range(objects)])
    return root / "images" / "train"
