"""The callbacks of Ray Tune under their module name of 8.3.0; see `engine.ray_tune`."""

from __future__ import annotations

import importlib


def __getattr__(name: str) -> object:
    if name not in {"callbacks", "on_fit_epoch_end"}:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module("ultralytics.engine.ray_tune"), name)
