"""The number of threads that compute on a CPU, which follows the free cores, and how long they spin.

Threads that share a computation wait for each other at its end. Those of OpenMP spin for some milliseconds before they
sleep, which is fastest while each has a core of its own, and many times slower once other programs use the cores: a
thread that spins blocks the one that it waits for. So the number follows the free cores, and where it has to stay
(results depend on it to the last bit), at least the spinning is cut short.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

LOOK = 0.1  # seconds that a measurement of the load takes before work starts
LOOKS = 5  # most measurements, while cores seem busy: what is over by then is no load
PAUSE = 3.0  # seconds between two measurements while work goes on
CROWDED = 0.3  # cores used by others, above which the spinning is cut short
USERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # a number given by one of them takes precedence

# ------------------------------------------------------------------------------------------------------- the machine


@functools.lru_cache(maxsize=1)
def get_cpu_info() -> str:
    """Return the processor's model name, for instance 'Intel(R) Xeon(R) Gold 6242'."""
    readers = {"Linux": _cpu_name_linux, "Darwin": _cpu_name_mac, "Windows": _cpu_name_windows}
    name = ""
    with contextlib.suppress(Exception):  # a name for a log line is never worth an error
        name = readers.get(platform.system(), platform.processor)()
    return name.strip() or platform.processor() or platform.machine() or "unknown"


def _cpu_name_linux() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.split(":", 1)[1] for line in lines if line.lower().startswith(("model name", "hardware"))), "")


def _cpu_name_mac() -> str:
    import subprocess

    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout


def _cpu_name_windows() -> str:
    if sys.platform != "win32":  # for type checkers, which know no registry elsewhere
        return ""
    import winreg

    with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
        return winreg.QueryValueEx(key, "ProcessorNameString")[0]


def _allowed() -> frozenset[int]:
    """Return the indices of the logical cores that this process may use."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def physical_cores() -> int:
    """Return the number of physical cores that this process may use, by its CPU affinity and its container's quota."""
    return int(min(_whole_cores(_allowed()), _quota()))


@functools.lru_cache
def _whole_cores(allowed: frozenset[int]) -> int:
    """Return the number of physical cores behind logical ones."""
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text().strip())  # hyper-threads of one core name the same siblings
        except OSError:
            cores.add(str(cpu))
    return max(len(cores), 1)


