"""Validation of pose estimators: how keypoints match labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ultralytics.models.yolo.detect.val import DetectionValidator, ltwh
from ultralytics.models.yolo.pose.predict import keypoints_of
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.errors import DataError
from ultralytics.utils.metrics import OKS_SIGMA, PoseMetrics, kpt_iou
from ultralytics.utils.ops import scale_coords

AREA = 0.53  # share of a box that its object covers, on average, as COCO's tools for keypoints assume


class PoseValidator(DetectionValidator):
    """Validates a pose estimator: the metrics of a detector for its boxes, and the same for its keypoints."""

    task = "pose"
    metrics_class = PoseMetrics
    stat_names = ("tp", "tp_p", "conf", "pred_cls", "target_cls")
    drawn = {"kpts": "keypoints"}

    def init_metrics(self, model: AutoBackend | BaseModel) -> None:
        super().init_metrics(model)
        self.kpt_shape = tuple(cast(Sequence[int], model.kpt_shape))
        k, labelled = self.kpt_shape[0], (self.data.get("kpt_shape") or self.kpt_shape)[0]
        if labelled != k:
            raise DataError(
                f"The objects of '{self.args.data}' have {labelled} keypoints, but the model finds {k}. "
                "Validate with the dataset that the model was trained for, or train a model for this one."
            )
        self.sigma = OKS_SIGMA if self.kpt_shape == (17, 3) else np.full(k, 1 / k, np.float32)

    def _prepare_batch(self, si: int, batch: dict) -> dict:
        """Return what a detector has, and `kpts` (m, k, 3): x, y in pixels of the original image, visibility."""
        h, w = batch["img"].shape[2:]
        points = batch["keypoints"][batch["batch_idx"] == si].float() * torch.tensor((w, h, 1), device=self.device)
        points = scale_coords((h, w), points, batch["ori_shape"][si], ratio_pad=batch["ratio_pad"][si])
        return {**super()._prepare_batch(si, batch), "kpts": points}

    def _prepare_pred(  # type: ignore[override]  # as in 8.3.0
        self, pred: torch.Tensor, pbatch: dict
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return predictions and their keypoints (n, k, dimensions), both in pixels of the original image."""
        predn = super()._prepare_pred(pred, pbatch)
        points = keypoints_of(pred, self.kpt_shape, pbatch["imgsz"], pbatch["ori_shape"], pbatch["ratio_pad"])
        predn[:, 6:] = points.flatten(1)
        return predn, points

    def _comparisons(self, pred: torch.Tensor, pbatch: dict, si: int) -> tuple[torch.Tensor, dict[str, dict]]:
        predn, points = self._prepare_pred(pred, pbatch)
        return predn, {"tp": {}, "tp_p": {"pred_kpts": points, "gt_kpts": pbatch["kpts"]}}

    def _process_batch(
        self,
        detections: torch.Tensor,
        gt_bboxes: torch.Tensor,
        gt_cls: torch.Tensor,
        pred_kpts: torch.Tensor | None = None,
        gt_kpts: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return which predictions are right by their boxes or, if they are given, by their keypoints.

        Args:
            detections, gt_bboxes, gt_cls: as for a detector.
            pred_kpts: (n, k, dimensions) of the predictions.
            gt_kpts: (m, k, 3) of the objects.
        """
        if pred_kpts is None or gt_kpts is None:
            return super()._process_batch(detections, gt_bboxes, gt_cls)
        area = (gt_bboxes[:, 2:] - gt_bboxes[:, :2]).prod(1) * AREA
        return self.match_predictions(detections[:, 5], gt_cls, kpt_iou(gt_kpts, pred_kpts, area, self.sigma))

    def _save(self, pred: torch.Tensor, predn: torch.Tensor, file: str, pbatch: dict, si: int) -> None:
        if self.args.save_json:
            self.pred_to_json(predn, file)
        if self.args.save_txt:
            points, shape = predn[:, 6:].reshape(-1, *self.kpt_shape), pbatch["ori_shape"]
            self.save_one_txt(predn, points, self.args.save_conf, shape, self._label_file(file))

    def save_one_txt(  # type: ignore[override]  # as in 8.3.0
        self, predn: torch.Tensor, pred_kpts: torch.Tensor, save_conf: bool, shape: tuple[int, int], file: Path
    ) -> None:
        """Write boxes and keypoints (n, k, dimensions) as a label file."""
        self._write_labels(file, save_conf, shape, boxes=predn[:, :6], keypoints=pred_kpts)

    def pred_to_json(self, predn: torch.Tensor, filename: str) -> None:  # type: ignore[override]  # as in 8.3.0
        """Add the predictions of an image to `jdict`, with their keypoints, the last columns of `predn`."""
        points = [[round(v, 3) for v in row] for row in predn[:, 6:].tolist()]
        self._add_rows(predn, filename, bbox=ltwh(predn), keypoints=points)

    def drawn_parts(self, preds: list[torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        return {"kpts": torch.cat([pred[:, 6:].reshape(-1, *self.kpt_shape) for pred in preds])}
