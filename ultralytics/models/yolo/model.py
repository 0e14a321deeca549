"""YOLO, the object that scripts work with."""

from __future__ import annotations

from ultralytics.engine.model import Model


class YOLO(Model):
    """A YOLO model of any task: `YOLO("yolo11n-GhostConv.yaml").train(data="fire.yaml")`, `YOLO("best.pt")(image)`."""
