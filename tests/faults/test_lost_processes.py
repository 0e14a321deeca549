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
from ultralytics.utils.errors import DataError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked, and found in /proc")


def out_of_luck(trainer: Any) -> None:
    raise RuntimeError("out of luck")


def mistaken(trainer: Any) -> None:
    raise DataError("The labels of 'cats' are gone.")


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


def run_with(settings: dict, rank: int, event: str, fault: Callable[[Any], None], log: Path) -> tuple[int, str, float]:
    """Train, and let a fault befall one rank when it comes to the sixth batch, or to an event that is not of batches.

    Returns:
        The launcher's exit code, when all processes have ended.
        What they wrote.
        Seconds from the fault to that end.
    """
    began = log.with_name("began")

    def befall(engine) -> None:
        if int(os.environ["RANK"]) == rank and (event != "on_train_batch_start" or engine.iteration == 4):
            began.touch()
            fault(engine)

    def name_processes(trainer) -> None:
        if trainer.iteration == 1:
            line = " ".join(map(str, ["\nProcesses:", os.getpid(), *children(os.getpid())]))
            os.write(1, f"{line}\n".encode())  # at once, as the other rank writes to the same file

    def work() -> None:  # the ranks are forked, and have the callbacks, too
        callbacks.default_callbacks["on_train_batch_start"].append(name_processes)
        callbacks.default_callbacks[event].append(befall)
        killing.train(settings)

    code = wait(fork(work, log))
    took = time.time() - began.stat().st_mtime
    said = log.read_text()
    processes = re.findall("^Processes: (.*)", said, re.MULTILINE)
    assert event == "on_train_start" or len(processes) == 2, said
    await_end([int(n) for line in processes for n in line.split()])
    return code, said, took


@pytest.fixture
def last(two_processes: dict) -> Path:
    """The state that the run keeps."""
    return Path(two_processes["project"]) / "killed/weights/last.pt"


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (out_of_luck, ["out of luck", "failed with exit code 1, that of rank 1"]),
        pytest.param(killed, ["rank 1 was ended by SIGKILL"], marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_ends_takes_all_with_it_within_a_minute(two_processes, log, last, fault, words):
    """Its own traceback comes first, if it has any."""
    code, said, took = run_with(two_processes, 1, "on_train_batch_start", fault, log)
    places = [said.find(w) for w in words]
    assert -1 not in places and places == sorted(places), said
    assert code == 1 and took < 60 and f"yolo train resume model={last}" in said
    if fault is out_of_luck:
        own = said[said.index("Traceback") :].partition("Traceback")[2]
        assert own.index("in out_of_luck") < own.index("RuntimeError: out of luck")
        return  # spares a run
    killing.finish(two_processes, log)
    assert killing.is_finished(last.parents[1])


LIMIT = 10  # seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "rank", "event", "words"),
    [
        (sleeping, 1, "on_train_batch_start", f"Rank 0 has waited {LIMIT} s (ddp_timeout) for the others"),
        (stopped, 1, "on_train_batch_start", f"Rank 0 has waited {LIMIT} s (ddp_timeout) for the others"),
        (stopped, 0, "on_val_batch_start", f"Rank 0 has sent no heartbeat for {LIMIT} s (ddp_timeout)"),
    ],
)
def test_a_rank_that_stands_still_ends_the_run(two_processes, log, last, fault, rank, event, words):
    """After the limit the agent gives the rank half a minute to end by itself."""
    code, said, took = run_with({**two_processes, "ddp_timeout": LIMIT}, rank, event, fault, log)
    assert code == 1 and words in said and f"yolo train resume model={last}" in said, said
    assert LIMIT <= took < LIMIT + 60
    killing.finish(two_processes, log)
    assert killing.is_finished(last.parents[1])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 2.5])
def test_a_long_validation_is_waited_for(two_processes, log, last, share):
    """Of the limit of a collective, for which the other rank waits."""
    wait_long = lambda validator: time.sleep(share * LIMIT)  # noqa: E731
    settings = {**two_processes, "epochs": 1, "ddp_timeout": LIMIT}
    code, said, _ = run_with(settings, 0, "on_val_start", wait_long, log)
    assert code == 0 and killing.is_finished(last.parents[1]), said


@pytest.mark.slow
def test_a_mistake_of_the_users_is_one_sentence(two_processes, log):
    code, said, _ = run_with(two_processes, 1, "on_train_batch_start", mistaken, log)
    assert code == 1 and said.count("The labels of 'cats' are gone.") == 1
    assert said.count("Traceback") == 1 and "ultralytics.utils.errors.UserError: The labels" in said  # the launcher's
    assert "closing signal" not in said and "rank 1" not in said  # nor does the agent say anything


def test_no_process_outlives_the_launcher(two_processes, log, monkeypatch):
    """Neither ranks nor their loader processes."""
    monkeypatch.setattr("ultralytics.models.yolo.detect.train.loader_processes", lambda workers, device: workers)
    kill = lambda trainer: os.kill(os.getppid(), signal.SIGKILL)  # noqa: E731
    code, said, _ = run_with({**two_processes, "batch": 4, "workers": 1}, 1, "on_train_batch_start", kill, log)
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
    code, said, _ = run_with({**two_processes, "autosave": 0}, 1, "on_train_start", lambda trainer: None, log)
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
    code, said, _ = run_with({**two_processes, "autosave": 0}, 0, event, send(number), log)
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
def test_a_run_that_is_stopped_as_a_whole_goes_on(two_processes, log):
    """For less than the limit."""
    held, go = [log.with_name(f"held{rank}") for rank in range(2)], log.with_name("go")

    def hold(trainer: Any) -> None:
        if trainer.iteration == 4:
            held[int(os.environ["RANK"])].touch()
            while not go.exists():
                time.sleep(0.01)

    def work() -> None:
        callbacks.default_callbacks["on_train_batch_start"].append(hold)
        killing.train({**two_processes, "ddp_timeout": 60})

    process = fork(work, log)
    while not all(file.exists() for file in held) and is_alive(process):
        time.sleep(0.05)
    processes = [process, *children(process)]
    assert len(processes) == 3, log.read_text()
    for one in processes:
        os.kill(one, signal.SIGSTOP)
    go.touch()
    time.sleep(10)
    for one in processes:
        os.kill(one, signal.SIGCONT)
    assert wait(process) == 0, log.read_text()
