"""YOLO and its tasks."""

from ultralytics import modules_of
from ultralytics.models.yolo.model import YOLO

__all__ = ("YOLO",)

__getattr__ = modules_of(__name__)
