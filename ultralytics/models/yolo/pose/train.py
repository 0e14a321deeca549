"""Training of pose estimators: what differs from detectors."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.pose.val import PoseValidator
from ultralytics.nn.tasks import PoseModel
from ultralytics.utils import RANK


class PoseTrainer(DetectionTrainer):
    """Trains a pose estimator: `PoseTrainer(overrides={"model": "yolo11n-pose.yaml", "data": DATA}).train()`."""

    task = "pose"
    validator_class = PoseValidator
    drawn = {"kpts": "keypoints"}
    loss_names = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")

    def get_model(
        self, cfg: str | Path | dict | None = None, weights: nn.Module | dict | None = None, verbose: bool = True
    ) -> PoseModel:
        """Return a model that finds as many keypoints as the data's `kpt_shape` says."""
        kpt_shape = self.data.get("kpt_shape") or (None, None)  # without it the data are refused when they are read
        model = PoseModel(cfg or "", nc=self.data["nc"], data_kpt_shape=kpt_shape, verbose=verbose and RANK in {-1, 0})
        if weights:
            model.names = self.data["names"]  # class outputs are taken by name
            model.load(weights)
        return model
