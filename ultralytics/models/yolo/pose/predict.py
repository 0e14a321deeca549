"""Prediction of boxes and keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.utils.ops import scale_coords


def keypoints_of(
    pred: torch.Tensor,
    kpt_shape: Sequence[int],
    shape: tuple[int, ...],
    size: tuple[int, ...],
    ratio_pad: tuple | None = None,
) -> torch.Tensor:
    """Return the keypoints (n, k, 2 or 3) of the predictions of one image, in pixels of the image.

    Args:
        pred: (n, 6 + k * dimensions) box, confidence, class, keypoints in pixels of the model's input.
        kpt_shape: k and dimensions.
        shape: (h, w) of the model's input.
        size: (h, w) of the image.
        ratio_pad: how the image was letterboxed, see `scale_boxes`; None: it follows from the shapes.
    """
    points = pred[:, 6:].reshape(-1, *kpt_shape).clone()
    return scale_coords(shape, points, size, ratio_pad=ratio_pad)


class PosePredictor(DetectionPredictor):
    """Predicts boxes and keypoints: `PosePredictor(overrides={"model": "best.pt"})(source)` returns Results."""

    task = "pose"

    def parts(
        self, pred: torch.Tensor, size: tuple[int, int], shape: tuple[int, int], *more: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        keypoints = keypoints_of(pred, cast(Sequence[int], self.model.kpt_shape), shape, size)
        return {**super().parts(pred, size, shape), "keypoints": keypoints}
