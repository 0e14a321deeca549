"""Watch over a process that reads hostile files: no code run, nothing outside a folder, bounded memory and time."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

CPU_SECONDS = 20.0  # of one case; most take milliseconds
GROWTH = 1 << 30  # bytes by which the process may grow in a case; a head for the 100,000 classes allowed takes 0.7 GB
_RUN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
    "ctypes.dlopen", "pickle.find_class", "webbrowser.open", "urllib.Request", "ftplib.connect", "smtplib.connect",
)  # fmt: skip
_CHANGE = {"os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.symlink": 2,
           "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "os.utime": 1, "shutil.rmtree": 1}  # fmt: skip
_OWN = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2]), "<frozen", "<__array_function__")


class Forbidden(BaseException):
    """Something was done that reading a file must not do; no `except Exception` catches it."""


class Watch:
    """Raises `Forbidden` at forbidden events while a case runs, and remembers them if that is swallowed."""

    def __init__(self, folder: Path):
        self.folders = (os.path.realpath(folder) + os.sep, "/dev/null")
        self.on, self.seen = False, []
        self.limit = 0
        sys.addaudithook(self._event)

    def _event(self, event: str, args: tuple) -> None:
        if self.on and (fault := self._fault(event, args)):
            self.seen.append(fault)
            raise Forbidden(fault)

    def _fault(self, event: str, args: tuple) -> str:
        """Return what is wrong with an event, or ''."""
        if event.startswith(_RUN):
            return f"{event}{args!r:.300}"
        if event == "open" and not self._may_open(*args[:3]):
            return f"opened {args[0]!r:.200} to write"
        if event in _CHANGE and not all(self._inside(path) for path in args[: _CHANGE[event]]):
            return f"{event}{args!r:.300}"
        if event == "exec" and isinstance(args[0], CodeType) and not args[0].co_filename.startswith(_OWN):
            return f"ran code of {args[0].co_filename!r}"
        return ""

    def _may_open(self, path: Any, mode: str | None, flags: int | None) -> bool:
        writes = any(c in (mode or "") for c in "wax+") or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        return not writes or self._inside(path)

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int):  # a file that is open already
            return True
        real = os.path.realpath(os.fsdecode(path))
        return f"{real}{os.sep}".startswith(self.folders[0]) or real in self.folders[1:]

    @contextmanager
    def case(self) -> Iterator[None]:
        """Watch over one case; afterwards raise what was seen but swallowed, or if it took too much memory."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.seen.clear()
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
        self.on = True
        try:
            yield
        finally:
            self.on = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if self.seen:
            raise Forbidden(f"swallowed: {self.seen[0]}")
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if growth > GROWTH:
            raise Forbidden(f"took {growth >> 20} MB")


def too_long(number: int, frame: FrameType | None) -> None:
    """Raise Forbidden where a case runs for too long."""
    raise Forbidden(f"took more than {CPU_SECONDS} s of processor time")


def limit_memory(bytes_more: int = 6 << 30) -> None:
    """Let the system refuse memory far beyond what the process has."""
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + bytes_more, hard))
