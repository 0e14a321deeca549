"""YOLO, the class that scripts use."""

from __future__ import annotations

from ultralytics.engine.model import Model


class YOLO(Model):
    """A YOLO model of any task: `YOLO("yolo11n-GhostConv.yaml").train(data="fire.yaml")`, `YOLO("best.pt")(image)`."""
