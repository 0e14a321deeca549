"""Validation of detectors of rotated boxes: what differs from upright ones."""

from __future__ import annotations

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

    def _labels(self, si: int, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return classes (m,) and boxes (m, 5) xywhr in pixels of the original image."""
        mine = batch["batch_idx"] == si
        h, w = batch["img"].shape[2:]
        boxes = batch["bboxes"][mine] * torch.tensor((w, h, w, h, 1), device=self.device)
        boxes = scale_boxes((h, w), boxes, batch["ori_shape"][si], ratio_pad=batch["ratio_pad"][si], xywh=True)
        return batch["cls"][mine].squeeze(-1), boxes

    def _to_original(self, pred: torch.Tensor, si: int, batch: dict) -> torch.Tensor:
        return to_original(pred, batch["img"].shape[2:], batch["ori_shape"][si], batch["ratio_pad"][si])

    def overlaps(
        self, pred: torch.Tensor, found: torch.Tensor, boxes: torch.Tensor, si: int, batch: dict
    ) -> dict[str, torch.Tensor]:
        return {"tp": batch_probiou(boxes, to_rows(found)[:, :5])}

    def json_places(self, pred: torch.Tensor) -> list[dict[str, list[float]]]:
        """Return `rbox`, x, y, w, h, angle, and `poly`, the four corners, of each prediction."""
        boxes = to_rows(pred)[:, :5].cpu()
        corners = xywhr2xyxyxyxy(boxes).flatten(1).tolist()
        return [
            {"rbox": [round(x, 3) for x in box], "poly": [round(x, 3) for x in poly]}
            for box, poly in zip(boxes.tolist(), corners)
        ]

    def parts(self, pred: torch.Tensor, found: torch.Tensor, si: int, batch: dict) -> dict[str, torch.Tensor]:
        return {"obb": to_rows(found)}

    def plot_predictions(self, batch: dict, preds: list[torch.Tensor], ni: int) -> None:
        from ultralytics.utils.plotting import output_to_rotated_target

        index, cls, boxes, conf = output_to_rotated_target(preds, max_det=self.args.max_det)
        self._plot(batch, index, cls, boxes, conf, f"val_batch{ni}_pred.jpg")
