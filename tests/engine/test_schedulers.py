"""Optimizers and schedulers of one's own, by override or in a callback, as scripts for 8.3.0 have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, StepLR

from ultralytics.engine.training.interrupt import Interrupted
from ultralytics.models.yolo.detect import DetectionTrainer

Train = Callable[..., DetectionTrainer]


class Fast(DetectionTrainer):
    """Ends without a validation of the best weights."""

    def final_eval(self) -> None:
        pass


class WithSGD(Fast):
    """Has an optimizer of one group, without `initial_lr`."""

    def build_optimizer(self, model, name="auto", lr=0.001, momentum=0.9, decay=1e-5, iterations=1e5):
        self.given = (name, lr, momentum, decay, iterations)
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=decay)


class WithRestarts(WithSGD):
    """Has a scheduler whose state does not follow from the epoch alone."""

    def _setup_scheduler(self) -> None:
        self.scheduler = CosineAnnealingWarmRestarts(self.optimizer, T_0=2, T_mult=2)


@pytest.fixture
def train(work_dir: Path, tiny_data: Path) -> Train:
    def run(cls: type[DetectionTrainer] = Fast, events: dict | None = None, **changes) -> DetectionTrainer:
        settings = {"model": tiny_model(work_dir), "data": str(tiny_data), "project": "runs", "name": "a", "imgsz": 32}
        without = {"val": False, "warmup_epochs": 0.0, "lr0": 0.01, "nbs": 4, "exist_ok": True}
        trainer = cls(overrides={**FAST, **settings, **without, **changes})
        for event, function in (events or {}).items():
            trainer.add_callback(event, function)
        trainer.train()
        return trainer

    return run


def rates(trainer: DetectionTrainer) -> list[float]:
    """Return the learning rate of each epoch, as results.csv has it."""
    return [row["lr/pg0"] for row in trainer.files.rows]


def reference(scheduler: Callable, epochs: int, lr: float = 0.01) -> list[float]:
    """Return the learning rates of a scheduler by itself, stepped after each epoch."""
    made = scheduler(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr))
    found = []
    for _ in range(epochs):
        found.append(made.get_last_lr()[0])
        made.optimizer.step()
        made.step()
    return found


def test_an_optimizer_of_ones_own(train: Train):
    trainer = train(WithSGD, epochs=2, momentum=0.8, optimizer="SGD", weight_decay=0.001)
    assert type(trainer.optimizer) is torch.optim.SGD and len(trainer.optimizer.param_groups) == 1
    assert trainer.given == ("SGD", 0.01, 0.8, pytest.approx(0.001), 4)
    assert rates(trainer) == pytest.approx([0.01, 0.01 * (0.5 * 0.99 + 0.01)])
    assert trainer.scheduler.get_last_lr() == [rates(trainer)[-1]] and trainer.scheduler.last_epoch == 1


def test_only_biases_start_the_warm_up_above_zero(train: Train):
    """The single group of a custom optimizer holds the weights too, for which 0.1 is far too much."""
    first = []
    look = {"on_train_batch_end": lambda t: first.append([g["lr"] for g in t.optimizer.param_groups])}
    for cls, name, wanted in (
        (WithSGD, "SGD", [0.0]),
        (Fast, "SGD", [0.1, 0.0, 0.0]),
        (Fast, "auto", [0.0, 0.0, 0.0]),
    ):
        first.clear()
        train(cls, look, epochs=1, warmup_epochs=3.0, optimizer=name, fraction=0.5)
        assert first[0] == wanted


def test_a_scheduler_by_override(train: Train):
    trainer = train(WithRestarts, epochs=5)
    assert rates(trainer) == reference(lambda o: CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2), 5)
    assert isinstance(trainer.scheduler, CosineAnnealingWarmRestarts)


def test_the_warm_up_climbs_to_the_schedulers_rate_and_leaves_it_alone(train: Train):
    """A warm-up sets the rate from which recursive schedulers go on."""

    class Own(WithSGD):
        def _setup_scheduler(self) -> None:
            self.scheduler = StepLR(self.optimizer, step_size=1, gamma=0.5)

    def shorten(t: DetectionTrainer) -> None:
        t.learner.schedule.warmup = 3  # of two batches an epoch

    seen = []
    look = {"on_train_start": shorten, "on_train_batch_end": lambda t: seen.append(t.optimizer.param_groups[0]["lr"])}
    train(Own, look, epochs=3, warmup_epochs=1.0)
    assert seen == pytest.approx([0.0, 0.01 / 3, 0.005 * 2 / 3, 0.005, 0.0025, 0.0025])


def test_a_scheduler_from_a_callback(train: Train):
    def put(t: DetectionTrainer) -> None:
        t.scheduler = StepLR(t.optimizer, step_size=2, gamma=0.1)

    assert rates(train(WithSGD, {"on_train_start": put}, epochs=4)) == pytest.approx([0.01, 0.01, 0.001, 0.001])


def test_a_scheduler_from_a_callback_in_the_middle_begins_there(train: Train):
    def put(t: DetectionTrainer) -> None:
        if t.epoch == 2:
            t.scheduler = LambdaLR(t.optimizer, lambda e: 0.1**e)

    found = rates(train(WithSGD, {"on_train_epoch_start": put}, epochs=5, lrf=1.0))
    assert found == pytest.approx([0.01, 0.01, 0.01, 0.001, 0.0001])


def test_a_step_from_a_callback_acts(train: Train):
    class Own(WithSGD):
        def _setup_scheduler(self) -> None:
            self.lf = lambda epoch: 0.5**epoch
            self.scheduler = LambdaLR(self.optimizer, self.lf)

    assert rates(train(Own, epochs=3)) == pytest.approx([0.01, 0.005, 0.0025])
    twice = {"on_train_epoch_end": lambda t: t.scheduler.step()}
    assert rates(train(Own, twice, epochs=3)) == pytest.approx([0.01, 0.0025, 0.000625])


@pytest.mark.parametrize("event", [pytest.param("on_fit_epoch_end", marks=pytest.mark.slow), "on_train_batch_end"])
def test_resuming_continues_any_scheduler(train: Train, event: str):
    """Between two epochs, and within one, where the warm-up has set the rate."""

    def stop(t: DetectionTrainer) -> None:
        if t.epoch == 2:
            t.interrupts.received = 2
            if event == "on_fit_epoch_end":
                raise Interrupted(2)

    settings = {"epochs": 6, "warmup_epochs": 1.0}
    whole = train(WithRestarts, name="whole", **settings)
    with pytest.raises(SystemExit):
        train(WithRestarts, {event: stop}, **settings)
    resumed = WithRestarts(overrides={"resume": "runs/a/weights/last.pt"})
    resumed.train()
    assert resumed.start_epoch in {2, 3} and rates(resumed) == rates(whole)
    weights = zip(resumed.ema.ema.state_dict().values(), whole.ema.ema.state_dict().values())
    assert all(torch.equal(a, b) for a, b in weights)


def test_results_by_column_are_in_the_checkpoint(train: Train):
    trainer = train(epochs=2)
    columns = trainer.read_results_csv()
    assert columns["epoch"] == [1.0, 2.0] and columns["lr/pg0"] == rates(trainer)
    assert torch.load(trainer.last, weights_only=True)["train_results"] == columns
    with pytest.raises(NotImplementedError, match="Targets are assigned by the loss"):
        trainer.build_targets(None, None)
