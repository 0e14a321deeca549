"""Comparing models: the same recipe, data order and seeds for all, and what the differences are worth.

`yolo compare`, or from Python `compare(["a.yaml", "b.yaml"], data="fire.yaml", epochs=60, seeds=3)`.
"""

from ultralytics.lab.compare.command import compare

__all__ = ("compare",)
