"""Prediction of boxes and masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ultralytics.models.yolo.detect import DetectionPredictor
from ultralytics.nn.autobackend import Output
from ultralytics.utils.geometry.masks import process_mask, process_mask_native
from ultralytics.utils.ops import scale_boxes


def prototypes(preds: Output) -> torch.Tensor:
    """Return the prototypes (b, k, h, w) in a segmenter's output; in an exported model's they are separate."""
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

    def by_image(self, preds: Output, n: int) -> Sequence[Iterable[torch.Tensor]]:
        return (prototypes(preds),)

    def parts(
        self, pred: torch.Tensor, size: tuple[int, int], shape: tuple[int, int], *more: torch.Tensor
    ) -> dict[str, torch.Tensor | None]:
        """Return boxes, and masks on the model's input, or on the image with `retina_masks`; None if there are none."""
        boxes, (protos,) = scale_boxes(shape, pred[:, :6], size), more
        if not len(pred):
            masks = None
        elif self.args.retina_masks:
            masks = process_mask_native(protos, pred[:, 6:], boxes[:, :4], size)
        else:
            masks = masks_of(pred, protos, shape, upsample=True)
        return {"boxes": boxes, "masks": masks}
