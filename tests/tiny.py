"""A detector of a few thousand parameters, and settings with which training it takes a second."""

from __future__ import annotations

from pathlib import Path

LAYERS = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, GhostConv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""
FAST = {"imgsz": 64, "batch": 4, "workers": 0, "device": "cpu", "plots": False, "verbose": False}


def tiny_model(folder: Path) -> str:
    """Write the YAML of the tiny detector into a folder and return its path."""
    file = Path(folder) / "tiny.yaml"
    file.write_text(LAYERS, encoding="utf-8")
    return str(file)
