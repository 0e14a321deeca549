"""Networks: the registry of modules, the modules themselves, GhostNet, and the models that YAML files describe."""

from ultralytics.nn.registry import Bound, Context, register

__all__ = "Bound", "Context", "register"
