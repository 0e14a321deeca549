"""A detector of a few thousand parameters, a dataset for it, and settings with which training takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60)}  # class names of the tiny dataset, and their RGB
LAYERS = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, GhostConv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""
HEADS = {
    "detect": "Detect, [nc]",
    "segment": "Segment, [nc, 4, 8]",
    "pose": "Pose, [nc, [3, 2]]",
    "obb": "OBB, [nc, 1]",
    "classify": "Classify, [nc]",
}
FAST = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}


def tiny_model(folder: Path) -> str:
    """Write the YAML of the tiny detector into a folder and return its path."""
    file = Path(folder) / "tiny.yaml"
    file.write_text(LAYERS, encoding="utf-8")
    return str(file)


def tiny_of(task: str, folder: Path) -> Any:
    """Return the tiny model of a task, by a YAML that is written into a folder."""
    from ultralytics.cfg.tasks import TASKS, load
    from ultralytics.nn.tasks import yaml_model_load

    layers = LAYERS.replace("[2, 3, 4], 1", "[4], 1") if task == "classify" else LAYERS
    file = Path(folder) / f"{task}.yaml"
    file.write_text(layers.replace(HEADS["detect"], HEADS[task]), encoding="utf-8")
    return load(TASKS[task].model)(yaml_model_load(str(file)), verbose=False)


def write_tiny_data(folder: Path, train: int = 8, val: int = 4) -> Path:
    """Write images of 96 x 128 pixels with one or two coloured rectangles and their labels; return the data YAML.

    Every fourth image has no object, and an empty label file.
    """
    import cv2

    names = list(COLOURS)
    for part, count in (("train", train), ("val", val)):
        images, labels = folder / "images" / part, folder / "labels" / part
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for i in range(count):
            rng = np.random.default_rng([i, part == "val"])
            image = rng.integers(90, 130, (96, 128, 3), dtype=np.uint8)
            lines = []
            for _ in range(0 if i % 4 == 3 else 1 + i % 2):
                cls, w, h = int(rng.integers(2)), int(rng.integers(24, 56)), int(rng.integers(20, 48))
                x, y = int(rng.integers(128 - w)), int(rng.integers(96 - h))
                image[y : y + h, x : x + w] = COLOURS[names[cls]][::-1]  # OpenCV writes BGR
                lines.append(f"{cls} {(x + w / 2) / 128:.6f} {(y + h / 2) / 96:.6f} {w / 128:.6f} {h / 96:.6f}\n")
            cv2.imwrite(str(images / f"{part}_{i}.jpg"), image)
            (labels / f"{part}_{i}.txt").write_text("".join(lines), encoding="utf-8")
    data = folder / "data.yaml"
    data.write_text(
        yaml.safe_dump({"train": "images/train", "val": "images/val", "names": dict(enumerate(names))}),
        encoding="utf-8",
    )
    return data
