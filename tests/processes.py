"""Other processes, as tests look at them: their children, and whether they run; read from /proc, so on Linux alone."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 600  # seconds for what takes a moment on an idle machine; over only where it will never come


def children(process: int) -> list[int]:
    """Return the processes that a process has started, the oldest first."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent's question does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def await_end(processes: list[int]) -> None:
    """Wait until all of some processes have ended, however long that takes a crowded machine."""
    until = time.monotonic() + PATIENCE
    while any(is_alive(p) for p in processes) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [p for p in processes if is_alive(p)]
