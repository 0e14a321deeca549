"""Ctrl-C and SIGTERM during training: the batch is finished and the state written before the process ends."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ultralytics.utils import LOGGER

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Leaves the training loop after a signal; the state has been written, where that was possible.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """While the block runs, the first SIGINT or SIGTERM is only noted in `received`; a second one ends the process.

    A signal that the process was told to ignore, as `nohup` does, stays ignored. Outside the main thread, where Python
    allows no handlers, nothing changes.
    """

    def __init__(self):
        self.received = 0  # number of the signal
        self._before: dict[int, Any] = {}

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
            os._exit(128 + number)
        self.received = number
        LOGGER.info(f"\n{signal.Signals(number).name}: ending after this batch; once more ends at once.")
