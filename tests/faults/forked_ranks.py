"""Training in several processes without their start-up: each is forked from one that has loaded the package."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import killing

from ultralytics.engine.training import launcher
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
