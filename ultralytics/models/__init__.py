"""Models of this package."""

from ultralytics.models.yolo import YOLO

__all__ = ("YOLO",)
