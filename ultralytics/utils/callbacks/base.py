"""The default callbacks under their names of 8.3.0: functions by event, each of which does nothing until replaced."""

from __future__ import annotations

import importlib

from ultralytics.utils import callbacks


def _nothing(engine: object) -> None:
    """Do nothing at an event; `default_callbacks[event]` takes functions that do something in all engines."""


def __getattr__(name: str) -> object:
    if name.startswith("_"):
        raise AttributeError(name)
    if name in importlib.import_module("ultralytics.engine.callbacks").EVENTS:
        return _nothing
    return getattr(callbacks, name)
