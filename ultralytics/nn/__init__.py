"""Networks: the registry of modules, the modules themselves, GhostNet, and the models that YAML files describe."""

from ultralytics.nn.registry import Bound, Context, register

__all__ = "Bound", "Context", "register"


def __getattr__(name: str):
    """Offer the models and their loaders here too, as 8.3.0 does; they are imported when first asked for."""
    if not name.startswith("_"):
        import importlib

        tasks = importlib.import_module("ultralytics.nn.tasks")
        if name in tasks.__all__:
            return getattr(tasks, name)
    raise AttributeError(f"module 'ultralytics.nn' has no attribute '{name}'")
