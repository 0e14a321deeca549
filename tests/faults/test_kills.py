"""A training that is killed at any moment and started again ends with the same bits as one that was never stopped."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
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
        assert [int(float(row[0])) for row in list(csv.reader(file))[1:]] == [*range(1, EPOCHS + 1)]
    names = {f.name for f in (run / "weights").iterdir()}
    assert names == {"last.pt", "best.pt", *(f"epoch{n}.pt" for n in range(2, EPOCHS + 1, 2))}


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


def killed_at_call(settings: dict, number: int, log: Path) -> int:
    """Kill the run at its n-th call of the system that writes a file; return the exit code."""

    def at_call(n: int, name: str) -> None:
        if n == number:
            os.write(2, f"killed at call {n}: {name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        with killing.counted_calls(at_call, Path(settings["project"]).resolve()):
            train(settings)

    return wait(fork(work, log))


def test_killed_at_random_moments(settings, whole, log):
    assert killed_at_random(settings, whole, 3, 0, log) == 3


@pytest.mark.slow
def test_killed_at_thirty_random_moments(settings, whole, log):
    assert killed_at_random(settings, whole, 30, 1, log) == 30


@pytest.mark.parametrize("part", ["some", pytest.param("all", marks=pytest.mark.slow)])
def test_killed_at_calls_of_the_write_path(settings, whole, log, part):
    """A run is killed at its first call, goes on and is killed at that run's second one, and so on, to its end."""
    run, number, step = Path(settings["project"]) / settings["name"], 1, 1 if part == "all" else 67
    kills = 0
    while (code := killed_at_call(settings, number, log)) == KILLED:
        kills, number = kills + 1, number + step
    assert code == 0, log.read_text()[-3000:]
    assert kills > (40 if part == "all" else 2)
    assert_same_end(run, whole)


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
