"""Progress of a training: what changes while it runs, besides the weights and their optimizer (`learner`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from ultralytics.utils.torch_utils import EarlyStopping

NOT_YET: Any = None  # placeholder of what a later step of the training sets


@dataclass
class Current:
    """State of this process, epoch or batch alone: not saved in checkpoints, and begun anew by a resumed run.

    Args:
        epochs: planned; with `time` they follow from how long an epoch takes. Checkpoints have it among the settings.
        batch_size: images in a batch, over all processes. Checkpoints have it among the settings.
    """

    epochs: int = 100
    batch_size: int = 16

    start_epoch: int = 0  # that this process began with
    complete: bool = False  # the epoch is validated and has its row
    iteration: int = -1  # of the batch, counted through all epochs
    accumulate: int = 1  # batches to an optimizer step
    fitting: int = 0  # batches of this size that were trained
    mosaic_closed: bool = False
    loss: torch.Tensor = NOT_YET  # of the batch
    loss_items: torch.Tensor = NOT_YET  # parts of the loss
    tloss: torch.Tensor = NOT_YET  # mean of the parts over the epoch; checkpoints have that of each process in `ranks`
    lr: dict[str, float] = field(default_factory=dict)
    fitness: float | None = None  # of the last validation; checkpoints have it among the metrics

    train_time_start: float = 0.0  # the clock when this process began, as the next two in seconds
    epoch_time_start: float = 0.0
    saved_at: float = 0.0  # when last.pt was written
    epoch_time: float = 0.0  # seconds that the last epoch took
    seconds_before: float = 0.0  # that the run took before it was interrupted


@dataclass
class Progress(Current):
    """Counters, metrics and decisions of a run. A field that is added here is saved and restored."""

    epoch: int = 0  # the current one; in a checkpoint the last complete one, -1 if there is none
    batches: int = 0  # of the current epoch that are done
    since_step: int = 0  # batches whose gradients wait for the next optimizer step
    steps: int = 0  # optimizer steps in the whole run, as they were planned at its start
    halved: bool = False  # the batch was halved once, as memory was too small
    restored: bool = False  # good weights were brought back once, after a loss that was not finite
    metrics: dict[str, float] = field(default_factory=dict)
    best_fitness: float | None = None
    stopper: EarlyStopping = field(default_factory=EarlyStopping)
    stop: bool = False  # after this epoch
    ranks: list[dict] = field(default_factory=list)  # random states and `tloss` of each process

    @property
    def seconds(self) -> float:
        """Seconds that the run has trained, before an interruption too."""
        return self.seconds_before + time.time() - self.train_time_start

    def finish_epoch(self) -> None:
        """Count the current epoch as complete, until the next one begins."""
        self.complete, self.batches = True, 0

    def state_dict(self) -> dict:
        """Return what a checkpoint holds, as builtins and tensors."""
        return {name: getattr(self, name) for name in self._saved()} | {
            "epoch": self.epoch - (not self.complete),
            "seconds": self.seconds,
            "metrics": {**self.metrics, "fitness": self.fitness},
            "stopper": [self.stopper.best_fitness, self.stopper.best_epoch, self.stopper.possible_stop],
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned, and of the metrics only those that are known here.

        Raises:
            LookupError, TypeError: the state lacks something.
        """
        state = {"halved": False, "steps": self.steps, **state}  # earlier versions saved neither
        for name in self._saved() - {"metrics", "stopper"}:
            setattr(self, name, state[name])
        self.epoch = self.start_epoch = state["epoch"] + 1
        self.complete = False
        self.seconds_before = state["seconds"]
        self.fitness = state["metrics"]["fitness"]
        self.metrics |= {k: v for k, v in state["metrics"].items() if k in self.metrics}
        self.stopper.best_fitness, self.stopper.best_epoch, self.stopper.possible_stop = state["stopper"]

    @staticmethod
    def _saved() -> set[str]:
        return {f.name for f in fields(Progress)} - {f.name for f in fields(Current)}
