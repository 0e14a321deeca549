"""What may still be taken, as told by files that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics.utils.system.memory import Room, available_memory

GB = 2**30
MAX = 9223372036854771712  # what version 1 writes where there is no limit


@pytest.fixture
def system(tmp_path: Path):
    """Write /proc and /sys/fs/cgroup of a machine with 8 GB available; return what `available_memory` says of it."""

    def ask(groups: dict[str, dict[str, int | str]], cgroup: str, meminfo: str = "MemAvailable:    8388608 kB\n"):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(f"MemTotal:  9999999999 kB\n{meminfo}")
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for group, files in groups.items():
            folder = tmp_path / "cgroup" / group
            folder.mkdir(parents=True, exist_ok=True)
            for name, value in files.items():
                (folder / name).write_text(f"{value}\n")
        return available_memory(tmp_path / "proc", tmp_path / "cgroup")

    return ask


def v2(limit: int | str, current: int, inactive: int = 0, **more: int | str) -> dict[str, int | str]:
    stat = f"anon 5\ninactive_anon 7\nactive_file 0\ninactive_file {inactive}"
    return {"memory.max": limit, "memory.current": current, "memory.stat": stat, **more}


def v1(limit: int, usage: int, inactive: int = 0) -> dict[str, int | str]:
    stat = f"inactive_file 1\ntotal_active_file 0\ntotal_inactive_file {inactive}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}


CASES = {
    "no group": ({}, "", 8 * GB, "this machine"),
    "no limit": ({"job": v2("max", GB)}, "0::/job\n", 8 * GB, "this machine"),
    "own limit": ({"job": v2(4 * GB, GB)}, "0::/job\n", 3 * GB, "cgroup/job/memory.max"),
    "page cache is free": ({"job": v2(4 * GB, 3 * GB, 2 * GB)}, "0::/job\n", 3 * GB, "cgroup/job/memory.max"),
    "limit of a parent": (
        {"a": v2(3 * GB, GB), "a/b": v2("max", GB), "a/b/c": v2(7 * GB, GB)}, "0::/a/b/c\n", 2 * GB, "/a/memory.max"
    ),
    "throttled before it is full": (
        {"job": v2(4 * GB, GB, **{"memory.high": 2 * GB})}, "0::/job\n", GB, "/job/memory.high"
    ),
    "over its limit": ({"job": v2(GB, 2 * GB)}, "0::/job\n", 0, "/job/memory.max"),
    "a container that sees its own group as the root": (
        {"": v2(2 * GB, GB)}, "0::/docker/0123\n", GB, "cgroup/memory.max"
    ),
    "a path out of sight": ({"": v2(2 * GB, GB)}, "0::/../../other\n", GB, "cgroup/memory.max"),
    "version 1": (
        {"memory/job": v1(5 * GB, 4 * GB, GB), "memory": v1(MAX, 9 * GB)},
        "9:name=systemd:/x\n4:cpu,memory:/job\n0::/\n", 2 * GB, "memory/job/memory.limit_in_bytes",
    ),
    "version 1 without a limit": ({"memory/job": v1(MAX, GB)}, "4:memory:/job\n", 8 * GB, "this machine"),
    "more than the machine has": ({"job": v2(64 * GB, GB)}, "0::/job\n", 8 * GB, "this machine"),
    "files that say nothing": ({"job": v2("?", 1) | {"memory.stat": ""}}, "0::/job\n\n:\n", 8 * GB, "this machine"),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "cgroup", "free", "limit"), CASES.values(), ids=CASES)
def test_room(system, groups, cgroup, free, limit):
    room = system(groups, cgroup)
    assert room.free == free and room.limit.replace("\\", "/").endswith(limit)


def test_this_machine():
    room = available_memory()
    assert room is None or 0 < room.free < 2**50
    assert str(Room(GB * 3 // 2, "this machine")) == "1.50 GB that are free (this machine)"


def test_without_proc(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)  # not installed
    assert available_memory(tmp_path, tmp_path) is None
