"""Prediction of rotated boxes: what differs from upright ones."""

from __future__ import annotations

import numpy as np
import torch

from ultralytics.engine.results import Results
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.utils.ops import scale_boxes
from ultralytics.utils.rboxes import regularize_rboxes


def to_original(
    pred: torch.Tensor, shape: tuple[int, ...], orig_shape: tuple[int, ...], ratio_pad: tuple | None = None
) -> torch.Tensor:
    """Map rotated boxes from the model's input onto the original picture.

    Args:
        pred: (n, 7) x, y, w, h, confidence, class, angle, in pixels of the input.
        shape: (h, w) of the input.
        orig_shape: (h, w) of the original.
        ratio_pad: gain and border of the letterbox, if known.

    Returns:
        (n, 7) of the same layout in pixels of the original, the width the longer side and the angle in [0, pi).
    """
    boxes = regularize_rboxes(torch.cat((pred[:, :4], pred[:, -1:]), 1))
    boxes = scale_boxes(shape, boxes, orig_shape, ratio_pad=ratio_pad, xywh=True)
    return torch.cat((boxes[:, :4], pred[:, 4:6], boxes[:, 4:]), 1)


def to_rows(pred: torch.Tensor) -> torch.Tensor:
    """Return predictions (n, 7), the angle last, as `Results` take them: x, y, w, h, angle, confidence, class."""
    return torch.cat((pred[:, :4], pred[:, -1:], pred[:, 4:6]), 1)


class OBBPredictor(DetectionPredictor):
    """Predicts rotated boxes: `OBBPredictor(overrides={"model": "best.pt"})(source)` returns Results with `obb`."""

    rotated = True

    def update_args(self, overrides: dict | None = None) -> None:
        super().update_args({**(overrides or {}), "task": "obb"})

    def construct_result(self, pred: torch.Tensor, orig_img: np.ndarray, path: str, shape: tuple[int, int]) -> Results:
        """Return the Results of one picture from its boxes (n, 7) on the model's input of `shape` (h, w)."""
        rows = to_rows(to_original(pred, shape, orig_img.shape))
        with torch.inference_mode(False):  # a copy that the user may change
            return Results(orig_img, path=path, names=self.model.names, obb=rows.clone())
