"""The place of a product that is not part of this package; it holds what libraries for YOLO import from there.

The callback of Weights & Biases (`wandb.integration.ultralytics`) asks whether a predictor is one of `sam.predict`.
"""

from __future__ import annotations

from ultralytics import modules_of, not_here

_module = modules_of(__name__)


def __getattr__(name: str) -> object:
    if name == "predict" or name.startswith("__"):
        return _module(name)
    raise ImportError(not_here(f"{__name__}.{name}"))
