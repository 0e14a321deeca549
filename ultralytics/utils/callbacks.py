"""Where 8.3.0 keeps its functions for callbacks; here they stand with the engines, a few floors above."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "EVENTS": "ultralytics.engine.callbacks",
    "add_integration_callbacks": "ultralytics.engine.integrations",
    "default_callbacks": "ultralytics.engine.callbacks",
    "get_default_callbacks": "ultralytics.engine.callbacks",
}
__all__ = tuple(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ultralytics.utils.callbacks' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
