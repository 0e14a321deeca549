"""Functions for callbacks under their names of 8.3.0; they live with the engines, a few floors above."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ultralytics import modules_of

_HOMES = {
    "EVENTS": "ultralytics.engine.callbacks",
    "add_integration_callbacks": "ultralytics.engine.integrations",
    "default_callbacks": "ultralytics.engine.callbacks",
    "get_default_callbacks": "ultralytics.engine.callbacks",
}
__all__ = tuple(_HOMES)

_module = modules_of(__name__)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        return _module(name)
    return getattr(importlib.import_module(_HOMES[name]), name)


def of_logger(setting: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a module that bears a logger's name in 8.3.0.

    The module has `callbacks`, functions of a trainer by their events, and each of them under the name of its event.
    There are none unless the logger is installed and switched on in `yolo settings`.
    """

    def __getattr__(name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        found = importlib.import_module("ultralytics.engine.integrations").callbacks_of(setting)
        if name != "callbacks" and name not in found:
            raise AttributeError(f"The logger '{setting}' has no '{name}', or is not installed and switched on.")
        return found if name == "callbacks" else found[name]

    return __getattr__
