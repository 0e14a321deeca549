"""The trainer's attributes: the few that it holds, and those of 8.3.0 that its parts hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from ultralytics.cfg.schema import Settings
from ultralytics.engine.training.interrupt import Interrupts
from ultralytics.engine.training.learner import Learner
from ultralytics.engine.training.progress import Progress
from ultralytics.engine.training.run_files import RunFiles
from ultralytics.utils import WORLD_SIZE
from ultralytics.utils.files import RunFolder
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA, StandIn
from ultralytics.utils.wrappers import held_by

if TYPE_CHECKING:
    from ultralytics.data.build import InfiniteDataLoader
    from ultralytics.engine.validator import BaseValidator


class TrainerAttributes:
    """The attributes that callbacks and subclasses read and write on a trainer; all exist from `__init__` on."""

    args: Settings  # as they were given; what the run found out itself is in `progress`
    progress: Progress
    learner: Learner
    files: RunFiles
    interrupts: Interrupts
    folder: RunFolder
    device: torch.device
    ranks: list[str]  # devices of the processes that are to be launched
    resume_ckpt: dict | None  # the state to go on from
    train_loader: InfiniteDataLoader
    test_loader: InfiniteDataLoader
    validator: BaseValidator
    save_period: int

    epochs: int = held_by("progress")
    epoch: int = held_by("progress")
    start_epoch: int = held_by("progress")
    iteration: int = held_by("progress")
    batch_size: int = held_by("progress")
    accumulate: int = held_by("progress")
    mosaic_closed: bool = held_by("progress")
    loss: torch.Tensor = held_by("progress")
    loss_items: torch.Tensor = held_by("progress")
    tloss: torch.Tensor = held_by("progress")
    lr: dict[str, float] = held_by("progress")
    metrics: dict[str, float] = held_by("progress")
    fitness: float | None = held_by("progress")
    best_fitness: float | None = held_by("progress")
    stopper: EarlyStopping = held_by("progress")
    stop: bool = held_by("progress")
    train_time_start: float = held_by("progress")
    epoch_time_start: float = held_by("progress")
    epoch_time: float = held_by("progress")

    model: nn.Module = held_by("learner")
    ema: ModelEMA = held_by("learner")
    optimizer: torch.optim.Optimizer = held_by("learner")
    scaler: torch.amp.GradScaler = held_by("learner")
    amp: bool = held_by("learner")
    distiller: StandIn | None = held_by("learner")

    save_dir: Path = held_by("files", "folder")
    wdir: Path = held_by("files", "weights")
    last: Path = held_by("files")
    best: Path = held_by("files")
    csv: Path = held_by("files")

    @property
    def lf(self) -> Callable[[float], float]:
        """The factor on the initial learning rate by epoch."""
        return self.learner.schedule.law

    @lf.setter
    def lf(self, law: Callable[[float], float]) -> None:
        self.learner.schedule.law = law

    @property
    def scheduler(self) -> LRScheduler:
        """The scheduler of the learning rates, stepped at the start of each epoch; another one may take its place."""
        return self.learner.schedule.scheduler

    @scheduler.setter
    def scheduler(self, scheduler: LRScheduler) -> None:
        self.learner.schedule.use(scheduler, self.epoch if self.epoch_time_start else 0)

    @property
    def resume(self) -> bool:
        """Whether the run resumes an interrupted one."""
        return self.resume_ckpt is not None

    @property
    def world_size(self) -> int:
        """The number of processes that train together."""
        return len(self.ranks) or WORLD_SIZE

    @property
    def freeze_layer_names(self) -> list[str]:
        """Prefixes or parts of the names of frozen parameters."""
        return [*self.learner.frozen, ".dfl"]
