"""Training of detectors of rotated boxes: what differs from upright ones."""

from __future__ import annotations

from typing import Any

from ultralytics.models.yolo.detect.train import DetectionTrainer
from ultralytics.models.yolo.obb.val import OBBValidator
from ultralytics.nn.tasks import OBBModel
from ultralytics.utils import DEFAULT_CFG


class OBBTrainer(DetectionTrainer):
    """Trains a detector of rotated boxes, whose label files give the four corners of each object."""

    model_class, validator_class = OBBModel, OBBValidator

    def __init__(self, cfg: Any = DEFAULT_CFG, overrides: dict | None = None, _callbacks: dict | None = None):
        super().__init__(cfg, {**(overrides or {}), "task": "obb"}, _callbacks)
