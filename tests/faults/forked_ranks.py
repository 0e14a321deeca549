"""Training in several processes without their start-up: each is forked from one that has loaded the package."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import killing

from ultralytics.engine.training import launch
from ultralytics.utils import LOGGER


class ForkedRank:
    """What `subprocess.Popen` is to PyTorch's elastic agent; the process goes straight on with `launch.main`."""

    def __init__(self, command: tuple[str, ...], env: dict[str, str]):
        self.returncode: int | None = None
        self.pid = killing.fork(lambda: sys.exit(self._work(command[3:], env)), Path("/dev/fd/1"))

    @staticmethod
    def _work(words: tuple[str, ...], env: dict[str, str]) -> int:
        os.setsid()
        os.environ.update(env)
        numbers = {name: int(env[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
        for module in [m for name, m in sys.modules.items() if name.partition(".")[0] == "ultralytics"]:
            for name in numbers.keys() & vars(module).keys():
                setattr(module, name, numbers[name])
        if numbers["RANK"]:
            LOGGER.setLevel("ERROR")
        for number in (signal.SIGINT, signal.SIGTERM):  # its launcher's handlers came along
            signal.signal(number, signal.SIG_DFL)
        return launch.main(*words)

    def poll(self) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("rank", timeout or 0.0)
            time.sleep(0.01)
        return self.returncode or 0
