"""One row for each task and the names of the modes: plain data that names the classes above by dotted strings."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

MODES = ("train", "val", "predict", "export", "track", "benchmark")
DISTIL = "ultralytics.lab.distill:distil"  # what the setting `teacher` calls, as a dotted string: it stands above


@dataclass(frozen=True)
class Task:
    """The parts of a task; `model` to `predictor` are dotted strings that `load` turns into classes."""

    name: str
    heads: tuple[str, ...]  # class names of the last layer by which a model's task is known
    model: str
    trainer: str
    validator: str
    predictor: str
    data: str  # data YAML used when none is named
    weights: str  # weight file used when no model is named
    metric: str  # the key of the results by which models are ranked


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="detect",
            heads=("Detect", "GhostDetect", "v10Detect"),
            model="ultralytics.nn.tasks:DetectionModel",
            trainer="ultralytics.models.yolo.detect:DetectionTrainer",
            validator="ultralytics.models.yolo.detect:DetectionValidator",
            predictor="ultralytics.models.yolo.detect:DetectionPredictor",
            data="coco8.yaml",
            weights="yolo11n.pt",
            metric="metrics/mAP50-95(B)",
        ),
        Task(
            name="segment",
            heads=("Segment", "GhostSegment"),
            model="ultralytics.nn.tasks:SegmentationModel",
            trainer="ultralytics.models.yolo.segment:SegmentationTrainer",
            validator="ultralytics.models.yolo.segment:SegmentationValidator",
            predictor="ultralytics.models.yolo.segment:SegmentationPredictor",
            data="coco8-seg.yaml",
            weights="yolo11n-seg.pt",
            metric="metrics/mAP50-95(M)",
        ),
        Task(
            name="pose",
            heads=("Pose", "GhostPose"),
            model="ultralytics.nn.tasks:PoseModel",
            trainer="ultralytics.models.yolo.pose:PoseTrainer",
            validator="ultralytics.models.yolo.pose:PoseValidator",
            predictor="ultralytics.models.yolo.pose:PosePredictor",
            data="coco8-pose.yaml",
            weights="yolo11n-pose.pt",
            metric="metrics/mAP50-95(P)",
        ),
        Task(
            name="obb",
            heads=("OBB", "GhostOBB"),
            model="ultralytics.nn.tasks:OBBModel",
            trainer="ultralytics.models.yolo.obb:OBBTrainer",
            validator="ultralytics.models.yolo.obb:OBBValidator",
            predictor="ultralytics.models.yolo.obb:OBBPredictor",
            data="dota8.yaml",
            weights="yolo11n-obb.pt",
            metric="metrics/mAP50-95(B)",
        ),
        Task(
            name="classify",
            heads=("Classify", "Classifier"),
            model="ultralytics.nn.tasks:ClassificationModel",
            trainer="ultralytics.models.yolo.classify:ClassificationTrainer",
            validator="ultralytics.models.yolo.classify:ClassificationValidator",
            predictor="ultralytics.models.yolo.classify:ClassificationPredictor",
            data="imagenet10",
            weights="yolo11n-cls.pt",
            metric="metrics/accuracy_top1",
        ),
    )
}


def load(dotted: str) -> Any:
    """Import the object that `package.module:name` names."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)
