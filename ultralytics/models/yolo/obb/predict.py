"""Prediction of rotated boxes: what differs from upright ones."""

from __future__ import annotations

import torch

from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.utils.geometry.rboxes import regularize_rboxes
from ultralytics.utils.ops import scale_boxes


def to_original(
    pred: torch.Tensor, shape: tuple[int, ...], orig_shape: tuple[int, ...], ratio_pad: tuple | None = None
) -> torch.Tensor:
    """Map rotated boxes from the model's input onto the original image.

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

    task = "obb"
    rotated = True

    def parts(
        self, pred: torch.Tensor, size: tuple[int, int], shape: tuple[int, int], *more: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        return {"obb": to_rows(to_original(pred, shape, size))}
