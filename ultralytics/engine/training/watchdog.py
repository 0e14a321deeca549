"""A watch over the processes of one training: where one hangs, stops or is lost, all end instead of waiting for ever.

Processes that train together wait for each other many times a batch. So each of them tells the others every second how
far it is: the number of meetings (collective operations) it has gone to, and of beats since the last of them. One that
waits for others is ahead of them; the one that is behind and stands still hangs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ultralytics.utils.errors import ConfigError

LIMIT = 40.0  # seconds without a step of training, or without a sign of life; YOLO_HANG_SECONDS is another, 0 none
FIRST = 1800.0  # seconds for what comes for the first time: compilation, the first look at all images, a long scoring
TIMES = 20  # what took long before may take so much longer
TICK = 1.0  # seconds between two looks
BEGIN, END = "on_train_start", "training is over"  # between these beats a process that stands still hangs
FAILED = "failed"  # where the store holds the rank that failed first
_MEETING = "meeting"


class Verdict(NamedTuple):
    """Why this process is to end."""

    words: str
    rank: int  # that is the cause
    stack: bool = False  # whether this process is the cause, so that its stack belongs to the message


class Peer:
    """What is known of another process."""

    def __init__(self):
        self.said = ""  # as it stands in the store
        self.silent = 0.0  # seconds
        self.progress, self.process, self.started, self.machine, self.gone = (0, 0), 0, "", "", False

    def hear(self, said: str, seconds: float) -> None:
        """Take in what the store holds after so many more seconds."""
        if said == self.said:
            self.silent += seconds
            return
        self.said, self.silent = said, 0.0
        _, *progress, self.process, self.started, self.machine, self.gone = json.loads(said)
        self.progress = tuple(progress)


class Watchdog:
    """The watch of one process; `beat` and `meeting` are called by its training, the rest runs in two threads.

    Time counts only while the watch itself runs, so that Ctrl-Z, a suspended machine or a crowded one is no hang.

    Args:
        store: that all processes share (`torch.distributed.Store`).
        rank: of this process.
        world: number of processes.
        limit: seconds.
    """

    def __init__(self, store: Any, rank: int, world: int, limit: float):
        self.store, self.rank, self.limit = store, rank, limit
        self.peers = {r: Peer() for r in range(world) if r != rank}
        self.started, self.machine = _started(os.getpid()), _machine()
        self.progress, self.kind, self.armed = (0, 0), "", False
        self.slowest: dict[str, float] = {_MEETING: 4 * limit / TIMES}  # seconds, by the kind of beat that came before
        self.still = self.stuck = 0.0  # seconds without a step, and those in which nobody was behind this process
        self.first_failed: int | None = None
        self._since, self._seen = time.monotonic(), (0, 0)
        self._heard: list[str] = []  # of the peers
        self._ticks = self._answers = self._judged = 0
        self._unanswered = self._waited = 0.0  # seconds
        self._lost = ""  # what broke the store
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    # Called by the training -------------------------------------------------------------------------------------------

    def beat(self, kind: str, meets: bool = False) -> None:
        """Note a step; `kind` says what comes now, and has a limit of its own."""
        now = time.monotonic()
        if self.armed and self.kind != _MEETING:
            took = min(now - self._since, self.still + 2 * TICK)  # not the hours of a Ctrl-Z
            self.slowest[self.kind] = max(self.slowest.get(self.kind, 0.0), took)
        meetings, beats = self.progress
        self.kind, self._since = kind, now
        self.progress = (meetings + 1, 0) if meets else (meetings, beats + 1)
        self.armed = kind == BEGIN or (self.armed and kind != END)

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """In this block all processes wait for each other."""
        before = self.kind
        self.beat(_MEETING, meets=True)
        try:
            yield
        finally:
            self.beat(f"{before}+")

    def claim(self) -> int:
        """Say that this rank has failed; return the rank that failed first, which may be another."""
        claimed = [self.rank]

        def ask() -> None:
            with suppress(RuntimeError):
                claimed[0] = int(self.store.compare_set(FAILED, "", str(self.rank)))

        thread = threading.Thread(target=ask, daemon=True)  # a store that is lost may never answer
        thread.start()
        thread.join(3)
        return claimed[0]

    def start(self) -> None:
        """Begin to watch."""
        self.store.set(str(self.rank), self._report())
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._talk, self._watch)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the watch; the others are told that this process leaves."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)

    # In threads of their own ------------------------------------------------------------------------------------------

    def _talk(self) -> None:
        try:
            while not self._stop.wait(TICK):
                self.exchange()
            self.store.set(str(self.rank), self._report(gone=True))
        except (RuntimeError, ValueError) as e:  # of which torch's store errors are kinds
            self._lost = str(e).partition("\n")[0] or type(e).__name__

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(TICK):
            now = time.monotonic()
            verdict = self.judge(min(now - last, 2 * TICK))
            last = now
            if verdict and not self._stop.is_set():
                self._end(verdict)

    def exchange(self) -> None:
        """Tell the others how far this process is, and hear from them."""
        self._ticks += 1
        self.store.set(str(self.rank), self._report())
        said = self.store.multi_get([str(r) for r in self.peers])
        if self.first_failed is None and self.store.check([FAILED]):
            self.first_failed = int(self.store.get(FAILED))
        self._heard = [s.decode() for s in said]
        self._answers += 1

    def _report(self, gone: bool = False) -> str:
        return json.dumps([self._ticks, *self.progress, os.getpid(), self.started, self.machine, gone])

    def judge(self, seconds: float) -> Verdict | None:
        """Return why this process has to end, if it has to, after so many more seconds."""
        self._unanswered += seconds
        if self._answers > self._judged:
            self._judged = self._answers
            for peer, said in zip(self.peers.values(), self._heard):
                peer.hear(said, self._unanswered)
            self._unanswered = 0.0
        return self._of_failed(seconds) or self._of_store(seconds) or self._of_silent() or self._of_own(seconds)

    def _of_failed(self, seconds: float) -> Verdict | None:
        if self.first_failed in {None, self.rank}:
            return None
        self._waited += seconds  # its own words shall come first
        return Verdict("", self.first_failed) if self._waited > 5 else None

    def _of_store(self, seconds: float) -> Verdict | None:
        if self._lost or self._unanswered > self.limit:
            why = self._lost or f"it has not answered for {self._unanswered:.0f} s"
            return Verdict(f"The process that keeps all ranks together is lost ({why}).", self.rank)
        return None

    def _of_silent(self) -> Verdict | None:
        for rank, peer in self.peers.items():
            if peer.silent > self.limit and not peer.gone:
                where = f"process {peer.process} on {peer.machine.partition(' ')[0]}"
                words = f"Rank {rank} ({where}) has given no sign of life for {peer.silent:.0f} s"
                return Verdict(f"{words}: it is stopped or lost.", rank)
        return None

    def _of_own(self, seconds: float) -> Verdict | None:
        moved, self._seen = self.progress != self._seen, self.progress
        behind = any(p.progress < self.progress and not p.gone for p in self.peers.values())
        self.still = 0.0 if moved else self.still + seconds
        unknown = self._unanswered > 5 * TICK
        self.stuck = 0.0 if moved or behind or unknown or not self.armed else self.stuck + seconds
        limit = max(self.limit, TIMES * self.slowest.get(self.kind, FIRST / TIMES))
        if self.stuck <= limit or (self.stuck <= limit + 5 and _waits_inside_torch()):
            return None
        for rank, peer in self.peers.items():
            if peer.gone:
                return Verdict(f"Rank {rank} has left the training.", rank)
        words = f"Rank {self.rank} hangs: no step of training for {self.still:.0f} s, and the others wait for it."
        return Verdict(words, self.rank, stack=True)

    # The end ----------------------------------------------------------------------------------------------------------

    def _end(self, verdict: Verdict) -> None:
        """Say why and end this process, whatever its main thread does; its loader processes end with it."""
        peer = self.peers.get(verdict.rank)
        is_here = peer and peer.machine == self.machine and peer.started and peer.started == _started(peer.process)
        if is_here and verdict.words and not peer.gone:
            with suppress(OSError):  # it prints where it stands, and ends
                os.kill(peer.process, signal.SIGABRT)
                os.kill(peer.process, signal.SIGCONT)
                time.sleep(3)
        words, first = verdict.words, self.claim()
        if first != self.rank:
            words = f"Rank {self.rank} ends, because rank {first} has failed: see its own words."
        elif verdict.stack:
            words = f"{words} It stands here:\n{main_stack()}"
        if first == self.rank:
            words = (
                f"{words}\nTraining ends. The same command with resume=auto goes on from the last state that was saved."
                f" YOLO_HANG_SECONDS sets the limit (now {self.limit:g}; 0 for none)."
            )
        with suppress(OSError):
            os.write(2, f"\n{words}\n".encode(errors="replace"))
        os._exit(1)


def _machine() -> str:
    """Return what only processes have in common that can send each other signals: the host and its numbering."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> str:
    """Return when a process began, so that another with the same number is not taken for it; "" if that is unknown."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _waits_inside_torch() -> bool:
    """Tell whether the main thread stands in what torch does together, of which no meeting tells."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    return bool(frame) and Path(frame.f_code.co_filename).parent.name in {"parallel", "distributed"}


