"""Training in several processes without their start-up: each is forked from one that has loaded the package."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import killing

from ultralytics.engine import launcher
from ultralytics.utils import LOGGER


class ForkedRank:
    """What `subprocess.Popen` is to the launcher; the process goes straight on with `launcher.main`."""

    def __init__(self, command: list[str], env: dict[str, str]):
        self.returncode: int | None = None
        self.pid = killing.fork(lambda: sys.exit(self._work(command[3:], env)), Path("/dev/fd/1"))

    @staticmethod
    def _work(words: list[str], env: dict[str, str]) -> int:
        os.environ.update(env)
        numbers = {name: int(env[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        for module in [m for name, m in sys.modules.items() if name.partition(".")[0] == "ultralytics"]:
            for name in numbers.keys() & vars(module).keys():
                setattr(module, name, numbers[name])
        if numbers["RANK"]:
            LOGGER.setLevel("ERROR")
        for number in (signal.SIGINT, signal.SIGTERM):  # its launcher's handlers came along
            signal.signal(number, signal.SIG_DFL)
        return launcher.main(*words)

    def poll(self) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = killing.wait(self.pid)
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


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
    until = time.monotonic() + 60
    while any(is_alive(p) for p in processes) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [p for p in processes if is_alive(p)]
