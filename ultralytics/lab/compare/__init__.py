"""Compare models trained with the same recipe, data order and seeds, and say what the differences are worth.

`yolo compare`, or from Python `compare(["a.yaml", "b.yaml"], data="fire.yaml", epochs=60, seeds=3)`.
"""

from ultralytics.lab.compare.command import compare

__all__ = ("compare",)
