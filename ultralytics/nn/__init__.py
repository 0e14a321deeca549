"""Networks: the registry of modules, the modules themselves, GhostNet, and the models that YAML files describe."""

from ultralytics import modules_of
from ultralytics.nn.registry import Bound, Context, register

__all__ = "Bound", "Context", "register"
_module = modules_of(__name__)


def __getattr__(name: str):
    """Offer the models and their loaders here too, as 8.3.0 does; they are imported when first asked for."""
    if not name.startswith("_"):
        tasks = _module("tasks")
        if name in tasks.__all__:
            return getattr(tasks, name)
    return _module(name)