@functools.lru_cache(maxsize=1)
def _quota() -> float:
    """Return the number of cores whose time the container of this process may use; inf without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(math.ceil(int(quota) / int(period)), 1)
    except (OSError, ValueError):  # 'max' is no number: no limit
        return math.inf


class Reading(NamedTuple):
    """CPU times up to a moment, in seconds."""

    at: float
    idle: float  # of all cores that this process may use, together
    own: float  # processor time of this process

    def others_since(self, earlier: Reading) -> float:
        """Return the number of cores that other programs used on average since an earlier reading."""
        seconds = self.at - earlier.at
        used = len(_allowed()) - (self.idle - earlier.idle + self.own - earlier.own) / seconds
        return max(used, 0.0)


def read_cores(stat: str | Path = "/proc/stat") -> Reading | None:
    """Read the CPU times so far, or None where the system does not provide them (proc(5), /proc/stat)."""
    try:
        lines = Path(stat).read_text(encoding="ascii").splitlines()
    except OSError:
        return _read_by_psutil()
    names, ticks = {f"cpu{i}" for i in _allowed()}, 0
    for name, *numbers in map(str.split, lines):
        if name in names:
            ticks += int(numbers[3]) + int(numbers[4])  # idle, and idle while waiting for a disk
    return Reading(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def _read_by_psutil() -> Reading | None:
    try:
        import psutil
    except ImportError:
        return None
    return Reading(time.perf_counter(), psutil.cpu_times().idle, time.process_time())


# ------------------------------------------------------------------------------------------------------- the choice


class CpuThreads:
    """The number of threads that torch computes with in this process, and how long they spin.

    OMP_NUM_THREADS and MKL_NUM_THREADS take precedence, and so does a number that the program gives to
    `torch.set_num_threads`; OMP_WAIT_POLICY and GOMP_SPINCOUNT decide about the spinning if they are set.

    Attributes:
        chosen: the number set last; None before.
        others: cores that other programs used at the last measurement; None where the system does not tell.
        why: why the number is what it is, as the end of a log line.
    """

    def __init__(self) -> None:
        self.chosen: int | None = None
        self.others: float | None = None
        self.why = ""
        self._before: int | None = None  # the number before the first change
        self._seen: Reading | None = None  # the latest measurement
        self._crowd = Crowd()
        self._lock = threading.RLock()

    @property
    def ours(self) -> bool:
        """Whether the number in use is torch's default or ours, and not one that the user chose."""
        if any(os.environ.get(k) for k in USERS):
            return False
        return torch.get_num_threads() in {self.chosen, physical_cores(), _whole_cores(_allowed()), len(_allowed())}

    def choose(self) -> int:
        """Measure how many cores are free, compute on as many, and return the number."""
        with self._lock:
            if self.ours:
                self.others = self._look_before_work()
                self._fit()
            else:
                self.why = f", by {next((k for k in USERS if os.environ.get(k)), 'torch.set_num_threads')}"
            self._fit_spinning()
            return torch.get_num_threads()

    def use(self, count: int) -> int:
        """Compute on this number of threads, and return it."""
        with self._lock:
            if self._before is None:
                self._before = torch.get_num_threads()
            if count != torch.get_num_threads():
                torch.set_num_threads(count)
            self.chosen = count
            return count

    def follow(self, count: bool = True) -> None:
        """Adapt the spinning and the number to the load between two pieces of work, at most every few seconds.

        Args:
            count: change the number of threads; else it stays, since results depend on it to the last bit.
        """
        if self._seen is None:
            return
        if time.perf_counter() - self._seen.at > PAUSE and (now := read_cores()):
            with self._lock:
                self.others, self._seen = now.others_since(self._seen), now
                self._fit_spinning()
        if count and self.ours:
            self._fit()

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Restore the number before the first change after this block, unless the user has set another."""
        try:
            yield
        finally:
            if self._before is not None and torch.get_num_threads() == self.chosen:
                self.use(self._before)

    def _fit(self) -> None:
        cores = physical_cores()
        count = max(1, min(cores, math.floor(cores - (self.others or 0.0) + 0.5)))
        self.use(count)
        self.why = "" if count >= cores else f", since other programs use {self.others:.1f} of {cores} cores"

    def _fit_spinning(self) -> None:
        ruled = any(os.environ.get(k) for k in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))
        self._crowd.gather(not ruled and (self.others or 0.0) > CROWDED)

    def _look_before_work(self) -> float | None:
        """Measure how many cores others use, the least of some short readings; None where the system does not tell."""
        start, least = read_cores(), math.inf
        if start is None:
            return None
        if self._seen and LOOK < start.at - self._seen.at < PAUSE:
            least, self._seen = start.others_since(self._seen), start
        for _ in range(LOOKS):
            if least < CROWDED:
                break
            time.sleep(LOOK)
            now = read_cores()
            if now is None:
                return None
            least, start, self._seen = min(least, now.others_since(start)), now, now
        return least


class Crowd:
    """Idle OpenMP threads beside those that compute, which make all of them wait asleep.

    libgomp reads its settings once, when torch loads it. But it spins a hundred turns instead of 300,000 while a
    process has more OpenMP threads than cores (GNU libgomp manual, GOMP_SPINCOUNT), which can be arranged at any time:
    by threads that have computed once, and thus have a team of their own, and sleep. They only cost a few stacks.
    """

    def __init__(self) -> None:
        self._leave: threading.Event | None = None
        self._threads: list[threading.Thread] = []

    def gather(self, wanted: bool) -> None:
        """Start the threads if they are wanted, else end them."""
        team = torch.get_num_threads()
        if wanted and self._leave is None and team > 1:
            self._leave = threading.Event()
            many = (os.cpu_count() or 1) // (team - 1) + 1
            self._threads = [threading.Thread(target=self._stay, args=(self._leave,), daemon=True) for _ in range(many)]
            for thread in self._threads:
                thread.start()
        elif not wanted and self._leave is not None:
            self._leave.set()
            for thread in self._threads:
                thread.join()
            self._leave, self._threads = None, []

    @staticmethod
    def _stay(leave: threading.Event) -> None:
        torch.ones(1 << 18).add_(1)  # large enough for torch to share it out
        leave.wait()


THREADS = CpuThreads()  # a process has one number of threads


def set_cpu_threads(threads: int | None = None) -> int:
    """Make torch compute on `threads`, or on as many as cores are free (see `CpuThreads`); return the number in use."""
    return THREADS.choose() if threads is None else THREADS.use(threads)
