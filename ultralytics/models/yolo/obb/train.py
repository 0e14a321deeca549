"""Training of detectors of rotated boxes: what differs from upright ones."""

from __future__ import annotations

from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.obb.val import OBBValidator
from ultralytics.nn.tasks import OBBModel


class OBBTrainer(DetectionTrainer):
    """Trains a detector of rotated boxes, whose label files give the four corners of each object."""

    task = "obb"
    model_class, validator_class = OBBModel, OBBValidator