def main_stack() -> str:
    """Return where the main thread stands, the latest call last."""
    frame = sys._current_frames().get(threading.main_thread().ident)
    return "".join(traceback.format_stack(frame)) if frame else ""


# The watch of this process --------------------------------------------------------------------------------------------

_watchdog: Watchdog | None = None


def start(rank: int, world: int) -> Watchdog | None:
    """Watch over this process and its peers, which have met; None if nobody is to."""
    global _watchdog
    limit = _limit()
    if world > 1 and limit > 0:
        from torch import distributed as dist

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timedelta(minutes=5))
        _watchdog = Watchdog(_part(store, os.getenv("TORCHELASTIC_RESTART_COUNT", "0")), rank, world, limit)
        _watchdog.start()
    return _watchdog


def _part(store: Any, attempt: str = "0") -> Any:
    """Return the watch's part of a store, in one of the attempts to train that torchrun may make."""
    from torch import distributed as dist

    return dist.PrefixStore(f"watch{attempt}", store)


def first_failed(store: Any, otherwise: int) -> int:
    """Return the rank that has said that it failed before all others did, if one has."""
    part = _part(store)
    return int(part.get(FAILED)) if part.check([FAILED]) else otherwise


def _limit() -> float:
    given = os.getenv("YOLO_HANG_SECONDS") or LIMIT
    try:
        return max(float(given), 0.0)
    except ValueError:
        raise ConfigError(f"YOLO_HANG_SECONDS={given} is no number of seconds; 0 means no limit.") from None


def stop() -> None:
    """Watch no longer."""
    global _watchdog
    if _watchdog:
        _watchdog.stop()
    _watchdog = None


def beat(kind: str) -> None:
    """Note that training goes on; `kind` says what comes now."""
    if _watchdog:
        _watchdog.beat(kind)


def meeting() -> AbstractContextManager:
    """In this block all processes of a training wait for each other."""
    return _watchdog.meeting() if _watchdog else nullcontext()
