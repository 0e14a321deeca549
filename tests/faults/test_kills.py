"""A training that is killed at any moment and started again ends with the same bits as one that was never stopped."""

from __future__ import annotations

import csv
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import killing
import pytest
import torch
from killing import KILLED, fork, kill_after, train, wait
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.nn.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which this system cannot")
EPOCHS = 4
SIDE_BY_SIDE = min(os.cpu_count() or 1, 4)  # processes that share hundreds of runs out


@pytest.fixture
def settings(work_dir: Path, tiny_data: Path) -> dict:
    """A run whose steps fall across the seams of epochs, and which saves within epochs, too."""
    return {
        **FAST, "model": tiny_model(work_dir), "data": str(tiny_data), "epochs": EPOCHS,
        "project": str(work_dir / "runs"), "name": "killed", "batch": 2, "nbs": 6, "close_mosaic": 1,
        "save_period": 2, "autosave": 1e-6,
    }  # fmt: skip


@pytest.fixture
def log(work_dir: Path) -> Path:
    """Where the processes write."""
    return work_dir / "log.txt"


@pytest.fixture
def whole(settings: dict, log: Path, work_dir: Path) -> tuple[dict, str, float]:
    """The run that nothing disturbs: its final weights, its results.csv, and how long it took."""
    start = time.monotonic()
    killing.finish({**settings, "name": "whole"}, log)
    run = work_dir / "runs/whole"
    return killing.final_state(run), (run / "results.csv").read_text(), time.monotonic() - start


def assert_same_end(run: Path, whole: tuple[dict, str, float]) -> None:
    """Compare a run with the undisturbed one, bit by bit."""
    weights, table, _ = whole
    found = killing.final_state(run)
    assert found.keys() == weights.keys()
    assert not [name for name, tensor in weights.items() if not torch.equal(tensor, found[name])]
    assert (run / "results.csv").read_text() == table
    with (run / "results.csv").open() as file:
        epochs = [int(float(row[0])) for row in list(csv.reader(file))[1:]]
    assert epochs == [*range(1, len(epochs) + 1)]
    names = {f.name for f in (run / "weights").iterdir()}
    assert names == {f.name for f in (run.parent / "whole" / "weights").iterdir()}


def killed_at_random(settings: dict, whole: tuple[dict, str, float], times: int, seed: int, log: Path) -> int:
    """Kill each of some runs several times at random moments, finish it, and compare; return the number of kills."""
    draw, kills = random.Random(seed), 0
    run = Path(settings["project"]) / settings["name"]
    while kills < times:
        for _ in range(3):
            if kills < times and not killing.is_finished(run):
                kills += kill_after(settings, draw.uniform(0, whole[2]), log)
        killing.finish(settings, log)
        assert_same_end(run, whole)
        for file in sorted(run.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        run.rmdir()
    return kills


def at_call(settings: dict, on_call: Callable[[int, str], None], log: Path) -> int:
    """Run the command with `on_call(n, name)` before each call that writes a file; return the exit code."""

    def work() -> None:
        with killing.counted_calls(on_call, Path(settings["project"]).resolve()):
            train(settings)

    return wait(fork(work, log))


def calls_of(settings: dict, log: Path) -> list[int]:
    """Return the numbers of a run's calls; of the many writes of one file the first, the middle and the last one."""
    names = Path(settings["project"]) / "calls.txt"
    names.parent.mkdir(exist_ok=True)
    with names.open("a") as file:
        noted = lambda _n, name: os.write(file.fileno(), f"{name}\n".encode())  # noqa: E731
        assert at_call({**settings, "name": "counted"}, noted, log) == 0, log.read_text()[-3000:]
    numbers = []
    for name, group in itertools.groupby(enumerate(names.read_text().split(), 1), key=lambda call: call[1]):
        same = [number for number, _ in group]
        numbers += [same[0], same[len(same) // 2], same[-1]] if name == "write" and len(same) > 2 else same
    return numbers


def killed_at_call(settings: dict, number: int, log: Path) -> int:
    """Kill the run at its n-th call of the system that writes a file; return the exit code."""

    def strike(n: int, name: str) -> None:
        if n == number:
            os.write(2, f"killed at call {n}: {name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    return at_call(settings, strike, log)


@pytest.mark.slow
def test_killed_at_a_random_moment(settings, whole, log):
    assert killed_at_random(settings, whole, 1, 0, log) == 1


@pytest.mark.slow
def test_killed_at_thirty_random_moments(settings, whole, log):
    assert killed_at_random(settings, whole, 30, 1, log) == 30


@pytest.mark.parametrize("part", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_killed_at_calls_of_the_write_path(settings, log, work_dir, part):
    """From the first folder made to the last file removed: each call is the last one of a run, which then goes on."""
    settings |= {"epochs": 2, "batch": 4, "nbs": 8, "save_period": 1, "autosave": 0}
    killing.finish({**settings, "name": "whole"}, log)
    weights, table = killing.final_state(work_dir / "runs/whole"), (work_dir / "runs/whole/results.csv").read_text()
    numbers = calls_of(settings, log)
    assert len(numbers) > 80
    wanted = numbers if part == "all" else numbers[7::80]

    def kill_at(share: list[int]) -> None:
        for number in share:
            own = {**settings, "name": f"at{number}"}
            assert killed_at_call(own, number, log) == KILLED
            killing.finish(own, log)
            assert_same_end(work_dir / "runs" / own["name"], (weights, table, 0))

    shares = [wanted[i::SIDE_BY_SIDE] for i in range(SIDE_BY_SIDE)]
    codes = [wait(process) for process in [fork(lambda share=share: kill_at(share), log) for share in shares]]
    assert not any(codes), log.read_text()[-3000:]


def signalled_at_batch(settings: dict, batch: int, number: int, log: Path) -> int:
    """Let a run get a signal as it begins a batch, counted from 0 through all epochs; return the exit code."""

    def strike(trainer) -> None:
        if trainer.iteration == batch - 1:
            os.kill(os.getpid(), number)

    def work() -> None:
        model = YOLO(settings["model"])
        model.add_callback("on_train_batch_start", strike)
        model.train(**settings)

    return wait(fork(work, log))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_the_batch_and_keeps_its_state(settings, whole, log, number):
    assert signalled_at_batch({**settings, "autosave": 0}, 6, number, log) == 128 + number
    run = Path(settings["project"]) / settings["name"]
    assert f"yolo train resume model={run / 'weights/last.pt'}" in log.read_text()
    ckpt = load_checkpoint(run / "weights/last.pt")
    assert (ckpt["epoch"], ckpt["batches"]) == (0, 3)
    killing.finish(settings, log)
    assert_same_end(run, whole)


def test_a_damaged_last_state_gives_way_to_the_one_before(settings, whole, log):
    assert signalled_at_batch(settings, 6, signal.SIGKILL, log) == KILLED
    run = Path(settings["project"]) / settings["name"]
    last = run / "weights/last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    killing.finish(settings, log)
    assert "The state before it is taken" in log.read_text()
    assert_same_end(run, whole)
