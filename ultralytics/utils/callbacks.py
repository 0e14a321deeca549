"""Functions for callbacks under their names of 8.3.0; they live with the engines, a few floors above."""

from __future__ import annotations

import importlib

_HOMES = {
    "EVENTS": "ultralytics.engine.callbacks",
    "add_integration_callbacks": "ultralytics.engine.integrations",
    "default_callbacks": "ultralytics.engine.callbacks",
    "get_default_callbacks": "ultralytics.engine.callbacks",
}
__all__ = tuple(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ultralytics.utils.callbacks' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
