"""Import of packages that send telemetry unasked: only from here, with their telemetry switched off.

Some look up an address and write an identifier of the user the moment they are imported, so the switch comes first.
What a service records because its user switched it on (`yolo settings mlflow=True`) is not telemetry.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

# Environment variables by which packages let users opt out. What the user has set takes precedence.
SWITCHES: dict[str, dict[str, str]] = {
    "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
    "openvino": {},
    "nncf": {},
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true"},
    "wandb": {"WANDB_ERROR_REPORTING": "false"},
    "dvclive": {"DVC_NO_ANALYTICS": "1", "ITERATIVE_DO_NOT_TRACK": "1"},
    "comet_ml": {},
    "clearml": {},
    "ray": {"RAY_USAGE_STATS_ENABLED": "0"},
    "gradio": {"GRADIO_ANALYTICS_ENABLED": "False"},
    "streamlit": {"STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"},
    "albumentations": {"NO_ALBUMENTATIONS_UPDATE": "1"},
    "huggingface_hub": {"HF_HUB_DISABLE_TELEMETRY": "1"},
}
# Packages whose only opt-out is a file in the user's home, and their senders, without which they work as well.
KEPT_OUT = {"openvino": "openvino_telemetry", "nncf": "openvino_telemetry"}


def quiet_import(name: str) -> ModuleType:
    """Import a package, or a module in it, with its telemetry switched off."""
    package = name.partition(".")[0]
    for variable, value in SWITCHES.get(package, {}).items():
        os.environ.setdefault(variable, value)
    with _kept_out(KEPT_OUT[package]) if package in KEPT_OUT else contextlib.nullcontext():
        module = importlib.import_module(name)
    if package == "onnxruntime":  # in case others have imported it before
        module.disable_telemetry_events()
    return module


@contextlib.contextmanager
def _kept_out(sender: str) -> Iterator[None]:
    """Hide a package as if it were not installed; one that is loaded already sends nothing from here on."""
    absent = object()
    before = sys.modules.get(sender, absent)
    if loaded := sys.modules.get(f"{sender}.main"):
        loaded.TelemetrySender.send = lambda *args, **kwargs: None
    sys.modules[sender] = None  # type: ignore[assignment]  # makes `import` raise ModuleNotFoundError
    try:
        yield
    finally:
        if before is absent:
            del sys.modules[sender]
        else:
            sys.modules[sender] = before  # type: ignore[assignment]
