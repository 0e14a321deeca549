"""A training in several processes ends, on all of them, when one fails, hangs, is stopped, or gets a signal."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killing
import pytest
from killing import fork, wait
from processes import await_end, children, is_alive

from ultralytics.engine import callbacks
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked, and found in /proc")


def out_of_luck(trainer: Any) -> None:
    raise RuntimeError("out of luck")


def sleeping(trainer: Any) -> None:
    time.sleep(3600)


def stopped(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def killed(trainer: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def signal_to_itself(number: int) -> Callable[[Any], None]:
    return lambda validator: os.kill(os.getpid(), number)


def signal_by_launcher(number: int) -> Callable[[Any], None]:
    """Return what sends the launcher a signal, and stays in this batch until the launcher has passed it on."""

    def send(trainer: Any) -> None:
        os.kill(os.getppid(), number)
        while not trainer.interrupts.received:
            time.sleep(0.01)

    return send


def run_with(settings: dict, rank: int, event: str, fault: Callable[[Any], None], log: Path) -> tuple[int, str]:
    """Train, and let a fault befall one rank when it comes to the sixth batch, or to an event that is not of batches.

    Returns:
        The launcher's exit code, when all processes have ended.
        What they wrote.
    """

    def befall(engine) -> None:
        at_batch = event == "on_train_batch_start"
        if at_batch and engine.iteration == 3:
            print("Processes:", os.getpid(), *children(os.getpid()), flush=True)
        if int(os.environ["RANK"]) == rank and (engine.iteration == 4 if at_batch else True):
            fault(engine)

    def work() -> None:
        callbacks.default_callbacks[event].append(befall)  # the ranks are forked, and have it, too
        killing.train(settings)

    code = wait(fork(work, log))
    said = log.read_text()
    await_end([int(n) for line in re.findall("^Processes: (.*)", said, re.MULTILINE) for n in line.split()])
    return code, said


@pytest.fixture
def last(two_processes: dict) -> Path:
    """The state that the run keeps."""
    return Path(two_processes["project"]) / "killed/weights/last.pt"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (out_of_luck, ["out of luck", "failed with exit code 1, that of rank 1"]),
        pytest.param(
            sleeping,
            ["Rank 1 hangs", "in sleeping", "failed with exit code 1, that of rank 1"],
            marks=pytest.mark.slow,
        ),
        pytest.param(killed, ["rank 1 was ended by SIGKILL"], marks=pytest.mark.slow),
        pytest.param(
            stopped,
            ["in stopped", "Rank 1 (process", "no sign of life", "rank 1 was ended by SIGABRT"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_lost_rank_ends_the_run(two_processes, log, last, monkeypatch, fault, words):
    monkeypatch.setenv("YOLO_HANG_SECONDS", "8")
    code, said = run_with(two_processes, 1, "on_train_batch_start", fault, log)
    places = [said.find(w) for w in words]
    assert -1 not in places and places == sorted(places), said
    assert code == 1 and f"yolo train resume model={last}" in said
    if fault is not out_of_luck:  # spares a run
        killing.finish(two_processes, log)
        assert killing.is_finished(last.parents[1])


@pytest.mark.slow
def test_a_lost_rank_ends_the_run_within_a_minute(two_processes, log, monkeypatch):
    """With the limit that users have: the time is that from the fault to the end of all."""
    monkeypatch.delenv("YOLO_HANG_SECONDS", raising=False)
    for fault in (sleeping, stopped):
        began = log.with_name("began")

        def at_last(trainer: Any, fault=fault, began=began) -> None:
            began.touch()
            fault(trainer)

        run_with({**two_processes, "name": fault.__name__}, 1, "on_train_batch_start", at_last, log)
        assert time.time() - began.stat().st_mtime < 60


def test_no_process_outlives_the_launcher(two_processes, log, monkeypatch):
    """Neither ranks nor their loader processes."""
    monkeypatch.setattr("ultralytics.models.yolo.detect.train.loader_processes", lambda workers, device: workers)
    kill = lambda trainer: os.kill(os.getppid(), signal.SIGKILL)  # noqa: E731
    code, said = run_with({**two_processes, "batch": 4, "workers": 1}, 1, "on_train_batch_start", kill, log)
    assert code == killing.KILLED
    assert all(len(line.split()) > 1 for line in re.findall("^Processes: (.*)", said, re.MULTILINE))


@pytest.mark.slow
def test_numbers_that_are_none_on_one_rank(two_processes, log, monkeypatch):
    """All ranks go on from the last state, once, and the words are those of the rank whose images were bad."""
    whole = DetectionTrainer.preprocess_batch

    def spoiled(trainer, batch: dict) -> dict:
        batch = whole(trainer, batch)
        if os.environ["RANK"] == "1" and trainer.iteration in {5, 9}:
            batch["img"][:] = float("nan")
        return batch

    monkeypatch.setattr(DetectionTrainer, "preprocess_batch", spoiled)
    code, said = run_with({**two_processes, "autosave": 0}, 1, "on_train_start", lambda trainer: None, log)
    assert code == 1
    once, twice = (
        said.index("The loss is nan in epoch 2, batch 2. The images"),
        said.index("The loss is nan in epoch 3"),
    )
    assert once < said.index("training goes on") < twice < said.index("so training ends")
    assert "Rank" not in said


@pytest.mark.parametrize(
    ("event", "send", "number", "epoch", "batches"),
    [
        ("on_train_batch_start", signal_by_launcher, signal.SIGINT, 0, None),
        pytest.param("on_train_batch_start", signal_by_launcher, signal.SIGTERM, 0, None, marks=pytest.mark.slow),
        pytest.param("on_val_batch_start", signal_to_itself, signal.SIGTERM, -1, 4, marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_all_in_good_order(two_processes, log, last, event, send, number, epoch, batches):
    """The launcher gets it during a batch, or rank 0 itself gets it during the first validation."""
    code, said = run_with({**two_processes, "autosave": 0}, 0, event, send(number), log)
    assert code == 128 + number, said
    assert said.count(f"yolo train resume model={last}") == 1 and "Traceback" not in said, said
    ckpt = load_checkpoint(last)
    assert len(ckpt["ranks"]) == 2 and ckpt["epoch"] == epoch
    assert ckpt["batches"] == batches if batches else ckpt["batches"] > 0


@pytest.mark.slow
def test_a_second_signal_ends_all_at_once(two_processes, log):
    def two_signals(trainer: Any) -> None:
        os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(3600)  # a batch that takes its time

    assert run_with(two_processes, 1, "on_train_batch_start", two_signals, log)[0] == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_run_that_is_stopped_as_a_whole_goes_on(two_processes, log, monkeypatch):
    """As by Ctrl-Z and fg: time in which the watch does not run is no hang."""
    monkeypatch.setenv("YOLO_HANG_SECONDS", "20")
    held, go = [log.with_name(f"held{rank}") for rank in range(2)], log.with_name("go")

    def hold(trainer: Any) -> None:
        if trainer.iteration == 4:
            held[int(os.environ["RANK"])].touch()
            while not go.exists():
                time.sleep(0.01)

    def work() -> None:
        callbacks.default_callbacks["on_train_batch_start"].append(hold)
        killing.train(two_processes)

    process = fork(work, log)
    while not all(file.exists() for file in held) and is_alive(process):
        time.sleep(0.05)
    processes = [process, *children(process)]
    assert len(processes) == 3, log.read_text()
    for one in processes:
        os.kill(one, signal.SIGSTOP)
    go.touch()
    time.sleep(25)
    for one in processes:
        os.kill(one, signal.SIGCONT)
    assert wait(process) == 0, log.read_text()
