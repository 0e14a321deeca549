"""The machine that a measurement ran on, in one line."""

from __future__ import annotations

import os
import platform

import torch

import ultralytics
from ultralytics.utils.system.threads import get_cpu_info


def machine() -> str:
    """Return the processor and its cores, the load, the GPU, and the versions of Python, torch and this package."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [get_cpu_info(), f"{cores} cores"]
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, ultralytics {ultralytics.__build__}"
    return ", ".join([*parts, versions])
