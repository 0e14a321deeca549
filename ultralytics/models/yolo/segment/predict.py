"""Prediction of boxes and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.utils.geometry.masks import process_mask, process_mask_native


def prototypes(preds: Any) -> torch.Tensor:
    """Return the prototypes (b, k, h, w) in a segmenter's output; those of exported models come by themselves."""
    return preds[1][-1] if isinstance(preds[1], (list, tuple)) else preds[1]


def masks_of(pred: torch.Tensor, protos: torch.Tensor, shape: Sequence[int], upsample: bool = False) -> torch.Tensor:
    """Return the masks (n, h, w), 0.0 or 1.0, of the predictions of one image.

    Args:
        pred: (n, 6 + k) boxes xyxy in pixels of the model's input, confidence, class, coefficients.
        protos: (k, mask h, mask w).
        shape: (h, w) of the model's input.
        upsample: give masks of this size; else they have that of the prototypes.
    """
    return process_mask(protos, pred[:, 6:], pred[:, :4], shape, upsample)


class SegmentationPredictor(DetectionPredictor):
    """Predicts boxes and masks: `SegmentationPredictor(overrides={"model": "best.pt"})(source)` returns Results."""

    task = "segment"

    def by_image(self, preds: Any, n: int) -> Sequence[Sequence]:
        return (prototypes(preds),)

    def parts(
        self, pred: torch.Tensor, size: tuple[int, int], protos: torch.Tensor, shape: tuple[int, int]
    ) -> dict[str, Any]:
        """Return boxes, and masks on the model's input, or with `retina_masks` on the image; None where is none."""
        parts = super().parts(pred, size, shape)
        if not len(pred):
            masks = None
        elif self.args.retina_masks:
            masks = process_mask_native(protos, pred[:, 6:], parts["boxes"][:, :4], size)
        else:
            masks = masks_of(pred, protos, shape, upsample=True)
        return {**parts, "masks": masks}
