"""A model that finds red squares, its predictor and its images."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor


class RedFinder(nn.Module):
    """Gives one box around all red pixels of each image, as a detection head does: (b, 4 + 2, 3) and raw maps."""

    stride = torch.tensor([8.0, 16.0, 32.0])
    names = {0: "fire", 1: "smoke"}
    task = "detect"

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.fused, self.inputs = False, []

    def fuse(self, verbose: bool = True):
        self.fused = True
        return self

    def is_fused(self) -> bool:
        return self.fused

    def forward(self, x: torch.Tensor):
        self.inputs.append(x)
        out = torch.zeros(len(x), 6, 3)
        for i, (r, g, b) in enumerate(x):
            ys, xs = torch.where((r > 0.7) & (g < 0.3) & (b < 0.3))
            if len(ys):
                x1, x2, y1, y2 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
                box = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
                out[i, :4, :2] = box[:, None]
                out[i, 4, 0], out[i, 5, 1] = 0.9, 0.3
        return out, []


def scene(h: int = 120, w: int = 160, box: tuple[int, int, int, int] | None = (40, 20, 100, 80)) -> np.ndarray:
    """Return a grey BGR image with a red rectangle."""
    im = np.full((h, w, 3), 90, np.uint8)
    if box:
        im[box[1] : box[3], box[0] : box[2]] = (0, 0, 255)
    return im


def make(tmp_path, **overrides) -> DetectionPredictor:
    base = {"imgsz": 160, "device": "cpu", "batch": 1, "save": False, "verbose": False}
    predictor = DetectionPredictor(overrides={**base, "project": str(tmp_path / "runs"), **overrides})
    predictor.setup_model(RedFinder(), verbose=False)
    return predictor


def assert_box(result: Results, box=(40, 20, 100, 80), tolerance: float = 1.6):
    np.testing.assert_allclose(result.boxes.xyxy[0], box, atol=tolerance)
