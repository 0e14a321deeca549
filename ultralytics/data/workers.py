"""Workers, the processes that load data: how they start, and what happens when one is stopped, hangs or is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import torch
from torch.utils.data import _utils
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from ultralytics.data.instances import Batch
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import RunError
from ultralytics.utils.system.processes import end_with_parent

STOPPED = 15.0  # seconds that a worker may be stopped (SIGSTOP) while the training runs
HANGING = 1800.0  # seconds that a batch may take
TICK = 1.0  # seconds between two checks
ENDING = 5.0  # seconds that a worker which no longer answers may take to end
LOSSES = 3  # losses in a row, without a batch between them, that end the training


def start_worker(worker: int, parent: int, then: Callable[[int], None] | None = None) -> None:
    """Prepare a worker: one thread, signals left to its parent, an end when the parent ends; then call `then`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a trainer's own handler came along
    end_with_parent(parent)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if then is not None:
        then(worker)


class LostProcess(RunError):
    """A worker has ended, and the batches it had loaded are lost."""


class Watch:
    """Thread that checks the workers of a loader every second, and ends one that is stopped or hangs.

    The loader itself cannot check: it may block too, while it asks a stopped worker for a batch that is ready. Time
    counts only while the watch runs, so that Ctrl-Z, which stops all of them, costs nothing.

    Args:
        workers: of a stream of batches.
    """

    def __init__(self, workers: Sequence[BaseProcess]):
        self.workers = workers
        self.ended: dict[int | None, str] = {}  # why a worker was ended, by process id
        self.waited = 0.0  # seconds for the next batch
        self._waiting, self._stop = False, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time spent in this block as waiting for a batch."""
        self.waited, self._waiting = 0.0, True
        try:
            yield
        finally:
            self._waiting = False

    def stop(self) -> None:
        """End the checks."""
        self._stop.set()

    def _look(self) -> None:
        still = dict.fromkeys((w.pid for w in self.workers), 0.0)
        while not self._stop.wait(TICK):
            self.waited += TICK if self._waiting else 0.0
            for worker in self.workers:
                still[worker.pid] = still[worker.pid] + TICK if is_stopped(worker) else 0.0
                if still[worker.pid] >= STOPPED:
                    self._end(worker, f"was stopped for {STOPPED:.0f} s, so it was ended")
                elif self.waited >= HANGING:
                    self._end(worker, f"gave no batch for {HANGING:.0f} s, so it was ended")

    def _end(self, worker: BaseProcess, why: str) -> None:
        self.ended.setdefault(worker.pid, why)
        worker.kill()


def is_stopped(worker: BaseProcess) -> bool:
    """Whether a process is stopped, as by SIGSTOP; False on systems other than Linux."""
    try:
        return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (OSError, IndexError):
        return False


@contextmanager
def _without_torchs_handler() -> Iterator[None]:
    """Keep torch from setting a SIGCHLD handler, which raises in the middle of anything when a worker ends."""
    signals = _utils.signal_handling
    before = signals._SIGCHLD_handler_set
    signals._SIGCHLD_handler_set = True
    try:
        yield
    finally:
        signals._SIGCHLD_handler_set = before


class Crew:
    """The workers of one stream of batches; without any, this process loads the data and nothing is watched.

    Args:
        start: starts them, and returns the iterator of a DataLoader.
    """

    watch: Watch | None = None

    def __init__(self, start: Callable[[], _BaseDataLoaderIter]):
        with _without_torchs_handler():
            self.stream = start()
        self.workers: Sequence[BaseProcess] = ()
        if isinstance(self.stream, _MultiProcessingDataLoaderIter):
            self.workers = self.stream._workers
            _utils.signal_handling._remove_worker_pids(id(self.stream))
            self.stream._worker_pids_set = False
            self.watch = Watch(self.workers)

    def next(self) -> Batch:
        """Return the next batch.

        Raises:
            LostProcess: a worker has ended, so that the batch is lost.
        """
        if self.watch is None:
            return next(self.stream)
        try:
            with self.watch.waiting():
                return next(self.stream)
        except Exception as e:  # whatever comes of reading from a worker that is gone
            if isinstance(e, (OSError, EOFError, RuntimeError)):  # what it held open closes before it has ended
                ending = connection.wait([worker.sentinel for worker in self.workers], timeout=ENDING)
                for worker in self.workers:
                    worker.join(ENDING if worker.sentinel in ending else 0)
            if not (lost := self.lost()):
                raise
            raise LostProcess(" ".join(self._describe(worker) for worker in lost)) from e

    def __del__(self) -> None:
        if self.watch is not None:
            self.watch.stop()

    def lost(self) -> list[BaseProcess]:
        """Return the workers that have ended."""
        return [worker for worker in self.workers if not worker.is_alive()]

    def _describe(self, worker: BaseProcess) -> str:
        code = worker.exitcode or 0
        why = f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
        memory = ", as a system does that is short of memory" if code == -signal.SIGKILL else ""
        ended = self.watch.ended if self.watch else {}
        return f"Loader process {worker.pid} {ended.get(worker.pid) or why + memory}."

    def close(self) -> None:
        """End the workers; by force if one of them is lost or stopped, since its locks are never released."""
        if self.watch is None or not isinstance(self.stream, _MultiProcessingDataLoaderIter):
            return
        self.watch.stop()
        if not self.lost() and not any(map(is_stopped, self.workers)):
            self.stream._shutdown_workers()
            return
        self.stream._shutdown = True  # nothing is left for torch to end
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.join(5)
        for queue in self.stream._index_queues:
            queue.cancel_join_thread()
            queue.close()
        if hasattr(self.stream, "_pin_memory_thread_done_event"):
            self.stream._pin_memory_thread_done_event.set()


def say_lost(error: LostProcess, losses: int) -> None:
    """Warn of lost workers, which are replaced; raise LostProcess if that keeps happening."""
    if losses >= LOSSES:
        raise LostProcess(
            f"{error} It is the {losses}. loss without a batch between them. Fewer processes (workers=1, or workers=0 "
            "for none) need less memory, and so do smaller batches and cache=False."
        ) from error
    LOGGER.warning(f"WARNING ⚠️ {error} New processes load its batch again; nothing is lost.")
