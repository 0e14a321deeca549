"""Validation of segmenters: how masks match labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.segment.predict import masks_of, prototypes
from ultralytics.nn.autobackend import Output
from ultralytics.utils.geometry.masks import mask2rle, process_mask_upsample, scale_image
from ultralytics.utils.metrics import SegmentMetrics, mask_iou


class SegmentationValidator(DetectionValidator):
    """Validates a segmenter: the metrics of a detector for its boxes, and the same for its masks."""

    task = "segment"
    metrics_class = SegmentMetrics
    stat_names = ("tp", "tp_m", "conf", "pred_cls", "target_cls")
    most_drawn = 50
    drawn = {"masks": "masks"}

    def postprocess(self, preds: Output) -> list[torch.Tensor]:
        """Return rows (n, 6 + k) with the coefficients of masks, and keep the prototypes of the batch."""
        self.protos = prototypes(preds)
        return super().postprocess(preds)

    def overlaps(
        self, pred: torch.Tensor, found: torch.Tensor, boxes: torch.Tensor, si: int, batch: dict
    ) -> dict[str, torch.Tensor]:
        """Return the IoU of boxes and of masks; masks are compared at the size of the prototypes."""
        true = self._true_masks(si, batch, self.protos.shape[2:])
        masks = masks_of(pred, self.protos[si], batch["img"].shape[2:])
        iou = mask_iou(true.flatten(1), masks.flatten(1))
        return {**super().overlaps(pred, found, boxes, si, batch), "tp_m": iou}

    def _true_masks(self, si: int, batch: dict, shape: torch.Size) -> torch.Tensor:
        """Return the masks (m, h, w) of the objects of an image, 0.0 or 1.0."""
        mine = batch["batch_idx"] == si
        if self.args.overlap_mask:
            places = torch.arange(1, int(mine.sum()) + 1, device=self.device)
            masks = (batch["masks"][si] == places[:, None, None]).float()
        else:
            masks = batch["masks"][mine].float()
        if len(masks) and masks.shape[1:] != shape:
            masks = F.interpolate(masks[None], shape, mode="bilinear", align_corners=False)[0].gt(0.5).float()
        return masks

    def parts(self, pred: torch.Tensor, found: torch.Tensor, si: int, batch: dict) -> dict[str, torch.Tensor]:
        """Return boxes, and masks (n, h, w) on the original image."""
        shape, size = batch["img"].shape[2:], batch["ori_shape"][si]
        boxes = super().parts(pred, found, si, batch)
        if not len(pred):
            return {**boxes, "masks": pred.new_zeros((0, *size), dtype=torch.uint8)}
        masks = process_mask_upsample(self.protos[si], pred[:, 6:], pred[:, :4], shape).byte()
        scaled = scale_image(masks.permute(1, 2, 0).cpu().numpy(), size, ratio_pad=batch["ratio_pad"][si])
        return {**boxes, "masks": torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))}

    def json_columns(self, parts: dict[str, torch.Tensor]) -> dict[str, list]:
        return {"segmentation": [mask2rle(mask) for mask in parts["masks"].numpy()]}

    def drawn_parts(self, preds: list[torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        shape = batch["img"].shape[2:]
        return {"masks": torch.cat([masks_of(p, protos, shape).byte() for p, protos in zip(preds, self.protos)])}
