"""The search with Ray Tune under its name of 8.3.0; it lives a few floors above, in `engine.ray_tune`."""

from __future__ import annotations

import importlib


def __getattr__(name: str) -> object:
    if name != "run_ray_tune":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return importlib.import_module("ultralytics.engine.ray_tune").run_ray_tune
