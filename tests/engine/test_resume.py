"""Which run is gone on with, in which folder, and what is refused; that it ends alike stands in `test_trainer`."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tiny import FAST, LAYERS, tiny_model

from ultralytics import YOLO
from ultralytics.engine.training import state
from ultralytics.engine.training.resume import resume_command
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.system import threads

SMALL = {**FAST, "imgsz": 32, "batch": 8, "epochs": 2}


class Broken(Exception):
    """Stands for whatever ends a process."""


def stop(trainer: DetectionTrainer) -> None:
    raise Broken


def train(callbacks: dict | None = None, **settings) -> DetectionTrainer:
    """Train without a last validation, with functions by event."""

    class Quick(DetectionTrainer):
        def final_eval(self) -> None:
            pass

    trainer = Quick(overrides=settings)
    for event, function in (callbacks or {}).items():
        trainer.add_callback(event, function)
    trainer.train()
    return trainer


@pytest.fixture
def settings(work_dir: Path, tiny_data: Path) -> dict:
    return {**SMALL, "model": tiny_model(work_dir), "data": str(tiny_data), "project": "runs", "name": "a"}


@pytest.fixture
def interrupted(settings: dict) -> Callable[..., Path]:
    """Break a run off after its first epoch; return its last.pt."""

    def run(**own) -> Path:
        found = []
        with pytest.raises(Broken):
            train({"on_fit_epoch_end": lambda t: stop(found.append(t.last))}, **{**settings, **own})
        return found[0]

    return run


def test_a_state_outside_of_its_run_goes_on_in_a_new_folder(interrupted, work_dir: Path):
    """As one copied from another machine; nothing beside it is touched."""
    shutil.move(interrupted(), work_dir / "last.pt")
    shutil.rmtree("runs")
    mine = work_dir / ".mine.tmp"
    mine.touch()
    resumed = train(resume="last.pt", project="runs", name="b")
    assert resumed.save_dir == Path("runs/b") and resumed.start_epoch == 1 and mine.exists()
    assert load_checkpoint(resumed.last)["epoch"] == 1 and resumed.best.exists()
    assert {f.name for f in work_dir.iterdir()} == {"runs", "last.pt", "tiny.yaml", ".mine.tmp"}


def test_the_same_command_names_the_same_model(interrupted, settings: dict, work_dir: Path):
    last = interrupted()
    (work_dir / "other.yaml").write_text(LAYERS, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model=other\.yaml is not the model.*began with model=.*tiny\.yaml"):
        YOLO("other.yaml").train(**{**settings, "model": "other.yaml"}, resume="auto")
    with pytest.raises(ConfigError, match=r"teacher=.* cannot be given"):
        train(**settings, resume="auto", teacher=str(last))
    assert train(**{**settings, "model": str(last)}, resume="auto").start_epoch == 1  # the run's own


def test_a_name_that_ends_with_a_number_is_no_other_run(interrupted, settings: dict):
    interrupted(name="fold[10]")
    assert train(**{**settings, "name": "fold[1]"}, resume="auto").start_epoch == 0
    interrupted(name="fold10")
    first = interrupted(name="fold1")
    assert train(**{**settings, "name": "fold1"}, resume="auto").last.samefile(first)
    assert train(**{**settings, "name": "fold10"}, resume="auto").start_epoch == 1


def test_a_run_that_is_called_after_its_model(interrupted, settings: dict):
    assert interrupted(name="model").parts[-3] == "tiny"
    assert train(**{**settings, "name": "model"}, resume="auto").start_epoch == 1


def test_fewer_epochs_than_are_done_are_refused(interrupted):
    """The run would end at once, and could not be gone on with any more."""
    last = str(interrupted(epochs=4))
    with pytest.raises(Broken):
        train({"on_fit_epoch_end": stop}, resume=last)
    with pytest.raises(ConfigError, match=r"epochs=1 cannot .* has trained 2 epochs already\. .* epochs=2 to end it"):
        train(resume=last, epochs=1)
    assert len(train(resume=last, epochs=2).files.rows) == 2


def test_with_a_time_limit_the_epochs_follow_from_it(settings: dict):
    """They may have become more than the command says, which starts the run again after an interruption."""
    with pytest.raises(Broken):
        train({"on_fit_epoch_end": lambda t: stop(t) if t.epoch == 1 else None}, **{**settings, "epochs": 1}, time=1)
    again = {"on_train_start": lambda t: stop(seen.append((t.epoch, t.epochs)))}
    seen: list[tuple[int, int]] = []
    with pytest.raises(Broken):
        train(again, **{**settings, "epochs": 1}, time=1, resume="auto")
    assert seen[0][0] == 2 and seen[0][1] > 2


def test_other_classes_are_refused(interrupted, tiny_data: Path, work_dir: Path):
    data = yaml.safe_load(tiny_data.read_text()) | {"path": str(tiny_data.parent), "names": ["a", "b", "c"]}
    (work_dir / "three.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"The data have 3 classes, but the run of '.*last\.pt' began with 2\."):
        train(resume=str(interrupted()), data="three.yaml")


@pytest.mark.parametrize(
    ("key", "value"),
    [("ranks", 5), ("args", {"epochs": "many"}), ("stopper", None), ("optimizer", {}), ("train_model", {}), ("cpu", 0)],
)
def test_a_state_that_was_meddled_with_ends_in_a_sentence(interrupted, key: str, value, work_dir: Path):
    last = interrupted()
    ckpt = load_checkpoint(last)
    (ckpt["ranks"][0] if key == "cpu" else ckpt)[key] = value
    save_checkpoint(last, ckpt)
    with pytest.raises((CheckpointError, ConfigError), match=r"^[^\n]*\.$"):
        train(resume=str(last))


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu,cpu"])
def test_a_file_cannot_start_many_processes(interrupted, device, work_dir, monkeypatch):
    last = interrupted()
    ckpt = load_checkpoint(last)
    ckpt["ranks"], ckpt["args"]["device"] = ckpt["ranks"] * 5, device
    save_checkpoint(last, ckpt)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    with pytest.raises(ConfigError, match="began with 5 processes, and this machine has"):
        train(resume=str(last))


def test_other_images_are_said(interrupted, settings: dict, tiny_data_copy: Path, work_dir: Path, log: list[str]):
    """A moved folder has the same ones."""
    last, folder = str(interrupted(data=str(tiny_data_copy))), work_dir / "moved"
    shutil.move(tiny_data_copy.parent, folder)
    data, images = str(folder / tiny_data_copy.name), folder / "images/train"
    said = lambda: [line for line in log if "not those that the run began with" in line]  # noqa: E731
    for change, words in ((None, ""), ("b.jpg", "8, of other names")):
        if change:
            (images / "train_0.jpg").rename(images / change)
        with pytest.raises(Broken):
            train({"on_train_start": stop}, resume=last, data=data)
        assert [words in line for line in said()] == ([True] if words else [])
        log.clear()
    shutil.copy(images / "b.jpg", images / "c.jpg")
    with pytest.raises(Broken):
        train({"on_train_start": stop}, resume=last, data=data)
    assert "(8 then, 9 now): it will end much like" in said()[0]


def test_a_run_goes_on_with_as_many_threads(interrupted, settings: dict, monkeypatch: pytest.MonkeyPatch, log):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before, seen = torch.get_num_threads(), []
    see = {"on_train_batch_start": lambda t: seen.append(torch.get_num_threads())}
    monkeypatch.setattr(threads.CpuThreads, "_look_before_work", lambda self: 0.0)  # however busy the machine is
    monkeypatch.setattr(threads, "physical_cores", lambda: 1)
    last = interrupted()
    assert load_checkpoint(last)["ranks"][0]["threads"] == 1
    monkeypatch.setattr(threads, "physical_cores", lambda: 2)  # such as are free now
    train(see, resume=str(last))
    assert {*seen} == {1}
    assert torch.get_num_threads() == before
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    state._use_as_many_threads(4096)  # a user's setting stands, and a file starts no crowd of threads
    assert torch.get_num_threads() == before
    assert any(f"began with 4096 threads and goes on with {before}" in line for line in log)


def test_a_damaged_state_never_takes_the_place_of_the_good_one(interrupted, monkeypatch: pytest.MonkeyPatch):
    last = interrupted()
    last.write_bytes(b"\x80 damaged")
    real = os.replace

    def replace(source, target) -> None:
        if Path(target) == last.resolve():  # a kill at the moment at which the new state would come into its place
            raise Broken
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(Broken):
        train(resume=str(last))
    assert load_checkpoint(last.with_name("previous.pt"))["epoch"] == -1


def test_weights_of_an_earlier_run_in_the_folder_are_not_taken_for_its_own(interrupted, settings: dict):
    last, seen = interrupted(), []
    train({"on_train_epoch_start": lambda t: seen.append(t.last.exists())}, **settings, exist_ok=True, save=False)
    assert seen == [False, False] and last.exists()  # the end is always kept
    again = train({"on_train_epoch_start": lambda t: seen.append(t.best.exists())}, **settings, exist_ok=True)
    assert seen[2:] == [False, True] and not again.files.previous.samefile(last)


def test_a_state_before_the_last_one_becomes_the_last_one(interrupted):
    """So that a NaN or another kill does not lead back to the run that was left."""
    last = interrupted(save_period=1)
    seen = []
    train({"on_train_epoch_start": lambda t: seen.append(load_checkpoint(last)["epoch"])}, resume=str(last))
    train(
        {"on_train_epoch_start": lambda t: seen.append(load_checkpoint(last)["epoch"])},
        resume=str(last.with_name("epoch1.pt")),
    )
    assert seen == [0, 0]


def test_a_signal_after_the_last_batch_ends_the_run_too(settings: dict, log: list[str]):
    strike = lambda t: setattr(t.interrupts, "received", signal.SIGINT) if t.epoch == 1 else None  # noqa: E731
    with pytest.raises(SystemExit) as e:
        train({"on_fit_epoch_end": strike}, **settings)
    assert e.value.code == 130 and "The state of this moment is kept" in log[-1]
    resumed = train(resume="runs/a/weights/last.pt")
    assert resumed.start_epoch == 2 and len(resumed.files.rows) == 2


def test_a_state_that_could_not_be_written_is_not_said_to_be_kept(settings: dict, log: list[str]):
    def strike(trainer: DetectionTrainer) -> None:
        trainer.interrupts.received = signal.SIGTERM
        trainer.files.failing.add(trainer.last)
        trainer.files.write = lambda *_: False

    with pytest.raises(SystemExit):
        train({"on_train_batch_start": strike}, **settings)
    assert "could not be written, an earlier one is kept" in log[-1]


def test_the_command_holds_a_path_with_spaces():
    assert resume_command(Path("my runs/last.pt")) == f'yolo train resume model="{Path("my runs/last.pt")}"'
    assert resume_command(Path("last.pt")).endswith("model=last.pt")
