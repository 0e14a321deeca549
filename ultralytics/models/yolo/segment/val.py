"""Validation of segmenters: how masks match labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ultralytics.models.yolo.detect.val import DetectionValidator, ltwh
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

    def _prepare_batch(self, si: int, batch: dict) -> dict:
        """Return what a detector has, and `masks`: of each object, or with `overlap_mask` one map of their numbers."""
        own = [si] if self.args.overlap_mask else batch["batch_idx"] == si
        return {**super()._prepare_batch(si, batch), "masks": batch["masks"][own]}

    def _prepare_pred(  # type: ignore[override]  # as in 8.3.0
        self, pred: torch.Tensor, pbatch: dict, proto: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return predictions in pixels of the original image, and their masks (n, h, w) at the size of `proto`."""
        return super()._prepare_pred(pred, pbatch), masks_of(pred, proto, pbatch["imgsz"])

    def _comparisons(self, pred: torch.Tensor, pbatch: dict, si: int) -> tuple[torch.Tensor, dict[str, dict]]:
        predn, masks = self._prepare_pred(pred, pbatch, self.protos[si])
        both = {"pred_masks": masks, "gt_masks": pbatch["masks"]}
        return predn, {"tp": {}, "tp_m": {**both, "overlap": self.args.overlap_mask, "masks": True}}

    def _process_batch(
        self,
        detections: torch.Tensor,
        gt_bboxes: torch.Tensor,
        gt_cls: torch.Tensor,
        pred_masks: torch.Tensor | None = None,
        gt_masks: torch.Tensor | None = None,
        overlap: bool = False,
        masks: bool = False,
    ) -> torch.Tensor:
        """Return which predictions are right by their boxes, or with `masks` by their masks.

        Args:
            detections, gt_bboxes, gt_cls: as for a detector.
            pred_masks: (n, h, w) of the predictions.
            gt_masks: (m, h, w) of the objects, or with `overlap` (1, h, w) with the number of the object from 1 on.
            overlap, masks: what is given, and what is compared.
        """
        if not masks or pred_masks is None or gt_masks is None:
            return super()._process_batch(detections, gt_bboxes, gt_cls)
        if overlap:
            gt_masks = gt_masks == torch.arange(1, len(gt_cls) + 1, device=gt_masks.device)[:, None, None]
        gt_masks, shape = gt_masks.float(), pred_masks.shape[1:]
        if gt_masks.shape[1:] != shape:
            gt_masks = F.interpolate(gt_masks[None], shape, mode="bilinear", align_corners=False)[0].gt(0.5).float()
        iou = mask_iou(gt_masks.flatten(1), pred_masks.flatten(1))
        return self.match_predictions(detections[:, 5], gt_cls, iou)

    def _save(self, pred: torch.Tensor, predn: torch.Tensor, file: str, pbatch: dict, si: int) -> None:
        masks = self._original_masks(pred, pbatch, self.protos[si])
        if self.args.save_json:
            self.pred_to_json(predn, file, masks)
        if self.args.save_txt:
            own = torch.from_numpy(np.ascontiguousarray(masks.transpose(2, 0, 1)))
            self.save_one_txt(predn, own, self.args.save_conf, pbatch["ori_shape"], self._label_file(file))

    @staticmethod
    def _original_masks(pred: torch.Tensor, pbatch: dict, proto: torch.Tensor) -> np.ndarray:
        """Return the masks (h, w, n) uint8 of predictions on the original image."""
        size = pbatch["ori_shape"]
        if not len(pred):
            return np.zeros((*size, 0), np.uint8)
        masks = process_mask_upsample(proto, pred[:, 6:], pred[:, :4], pbatch["imgsz"]).byte()
        return scale_image(masks.permute(1, 2, 0).cpu().numpy(), size, ratio_pad=pbatch["ratio_pad"])

    def save_one_txt(  # type: ignore[override]  # as in 8.3.0
        self, predn: torch.Tensor, pred_masks: torch.Tensor, save_conf: bool, shape: tuple[int, int], file: Path
    ) -> None:
        """Write the outlines of masks (n, h, w) as a label file."""
        self._write_labels(file, save_conf, shape, boxes=predn[:, :6], masks=pred_masks)

    def pred_to_json(  # type: ignore[override]  # as in 8.3.0
        self, predn: torch.Tensor, filename: str, pred_masks: np.ndarray
    ) -> None:
        """Add the predictions of an image to `jdict`, with masks (h, w, n) on the original image."""
        outlines = [mask2rle(mask) for mask in np.ascontiguousarray(pred_masks.transpose(2, 0, 1))]
        self._add_rows(predn, filename, bbox=ltwh(predn), segmentation=outlines)

    def drawn_parts(self, preds: list[torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        shape = batch["img"].shape[2:]
        return {"masks": torch.cat([masks_of(p, protos, shape).byte() for p, protos in zip(preds, self.protos)])}
