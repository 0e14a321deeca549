"""Prediction of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ultralytics.engine.predictor import BasePredictor
from ultralytics.engine.results import Results
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.ops import scale_boxes


def to_pictures(batch: torch.Tensor) -> list[np.ndarray]:
    """Return a batch (b, 3, h, w) RGB in 0..1 as (h, w, 3) uint8 BGR pictures."""
    bgr = (batch.detach().float() * 255).clamp_(0, 255).to(torch.uint8).flip(1).permute(0, 2, 3, 1).cpu()
    return [np.ascontiguousarray(x) for x in bgr.numpy()]


class DetectionPredictor(BasePredictor):
    """Predicts boxes: `DetectionPredictor(overrides={"model": "best.pt"})(source)` returns a list of Results."""

    rotated = False  # whether the model's last output is the angle of its boxes

    def postprocess(self, preds: Any, img: torch.Tensor, orig_imgs: torch.Tensor | list[np.ndarray]) -> list[Results]:
        """Suppress overlapping boxes and map the rest onto the original pictures."""
        rows = non_max_suppression(
            preds,
            self.args.conf,
            self.args.iou,
            classes=[self.args.classes] if isinstance(self.args.classes, int) else self.args.classes,
            agnostic=self.args.agnostic_nms,
            max_det=self.args.max_det,
            rotated=self.rotated,
        )
        pictures = to_pictures(orig_imgs) if isinstance(orig_imgs, torch.Tensor) else orig_imgs
        return [self.construct_result(*each, img.shape[2:]) for each in zip(rows, pictures, self.batch[0])]

    def construct_result(self, pred: torch.Tensor, orig_img: np.ndarray, path: str, shape: tuple[int, int]) -> Results:
        """Return the Results of one picture from its boxes (n, 6) on the model's input of `shape` (h, w)."""
        boxes = torch.cat((scale_boxes(shape, pred[:, :4], orig_img.shape), pred[:, 4:6]), 1)
        with torch.inference_mode(False):  # a copy that the user may change
            return Results(orig_img, path=path, names=self.model.names, boxes=boxes.clone())
