"""A training whose loader processes are killed or stopped ends as one that nothing disturbed, or can be resumed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny import FAST, tiny_model

from ultralytics.data.workers import LostProcess, is_stopped
from ultralytics.models.yolo.detect import DetectionTrainer

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads /proc")


class Quick(DetectionTrainer):
    """Leaves out the last validation."""

    def final_eval(self) -> None:
        pass


@pytest.fixture
def long_val(tiny_data_copy: Path) -> Path:
    """The data YAML of a dataset whose validation is longer than what its processes load ahead (2 batches each)."""
    data = yaml.safe_load(tiny_data_copy.read_text(encoding="utf-8"))
    images = sorted((tiny_data_copy.parent / data["val"]).iterdir())
    (tiny_data_copy.parent / "val.txt").write_text("".join(f"{image}\n" for image in images * 6), encoding="utf-8")
    tiny_data_copy.write_text(yaml.safe_dump({**data, "val": "val.txt"}), encoding="utf-8")
    return tiny_data_copy


@pytest.fixture
def train(work_dir: Path, long_val: Path, impatient: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Quick]:
    """Train with two loader processes, of which a stopped one is ended soon, and functions by event."""
    monkeypatch.setattr("ultralytics.models.yolo.detect.train.loader_processes", lambda wanted, device: wanted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)

    def run(callbacks: dict | None = None, **settings) -> Quick:
        own = {"model": tiny_model(work_dir), "data": str(long_val), "epochs": 3, "batch": 2, "project": "runs"}
        trainer = Quick(overrides=settings if "resume" in settings else {**FAST, **own, "workers": 2, **settings})
        for event, function in (callbacks or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return run


def lose(trainer: Quick, number: int, validation: bool = False) -> None:
    """Send a signal to a process that loads for a trainer, and wait until it has arrived."""
    worker = (trainer.test_loader if validation else trainer.train_loader)._stream._workers[0]
    os.kill(worker.pid, number)
    until = time.time() + 20
    while time.time() < until and not (is_stopped(worker) or not worker.is_alive()):
        time.sleep(0.01)


def same(a: Quick, b: Quick) -> bool:
    one, other = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(one[k], other[k]) for k in one) and a.csv.read_text() == b.csv.read_text()


@pytest.mark.parametrize(
    ("number", "validation"),
    [
        (signal.SIGKILL, False),
        (signal.SIGSTOP, True),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((signal.SIGKILL, True), (signal.SIGSTOP, False))),
    ],
)
def test_a_lost_loader_process_changes_nothing(train, caplog, number: int, validation: bool):
    def strike(trainer: Quick) -> None:
        if trainer.iteration == 5:  # within the second epoch
            lose(trainer, number, validation)

    whole, struck = train(name="whole", workers=0), train({"on_train_batch_end": strike}, name="struck")
    assert same(whole, struck)
    assert sum("Loader process" in r.message and "nothing is lost" in r.message for r in caplog.records) == 1


def test_what_cannot_load_ends_in_a_state_to_go_on_from(train):
    def strike(trainer: Quick) -> None:
        if trainer.iteration == 5:
            trainer.train_loader.collate_fn = end_this_process
            lose(trainer, signal.SIGKILL)

    whole = train(name="whole", workers=0)
    with pytest.raises(LostProcess, match=r"ended with exit code 3.*workers=1.*Go on with: yolo train resume") as e:
        train({"on_train_batch_end": strike}, name="struck")
    last = re.search(r"resume model=(\S+last\.pt)", str(e.value))[1]
    assert same(whole, train(resume=last))


def end_this_process(samples: list) -> None:
    os._exit(3)
