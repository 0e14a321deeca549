"""Trainings that are killed: each runs in a process of its own, forked from one that has the package loaded already.

A forked process starts in milliseconds, so that hundreds of kills take minutes.
"""

from __future__ import annotations

import builtins
import gc
import io
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ultralytics import YOLO
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import LOGGER

# At the first backward pass autograd starts a thread for each device that is known, and a process that has such threads
# cannot be forked for another pass. `torch.export` makes more devices known, so the first pass comes before all tests.
torch.ones(1, requires_grad=True).sum().backward()

KILLED = -signal.SIGKILL
# What the path of writing a file is made of: each of these ends in one call of the system, or in some.
CALLS = ("link", "replace", "rename", "unlink", "fsync", "chmod", "mkdir")


def fork(work: Callable[[], Any], log: Path) -> int:
    """Run `work` in a new process and return its number; its exit code is 0 unless it raises or is killed."""
    sys.stdout.flush()
    gc.collect()  # a decoder of images waits for its threads when it is freed, and the new process has none of them
    process = os.fork()
    if process:
        return process
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        LOGGER.handlers = [logging.StreamHandler(sys.stdout)]
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run where it is ignored, as by `nohup`
        work()
        os._exit(0)
    except SystemExit as e:
        os._exit(int(e.code or 0))
    except BaseException:  # whatever it is, this process must not return into the tests
        traceback.print_exc()
        os._exit(1)


def wait(process: int) -> int:
    """Return the exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def train(settings: dict[str, Any]) -> None:
    """Train, or go on with the run of the same name; nothing is left to do if it has finished."""
    YOLO(settings["model"]).train(**settings, resume="auto")


def final_state(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a finished run left, of last.pt and best.pt."""
    return {
        f"{f} {k}": v for f in ("last", "best") for k, v in load_checkpoint(run / f"weights/{f}.pt")["model"].items()
    }


def is_finished(run: Path) -> bool:
    """Tell whether a run has reached its end: then no state to resume from is left."""
    last = run / "weights/last.pt"
    return last.is_file() and load_checkpoint(last).get("optimizer") is None


def finish(settings: dict[str, Any], log: Path) -> None:
    """Start the same command until its run has finished."""
    code = wait(fork(lambda: train(settings), log))
    assert code == 0, log.read_text()[-3000:]


def kill_after(settings: dict[str, Any], seconds: float, log: Path) -> bool:
    """Start the command and kill it after a while; return whether it was still running."""
    process = fork(lambda: train(settings), log)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return wait(process) == KILLED


@contextmanager
def counted_calls(on_call: Callable[[int, str], None], under: Path) -> Iterator[None]:
    """Call `on_call(n, name)` before the n-th call of the system by which a file below a folder is written.

    Opening for writing, each write, flush and close count, and all of `CALLS`.
    """
    count = 0

    def seen(name: str) -> None:
        nonlocal count
        count += 1
        on_call(count, name)

    class Watched(io.FileIO):
        def write(self, data):
            seen("write")
            return super().write(data)

        def close(self):
            if not self.closed:
                seen("close")
            return super().close()

    plain_open = builtins.open

    def watched_open(file, mode="r", buffering=-1, encoding=None, *args, **kwargs):
        inside = isinstance(file, (str, Path)) and Path(file).resolve().is_relative_to(under)
        if not inside or not set(mode) & set("wax+"):
            return plain_open(file, mode, buffering, encoding, *args, **kwargs)
        seen("open")
        raw = Watched(file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding=encoding or "utf-8")

    def watched(name: str, function: Callable) -> Callable:
        def call(*args, **kwargs):
            seen(name)
            return function(*args, **kwargs)

        return call

    before = {name: getattr(os, name) for name in CALLS}
    builtins.open = watched_open
    for name, function in before.items():
        setattr(os, name, watched(name, function))
    try:
        yield
    finally:
        builtins.open = plain_open
        for name, function in before.items():
            setattr(os, name, function)
