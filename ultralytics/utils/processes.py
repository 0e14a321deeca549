"""Processes and their parents."""

from __future__ import annotations

import ctypes
import os
import signal
import sys


def end_with_parent(parent: int) -> None:
    """Let the system end this process when its parent, the process `parent`, is gone, however that ended (Linux)."""
    if not sys.platform.startswith("linux"):
        return  # loaders notice by themselves after some seconds
    try:
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:  # it ended before that was arranged
        os._exit(1)
