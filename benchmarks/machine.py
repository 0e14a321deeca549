"""The machine that a measurement ran on, in one line."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path


def machine() -> str:
    """Return the processor, its cores, the load, GPUs, and the versions of Python, torch and this package."""
    import torch

    import ultralytics

    file = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", file.read_text(errors="replace"), re.M) if file.exists() else None
    parts = [named[1] if named else platform.processor() or platform.machine(), f"{os.cpu_count()} cores"]
    if hasattr(os, "getloadavg"):
        parts.append(f"load {os.getloadavg()[0]:.1f}")
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, ultralytics {ultralytics.__build__}"
    return ", ".join([*parts, versions])
