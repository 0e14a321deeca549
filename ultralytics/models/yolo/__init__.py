"""YOLO and what its tasks differ in."""

from ultralytics.models.yolo.model import YOLO

__all__ = ("YOLO",)
