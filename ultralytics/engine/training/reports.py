"""What a trainer logs: its start, and a line with the losses of each epoch by their names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

import torch

from ultralytics.engine.training import optimizer as optim
from ultralytics.engine.training.attributes import TrainerAttributes
from ultralytics.utils import LOGGER, RANK, WORLD_SIZE, colorstr
from ultralytics.utils.system.progress import TQDM

READ_EVERY = 10  # batches after which the progress bar shows the losses, on a GPU


class Reports(TrainerAttributes):
    """Mixin of the trainer: the names of its losses, and the lines that show them."""

    loss_names: tuple[str, ...] = ("loss",)

    @property
    def train_loss_names(self) -> tuple[str, ...]:
        """The losses of the task, and those that a teacher adds in training."""
        return (*self.loss_names, *(self.distiller.loss_names if self.distiller else ()))

    @overload
    def label_loss_items(self, loss_items: None = None, prefix: str = "train") -> list[str]: ...

    @overload
    def label_loss_items(self, loss_items: torch.Tensor, prefix: str = "train") -> dict[str, float]: ...

    def label_loss_items(
        self, loss_items: torch.Tensor | None = None, prefix: str = "train"
    ) -> list[str] | dict[str, float]:
        """Return the loss items by name, or their names alone."""
        keys = [f"{prefix}/{name}" for name in (self.train_loss_names if prefix == "train" else self.loss_names)]
        return keys if loss_items is None else dict(zip(keys, (round(float(x), 5) for x in loss_items)))

    def progress_string(self) -> str:
        """Return the heading of the progress bar's columns."""
        columns = ("Epoch", "GPU_mem", *self.train_loss_names, "Instances", "Size")
        return "\n" + "%11s" * len(columns) % columns

    def _log_start(self) -> None:
        LOGGER.info(
            f"Images of {self.args.imgsz} pixels for training and validation, "
            f"{self.train_loader.num_workers * WORLD_SIZE} loader processes, "
            f"results in {colorstr('bold', str(self.save_dir))}\nTraining for "
            + (f"{self.args.time} hours..." if self.args.time else f"{self.epochs} epochs...")
        )
        images = len(self.train_loader.dataset)
        advice = optim.advice_on_steps(images, self.batch_size, self.args.nbs, self.epochs)
        if advice and not (self.resume or self.args.time):
            LOGGER.warning(advice)

    def _progress_bar(self, batches: int, first: int) -> Iterable[dict]:
        if RANK not in {-1, 0}:
            return self.train_loader
        LOGGER.info(self.progress_string())
        return TQDM(self.train_loader, total=batches, initial=first)

    def _log_batch(self, pbar: Iterable[dict], batch: dict) -> None:
        if not isinstance(pbar, TQDM) or self.tloss is None:  # only rank 0 has one
            return
        done = self.progress.batches + 1
        if self.device.type == "cuda" and done % READ_EVERY and done < len(self.train_loader):
            return  # reading the losses means waiting for the GPU
        losses = self.tloss if self.tloss.ndim else self.tloss[None]
        memory = f"{torch.cuda.memory_reserved() / 2**30 if self.device.type == 'cuda' else 0:.3g}G"
        columns = ("%11s" * 2 + "%11.4g" * (2 + len(losses))) % (
            f"{self.epoch + 1}/{self.epochs}", memory, *losses.tolist(), len(batch["cls"]), batch["img"].shape[-1]
        )  # fmt: skip
        pbar.set_description(columns)
