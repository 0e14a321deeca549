"""Models of this package."""

from ultralytics import modules_of
from ultralytics.models.yolo import YOLO

__all__ = ("YOLO",)

__getattr__ = modules_of(__name__)
