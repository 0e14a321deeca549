"""The losses under their names of 8.3.0; each task has a file in `utils/losses`.

A name that a script replaces here, such as `ultralytics.utils.loss.bbox_iou = mine`, is replaced in those files too.
"""

import sys
from types import ModuleType

from ultralytics.utils.losses import classify, detect, end2end, obb, pose, segment
from ultralytics.utils.losses.boxes import BOX_LOSSES, register_box_loss
from ultralytics.utils.losses.classes import FocalLoss, VarifocalLoss
from ultralytics.utils.losses.classify import v8ClassificationLoss
from ultralytics.utils.losses.detect import BboxLoss, DFLoss, per_process, v8DetectionLoss
from ultralytics.utils.losses.end2end import E2EDetectLoss
from ultralytics.utils.losses.obb import RotatedBboxLoss, v8OBBLoss
from ultralytics.utils.losses.pose import KeypointLoss, v8PoseLoss
from ultralytics.utils.losses.segment import v8SegmentationLoss
from ultralytics.utils.metrics import OKS_SIGMA, bbox_iou, probiou
from ultralytics.utils.ops import crop_mask, xywh2xyxy, xyxy2xywh
from ultralytics.utils.tal import (
    RotatedTaskAlignedAssigner,
    TaskAlignedAssigner,
    bbox2dist,
    dist2bbox,
    dist2rbox,
    make_anchors,
)

__all__ = (
    "BOX_LOSSES",
    "OKS_SIGMA",
    "BboxLoss",
    "DFLoss",
    "E2EDetectLoss",
    "FocalLoss",
    "KeypointLoss",
    "RotatedBboxLoss",
    "RotatedTaskAlignedAssigner",
    "TaskAlignedAssigner",
    "VarifocalLoss",
    "bbox2dist",
    "bbox_iou",
    "crop_mask",
    "dist2bbox",
    "dist2rbox",
    "make_anchors",
    "per_process",
    "probiou",
    "register_box_loss",
    "v8ClassificationLoss",
    "v8DetectionLoss",
    "v8OBBLoss",
    "v8PoseLoss",
    "v8SegmentationLoss",
    "xywh2xyxy",
    "xyxy2xywh",
)


class _Losses(ModuleType):
    """This module: setting one of its names also sets it in the files that use it, as when all were one file."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        for module in (classify, detect, end2end, obb, pose, segment):
            if name in vars(module):
                setattr(module, name, value)


sys.modules[__name__].__class__ = _Losses
