"""Ctrl-C and SIGTERM during training: the batch is finished and the state written before the process ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType

from ultralytics.utils import LOGGER, WORLD_SIZE

REPEATS = 3.0  # seconds
Handler = Callable[[int, FrameType | None], object] | int | None  # of a signal
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Raised to leave the training loop after a signal; the state is saved, where that was possible.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """Within the block, the first SIGINT or SIGTERM is only recorded in `received`; a second one ends the process.

    A signal that the process was told to ignore, as `nohup` does, stays ignored. Outside the main thread, where Python
    allows no handlers, nothing changes. In one of several processes what follows within seconds is the same signal: the
    terminal sends it to all, and the launcher passes it on.
    """

    def __init__(self):
        self.received = 0  # number of the signal
        self._until = 0.0  # when the next one is a second one
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            if time.monotonic() >= self._until:
                os._exit(128 + number)
            return
        self.received, self._until = number, time.monotonic() + (REPEATS if WORLD_SIZE > 1 else 0.0)
        LOGGER.info(f"\n{signal.Signals(number).name}: ending after this batch; once more ends at once.")
