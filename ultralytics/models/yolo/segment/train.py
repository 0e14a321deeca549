"""Training of segmenters: what differs from detectors."""

from __future__ import annotations

from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.segment.val import SegmentationValidator
from ultralytics.nn.tasks import SegmentationModel


class SegmentationTrainer(DetectionTrainer):
    """Trains a segmenter: `SegmentationTrainer(overrides={"model": "yolo11n-seg.yaml", "data": DATA}).train()`."""

    task = "segment"
    model_class = SegmentationModel
    validator_class = SegmentationValidator
    drawn = {"masks": "masks"}
    loss_names = ("box_loss", "seg_loss", "cls_loss", "dfl_loss")
