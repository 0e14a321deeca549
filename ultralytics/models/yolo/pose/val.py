"""Validation of pose estimators: how keypoints match labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from ultralytics.models.yolo.detect import DetectionValidator
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

    def overlaps(
        self, pred: torch.Tensor, found: torch.Tensor, boxes: torch.Tensor, si: int, batch: dict
    ) -> dict[str, torch.Tensor]:
        """Return the IoU of boxes and the object keypoint similarity."""
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1) * AREA
        oks = kpt_iou(self._true_points(si, batch), self._points(pred, si, batch), area, self.sigma)
        return {**super().overlaps(pred, found, boxes, si, batch), "tp_p": oks}

    def _true_points(self, si: int, batch: dict) -> torch.Tensor:
        """Return the keypoints (m, k, 3) of the objects of an image: x, y in pixels of the original, visibility."""
        h, w = batch["img"].shape[2:]
        points = batch["keypoints"][batch["batch_idx"] == si].float() * torch.tensor((w, h, 1), device=self.device)
        return scale_coords((h, w), points, batch["ori_shape"][si], ratio_pad=batch["ratio_pad"][si])

    def _points(self, pred: torch.Tensor, si: int, batch: dict) -> torch.Tensor:
        """Return the predicted keypoints (n, k, dimensions), in pixels of the original image."""
        shape, size, ratio_pad = batch["img"].shape[2:], batch["ori_shape"][si], batch["ratio_pad"][si]
        return keypoints_of(pred, self.kpt_shape, shape, size, ratio_pad)

    def parts(self, pred: torch.Tensor, found: torch.Tensor, si: int, batch: dict) -> dict[str, torch.Tensor]:
        return {**super().parts(pred, found, si, batch), "keypoints": self._points(pred, si, batch)}

    def json_columns(self, parts: dict[str, torch.Tensor]) -> dict[str, list]:
        return {"keypoints": [[round(v, 3) for v in row] for row in parts["keypoints"].flatten(1).tolist()]}

    def drawn_parts(self, preds: list[torch.Tensor], batch: dict) -> dict[str, torch.Tensor]:
        return {"kpts": torch.cat([pred[:, 6:].reshape(-1, *self.kpt_shape) for pred in preds])}
