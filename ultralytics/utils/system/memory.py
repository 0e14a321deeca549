"""Memory that is still available on this machine, and in the container or job that this process runs in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# limits, usage, and the names of the page cache in memory.stat, which the kernel drops before it refuses memory
_Files = tuple[tuple[str, ...], str, tuple[str, ...]]
_V2: _Files = (("memory.max", "memory.high"), "memory.current", ("inactive_file", "active_file"))
_V1: _Files = (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
_UNLIMITED = 2**60  # version 1 writes a number near 2**63 for no limit


class Room(NamedTuple):
    """Memory that can be allocated without swapping and without being killed for it."""

    free: int  # bytes
    limit: str  # what sets it: 'this machine', or the file that holds the limit

    def __str__(self) -> str:
        return f"{self.free / 2**30:.2f} GB that are free ({self.limit})"


def available_memory(proc: str | Path = "/proc", cgroups: str | Path = "/sys/fs/cgroup") -> Room | None:
    """Return the memory available to this process, the least of the machine's and its control groups', if known.

    Control groups are the limits of containers, Slurm jobs and systemd services: Linux, "Control Group v2",
    Documentation/admin-guide/cgroup-v2.rst, and cgroup-v1/memory.rst.

    Args:
        proc: the kernel's process information.
        cgroups: its control group hierarchy.
    """
    rooms = [*_machine(Path(proc)), *_groups(Path(proc), Path(cgroups))]
    return min(rooms, default=None)


def _machine(proc: Path) -> Iterator[Room]:
    try:
        lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
        yield from (Room(int(line.split()[1]) * 1024, "this machine") for line in lines if "MemAvailable" in line)
        return
    except (OSError, ValueError):
        pass
    try:
        import psutil

        yield Room(psutil.virtual_memory().available, "this machine")
    except ImportError:
        return


def _groups(proc: Path, cgroups: Path) -> Iterator[Room]:
    """Yield the memory that each control group leaves, from that of this process up to the root.

    A container often sees its own group as the root while its path is the host's: missing folders are skipped.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "":
            root, files = cgroups, _V2
        elif "memory" in controllers.split(","):
            root, files = cgroups / "memory", _V1
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield from _left(root.joinpath(*parts[:depth]), *files)


def _left(group: Path, limits: tuple[str, ...], use: str, droppable: tuple[str, ...]) -> Iterator[Room]:
    """Yield what each limit of a control group leaves."""
    try:
        used = int((group / use).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used -= sum(int(stat.get(name, 0)) for name in droppable)
    except (OSError, ValueError):
        return
    for file in (group / name for name in limits):
        try:
            limit = int(file.read_text())
        except (OSError, ValueError):  # 'max': no limit
            continue
        if limit < _UNLIMITED:
            yield Room(max(limit - used, 0), f"limit in {file}")
