"""The losses under their names of 8.3.0; each task has a file in `utils/losses`."""

from ultralytics.utils.losses.classify import v8ClassificationLoss
from ultralytics.utils.losses.detect import BboxLoss, DFLoss, per_process, v8DetectionLoss
from ultralytics.utils.losses.end2end import E2EDetectLoss
from ultralytics.utils.losses.obb import RotatedBboxLoss, v8OBBLoss
from ultralytics.utils.losses.pose import KeypointLoss, v8PoseLoss
from ultralytics.utils.losses.segment import v8SegmentationLoss

__all__ = (
    "BboxLoss",
    "DFLoss",
    "E2EDetectLoss",
    "KeypointLoss",
    "RotatedBboxLoss",
    "per_process",
    "v8ClassificationLoss",
    "v8DetectionLoss",
    "v8OBBLoss",
    "v8PoseLoss",
    "v8SegmentationLoss",
)
