"""Validation of detectors of rotated boxes: what differs from upright ones."""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics.models.yolo.detect.val import DetectionValidator
from ultralytics.models.yolo.obb.predict import to_original, to_rows
from ultralytics.utils.metrics import OBBMetrics, batch_probiou
from ultralytics.utils.ops import scale_boxes, xywhr2xyxyxyxy


class OBBValidator(DetectionValidator):
    """Validates a detector of rotated boxes, which are matched by their probabilistic IoU."""

    task = "obb"
    rotated = True
    metrics_class = OBBMetrics

    def _prepare_batch(self, si: int, batch: dict) -> dict:
        """Return what a detector of upright boxes has, with `bbox` (m, 5) xywhr."""
        mine = batch["batch_idx"] == si
        h, w = batch["img"].shape[2:]
        shape, ratio_pad = batch["ori_shape"][si], batch["ratio_pad"][si]
        boxes = batch["bboxes"][mine] * torch.tensor((w, h, w, h, 1), device=self.device)
        return {
            "cls": batch["cls"][mine].squeeze(-1),
            "bbox": scale_boxes((h, w), boxes, shape, ratio_pad=ratio_pad, xywh=True),
            "ori_shape": shape,
            "imgsz": batch["img"].shape[2:],
            "ratio_pad": ratio_pad,
        }

    def _prepare_pred(self, pred: torch.Tensor, pbatch: dict) -> torch.Tensor:
        """Return predictions (n, 7), x, y, w, h, confidence, class, angle, in pixels of the original image."""
        return to_original(pred, pbatch["imgsz"], pbatch["ori_shape"], pbatch["ratio_pad"])

    def _process_batch(self, detections: torch.Tensor, gt_bboxes: torch.Tensor, gt_cls: torch.Tensor) -> torch.Tensor:
        iou = batch_probiou(gt_bboxes, to_rows(detections)[:, :5])
        return self.match_predictions(detections[:, 5], gt_cls, iou)

    def save_one_txt(self, predn: torch.Tensor, save_conf: bool, shape: tuple[int, int], file: Path) -> None:
        """Write the corners of the predictions of an image of `shape` (h, w) as a label file."""
        self._write_labels(file, save_conf, shape, obb=to_rows(predn))

    def pred_to_json(self, predn: torch.Tensor, filename: str) -> None:  # type: ignore[override]  # as in 8.3.0
        """Add the predictions of an image to `jdict`: `rbox`, x, y, w, h, angle, and `poly`, the four corners."""
        boxes = to_rows(predn)[:, :5].cpu()
        corners = xywhr2xyxyxyxy(boxes).flatten(1)
        rbox, poly = ([[round(x, 3) for x in row] for row in rows.tolist()] for rows in (boxes, corners))
        self._add_rows(predn, filename, rbox=rbox, poly=poly)

    def plot_predictions(self, batch: dict, preds: list[torch.Tensor], ni: int) -> None:
        from ultralytics.utils.plotting import output_to_rotated_target

        index, cls, boxes, conf = output_to_rotated_target(preds, max_det=self.args.max_det)
        self._plot(batch, index, cls, boxes, conf, f"val_batch{ni}_pred.jpg")
