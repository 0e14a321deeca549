"""The state of a training: what is saved, what resuming brings back, and the attributes of 8.3.0 that show it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model
from torch import nn

from ultralytics.engine.training.attributes import TrainerAttributes
from ultralytics.engine.training.progress import Current, Progress
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import yaml_load
from ultralytics.utils.torch_utils import EarlyStopping
from ultralytics.utils.wrappers import HeldBy

HELD = {name: held for name, held in vars(TrainerAttributes).items() if isinstance(held, HeldBy)}
NAMES_OF_8_3_0 = (
    "args callbacks data trainset testset device save_dir wdir last best csv plots save_period batch_size epochs "
    "start_epoch epoch model ema optimizer scheduler lf scaler amp stopper stop resume best_fitness fitness loss "
    "loss_items tloss lr metrics train_loader test_loader validator accumulate plot_idx train_time_start epoch_time "
    "epoch_time_start world_size freeze_layer_names loss_names batch"
)


@pytest.fixture
def settings(work_dir: Path, tiny_data: Path) -> dict:
    return {**FAST, "imgsz": 32, "model": tiny_model(work_dir), "data": str(tiny_data), "project": "runs", "name": "a"}


def a_progress() -> Progress:
    """Return a progress whose saved fields have all another value than at the start."""
    stopper = EarlyStopping()
    stopper.best_fitness, stopper.best_epoch, stopper.possible_stop = 0.5, 2, True
    return Progress(
        epoch=3, batches=4, since_step=2, steps=50, halved=True, restored=True, metrics={"a": 1.0}, best_fitness=0.5,
        stopper=stopper, stop=True, ranks=[{"tloss": None}], fitness=0.25,
    )  # fmt: skip


def test_all_that_is_saved_comes_back():
    before, after = a_progress(), Progress(metrics={"a": 0.0})
    saved = {f.name for f in fields(Progress)} - {f.name for f in fields(Current)}
    fresh = Progress()
    assert all(getattr(before, name) != getattr(fresh, name) for name in saved)  # else this would prove nothing
    assert saved <= before.state_dict().keys()
    after.load_state_dict(before.state_dict())
    assert vars(after.stopper) == vars(before.stopper)
    assert all(getattr(after, name) == getattr(before, name) for name in saved - {"stopper"})
    assert after.fitness == 0.25 and after.start_epoch == 3 and not after.complete


def test_a_complete_epoch_is_counted_and_a_begun_one_is_not():
    progress = Progress(epoch=3, batches=4)
    begun = progress.state_dict()
    progress.finish_epoch()
    complete = progress.state_dict()
    assert (begun["epoch"], begun["batches"]) == (2, 4) and (complete["epoch"], complete["batches"]) == (3, 0)


def test_a_state_of_an_earlier_version_is_read_and_a_damaged_one_refused():
    state = a_progress().state_dict()
    del state["halved"], state["steps"]
    progress = Progress(steps=7)
    progress.load_state_dict(state)
    assert progress.steps == 7 and not progress.halved and progress.restored
    del state["restored"]
    with pytest.raises(LookupError):
        progress.load_state_dict(state)


def test_attributes_of_8_3_0_are_there_from_the_start_and_may_be_written(settings: dict):
    trainer = DetectionTrainer(overrides=settings)
    assert not [name for name in NAMES_OF_8_3_0.split() if not hasattr(trainer, name)]
    assert len(vars(trainer)) <= 25 and not HELD.keys() & vars(trainer).keys()
    for name, held in HELD.items():
        setattr(trainer, name, value := object())
        assert getattr(trainer, name) is value is getattr(getattr(trainer, held.part), held.name)
    trainer.scheduler, trainer.lf = value, abs
    assert trainer.scheduler is value and trainer.lf is abs


def test_nothing_is_born_in_training(settings: dict):
    trainer = DetectionTrainer(overrides={**settings, "epochs": 1})
    before = vars(trainer).keys() | vars(trainer.progress).keys() | vars(trainer.learner).keys()
    trainer.train()
    assert before == vars(trainer).keys() | vars(trainer.progress).keys() | vars(trainer.learner).keys()


def test_what_a_run_finds_out_is_recorded_but_no_setting_is_written(settings: dict):
    class Timed(DetectionTrainer):
        def _time_is_over(self) -> bool:
            return self.progress.iteration == 3

        def final_eval(self) -> None:
            pass

    trainer = Timed(overrides={**settings, "imgsz": 40, "batch": -1, "epochs": 50, "time": 1.0})
    given = trainer.args
    trainer.train()
    assert (given.imgsz, given.batch, given.epochs, given.time) == (40, -1, 50, 1.0)
    assert trainer.args.imgsz == 64 and trainer.batch_size == 16 and trainer.epochs != 50
    for record in (load_checkpoint(trainer.last)["args"], yaml_load(trainer.save_dir / "args.yaml")):
        assert record["imgsz"] == 64 and record["batch"] == 16 and record["save_dir"] == str(trainer.save_dir)
    assert load_checkpoint(trainer.last)["args"]["epochs"] == trainer.epochs


def test_what_a_callback_writes_acts(settings: dict):
    """Settings that are read where they are used, and attributes that another part of the trainer holds."""

    class Quick(DetectionTrainer):
        def final_eval(self) -> None:
            pass

    seen = []
    trainer = Quick(overrides={**settings, "epochs": 9, "close_mosaic": 0, "batch": 8})
    trainer.add_callback("on_train_start", lambda t: (setattr(t.args, "close_mosaic", 1), setattr(t, "epochs", 2)))
    trainer.add_callback("on_train_epoch_end", lambda t: seen.append((t.epoch, t.mosaic_closed)))
    trainer.add_callback("on_train_epoch_start", lambda t: setattr(t, "lf", lambda epoch: 0.5))
    trainer.train()
    assert seen == [(0, False), (1, True)]
    halves = [0.5 * group["initial_lr"] for group in trainer.optimizer.param_groups]
    assert trainer.lf(0) == 0.5 and trainer.scheduler.get_last_lr() == halves
    assert load_checkpoint(trainer.last)["args"]["close_mosaic"] == 1


def test_frozen_layers_are_named(settings: dict):
    trainer = DetectionTrainer(overrides={**settings, "freeze": [0, 3]})
    trainer.learner.frozen = {"model.0.": nn.Identity(), "model.3.": nn.Identity()}
    assert trainer.freeze_layer_names == ["model.0.", "model.3.", ".dfl"]
    assert isinstance(trainer.loss_names, tuple) and isinstance(trainer.device, torch.device)
