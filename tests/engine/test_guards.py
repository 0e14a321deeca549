"""What a training does when numbers break, memory is short or files cannot be written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics.engine.training.run_files import RunFiles
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.errors import ConfigError, NumbersError


class Quick(DetectionTrainer):
    """Leaves out the last validation."""

    def final_eval(self) -> None:
        pass


@pytest.fixture
def trainer(work_dir: Path, tiny_data: Path) -> Callable[..., DetectionTrainer]:
    """Make a trainer of the tiny detector, with functions by event."""

    def make(callbacks: dict | None = None, cls: type = Quick, **settings) -> DetectionTrainer:
        own = {"model": tiny_model(work_dir), "data": str(tiny_data), "epochs": 2, "project": "runs", "name": "a"}
        made = cls(overrides={**FAST, **own, **settings})
        for event, function in (callbacks or {}).items():
            made.add_callback(event, function)
        return made

    return make


# Numbers --------------------------------------------------------------------------------------------------------------


def break_layer(times: list[int]) -> Callable[[DetectionTrainer], None]:
    """Make layer 3 give NaN in the batches named, counted from 0, and be sound again after."""

    def strike(trainer: DetectionTrainer) -> None:
        conv = trainer.model.model[3].conv
        for hook in getattr(trainer, "hooks", []):
            hook.remove()
        trainer.hooks = []
        if trainer.iteration + 1 in times:
            trainer.hooks.append(conv.register_forward_hook(lambda _m, _x, y: y * torch.nan))

    return strike


def test_a_nan_brings_back_the_good_weights_once(trainer, log):
    seen = {}

    def look(t: DetectionTrainer) -> None:
        seen[t.iteration] = {k: v.clone() for k, v in t.model.state_dict().items()}

    run = trainer({"on_train_batch_start": break_layer([1]), "on_train_batch_end": look})
    run.train()
    (said,) = [line for line in log if "The loss is nan" in line]
    assert "epoch 1, batch 2." in said and "first layer that gives such numbers is 'model.3.conv' (Conv2d)" in said
    assert said.count(".png") + said.count(".jpg") == 4  # the files of the batch
    assert all(torch.isfinite(v).all() for v in run.model.state_dict().values() if v.is_floating_point())
    begin = load_checkpoint(run.files.previous)  # of epoch 1; the state of the start has been replaced twice
    assert begin["restored"] and run.progress.restored
    assert any(not torch.equal(v, seen[0][k]) for k, v in seen[1].items()), "the step of batch 1 has been undone"


def test_a_second_nan_ends_the_run_with_its_report(trainer):
    run = trainer({"on_train_batch_start": break_layer([1, 2])})
    with pytest.raises(NumbersError, match=r"The loss is nan in epoch 2, batch 1.*'model\.3\.conv'.*happened before"):
        run.train()
    assert load_checkpoint(run.last)["epoch"] == 0  # what was good is still there


def test_a_nan_in_the_only_batch_of_an_epoch_costs_no_run(trainer, log):
    run = trainer({"on_train_batch_start": break_layer([1])}, batch=8)
    run.train()
    assert run.progress.restored and any("The loss is nan in epoch 2, batch 1" in line for line in log)
    first, second = run.csv.read_text().splitlines()[1:]
    assert "nan" not in first and "nan" in second  # what its loss was


def test_bringing_back_weights_brings_back_no_learning_rate(trainer):
    """The last state is of an epoch before, and of the warm-up, whose momentum would stay to the end."""
    seen = {}

    def look(t: DetectionTrainer) -> None:
        seen[t.iteration] = [(g["lr"], g["momentum"]) for g in t.optimizer.param_groups]

    settings = {"optimizer": "SGD", "epochs": 3, "warmup_epochs": 0.1}
    short = lambda t: setattr(t.learner.schedule, "warmup", 2)  # noqa: E731
    broken = {"on_train_start": short, "on_train_batch_start": break_layer([4]), "on_train_batch_end": look}
    trainer(broken, **settings).train()
    found = dict(seen)
    trainer({"on_train_start": short, "on_train_batch_end": look}, name="b", **settings).train()
    assert found == seen


def test_infinite_gradients_do_not_reach_the_weights(trainer, log):
    def strike(t: DetectionTrainer) -> None:
        if t.iteration == 0:  # between backward and the step
            next(t.model.parameters()).grad.fill_(torch.inf)

    run = trainer({"optimizer_step": strike}, nbs=4, warmup_epochs=0)
    run.train()
    assert any("The gradients' norm is infinite" in line and "'model.0.conv.weight'" in line for line in log)
    assert all(torch.isfinite(v).all() for v in run.model.state_dict().values() if v.is_floating_point())


# Memory ---------------------------------------------------------------------------------------------------------------


def too_small_for(limit: int, after: int = -1) -> Callable[[DetectionTrainer], None]:
    """Let memory run out in batches of more images than `limit`, from the batch `after` on."""

    def strike(trainer: DetectionTrainer) -> None:
        if trainer.batch_size > limit and trainer.iteration >= after:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    return strike


def test_batch_is_halved_once(trainer, log):
    run = trainer({"on_train_batch_start": too_small_for(2)}, epochs=1)
    run.train()
    assert (run.batch_size, len(run.train_loader), run.train_loader.batch_sampler.batch_size) == (2, 4, 2)
    assert any("batch=4 does not fit" in line and "batch=2 is used" in line for line in log)
    assert load_checkpoint(run.last)["args"]["batch"] == 2


def test_a_halved_batch_keeps_optimizer_and_closed_mosaic(trainer, monkeypatch):
    """Of twice as many steps `optimizer=auto` would make another optimizer, which the saved state does not fit."""
    monkeypatch.setattr("ultralytics.engine.training.optimizer.steps_in_run", lambda n, batch, *_: 40_000 // batch)
    run = trainer({"on_train_batch_start": too_small_for(2)}, epochs=1, close_mosaic=1)
    run.train()
    assert run.batch_size == 2 and isinstance(run.optimizer, torch.optim.AdamW)
    assert run.mosaic_closed and run.train_loader.dataset.transforms.transforms[0].transforms[0].p == 0


def test_too_small_even_for_half_the_batch(trainer):
    with pytest.raises(ConfigError, match=r"too small for batch=2.*No batch has fitted.*batch=1$"):
        trainer({"on_train_batch_start": too_small_for(1)}).train()


def test_memory_that_is_short_later_ends_the_run(trainer):
    run = trainer({"on_train_batch_start": too_small_for(1, after=4)}, batch=2, epochs=2)
    with pytest.raises(
        ConfigError, match=r"too small for batch=2.*batch=2 did fit for 5 batches.*resume model=.*batch=1"
    ):
        run.train()


# Files ----------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_said_once_and_training_goes_on(trainer, log, monkeypatch):
    real, full = os.replace, []

    def replace(source, target) -> None:
        if full and Path(target).name in {"last.pt", "results.csv"}:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    run = trainer({"on_train_epoch_start": lambda t: full.append(t.epoch)}, epochs=3)
    run.train()
    assert run.epoch == 2
    for name in ("last.pt", "results.csv"):
        assert len([line for line in log if f"{name}'" in line and "Training goes on" in line]) == 1
    assert load_checkpoint(run.last)["epoch"] == -1  # of the start: never truncated
    assert not list(run.wdir.glob(".*"))


def test_a_folder_that_vanishes_comes_back(trainer):
    run = trainer({"on_train_epoch_end": lambda t: shutil.rmtree(t.save_dir) if t.epoch == 0 else None})
    run.train()
    assert load_checkpoint(run.last)["epoch"] == 1
    assert run.csv.read_text().count("\n") == 3


def test_the_state_before_stays(tmp_path):
    files = RunFiles(tmp_path)
    ckpt = {"yaml": {}, "task": "detect", "names": {}, "nc": 1, "stride": [8.0], "args": {}, "model": {}}
    for epoch in range(3):
        assert files.write(files.last, {**ckpt, "epoch": epoch})
    assert [load_checkpoint(f)["epoch"] for f in (files.last, files.previous)] == [2, 1]
    save_checkpoint(files.last, {**ckpt, "epoch": 7})
    assert load_checkpoint(files.previous)["epoch"] == 1
