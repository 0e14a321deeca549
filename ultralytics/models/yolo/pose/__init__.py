"""Pose estimation: boxes and keypoints."""

from ultralytics.models.yolo.pose.predict import PosePredictor
from ultralytics.models.yolo.pose.train import PoseTrainer
from ultralytics.models.yolo.pose.val import PoseValidator

__all__ = "PosePredictor", "PoseTrainer", "PoseValidator"
