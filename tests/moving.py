"""Moving boxes for the tests of trackers, their video, and a network that finds them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from torch import nn

SIZE = (240, 320)  # of the videos, height and width
COLOURS = ((0, 0, 255), (0, 255, 0), (255, 0, 0))  # BGR of the three objects, and so their classes in the model


def found(boxes: np.ndarray, conf: float | np.ndarray = 0.9, cls: float | np.ndarray = 0.0) -> SimpleNamespace:
    """Return xyxy boxes (n, 4) as detections of the form that a tracker takes."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    xywh = np.c_[(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]]
    full = np.ones(len(boxes))
    return SimpleNamespace(xywh=xywh, xyxy=boxes, conf=full * conf, cls=full * cls)


def crossing(t: int) -> np.ndarray:
    """Return the boxes (3, 4) of three objects whose ways cross, in frame t of 60."""
    centres = np.array([(40 + 4 * t, 60 + 2 * t), (280 - 4 * t, 60 + 2.2 * t), (160 + 0.5 * t, 215 - 3 * t)])
    sizes = np.array([(36, 50), (44, 36), (30, 30)])
    return np.c_[centres - sizes / 2, centres + sizes / 2]


def frame(boxes: np.ndarray, visible: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Draw boxes in the colours of their objects, the last on top."""
    image = np.full((*SIZE, 3), 110, np.uint8)
    for i in visible:
        x1, y1, x2, y2 = boxes[i].round().astype(int)
        cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), COLOURS[i], -1)
    return image


def write_video(file: Path, frames: list[np.ndarray]) -> Path:
    """Write frames as a Motion-JPEG file."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 30, SIZE[::-1])
    assert writer.isOpened()
    for each in frames:
        writer.write(each)
    writer.release()
    return file


class ColourFinder(nn.Module):
    """Gives one box around all pixels of each of the three colours, as a detection head does: (b, 4 + 3, 3)."""

    stride = torch.tensor([8.0, 16.0, 32.0])
    names = {0: "red", 1: "green", 2: "blue"}
    task = "detect"

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def fuse(self, verbose: bool = True):
        return self

    def is_fused(self) -> bool:
        return True

    def forward(self, x: torch.Tensor):
        out = torch.zeros(len(x), 7, 3)
        for i, image in enumerate(x):
            for k in range(3):
                others = [c for c in range(3) if c != k]
                ys, xs = torch.where((image[k] > 0.7) & (image[others].amax(0) < 0.35))
                if len(ys) > 20:
                    x1, x2, y1, y2 = xs.min(), xs.max() + 1, ys.min(), ys.max() + 1
                    out[i, :4, k] = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
                    out[i, 4 + k, k] = 0.9
        return out, []
