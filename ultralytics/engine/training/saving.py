"""Saving of a training: states to resume from, weights, rows of results.csv, and the best model at the end."""

from __future__ import annotations

import time
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import cast

import torch

from ultralytics import __build__
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.training import distributed
from ultralytics.engine.training.attributes import TrainerAttributes
from ultralytics.engine.training.interrupt import Interrupted
from ultralytics.engine.training.resume import resume_command
from ultralytics.engine.training.state import process_states
from ultralytics.nn.checkpoint import strip_checkpoint
from ultralytics.nn.tasks import BaseModel, describe
from ultralytics.utils import LOGGER, RANK, WORLD_SIZE
from ultralytics.utils.errors import UserError


class Saving(TrainerAttributes, Callbacks):
    """Mixin of the trainer: its files, written while it trains and reduced to what inference needs at the end."""

    def recorded_args(self) -> dict[str, object]:
        """Return the settings for files and loggers, with the epochs and batch size that the run has chosen."""
        return {**vars(self.args), "epochs": self.progress.epochs, "batch": self.progress.batch_size}

    def checkpoint(self) -> dict:
        """Return the content of `last.pt`: the EMA's weights for inference, and the state to resume from."""
        return {
            **describe(self.learner.network),
            "args": self.recorded_args(),
            **self.learner.state_dict(waiting=self.progress.since_step > 0),
            **self.progress.state_dict(),
            "rows": self.files.rows,
            "train_results": self.read_results_csv(),
            "images": getattr(self.train_loader.dataset, "signature", None),
            "date": datetime.now().isoformat(timespec="seconds"),
            "version": __build__,
        }

    def save_model(self) -> None:
        """Write last.pt, and best.pt and epochN.pt where due; training goes on if one cannot be written."""
        ckpt = self.checkpoint()
        paths = [self.last]  # comes last: a run killed before goes on from the older one, and writes the others again
        if self.best_fitness == self.fitness:
            paths.insert(0, self.best)
        if self.save_period > 0 and (self.epoch + 1) % self.save_period == 0:
            paths.insert(0, self.wdir / f"epoch{self.epoch + 1}.pt")
        if all([self.files.write(path, ckpt) for path in paths]):
            self.run_callbacks("on_model_save")
        self.progress.saved_at = time.time()

    def save_state(self) -> None:
        """Write last.pt within an epoch; all processes have to call it."""
        self.progress.ranks = process_states(self.device, self.tloss)
        if RANK in {-1, 0} and self.args.save:
            self.files.write(self.last, self.checkpoint())
        self.progress.saved_at = time.time()

    def keep_what_is_done(self) -> str:
        """Write last.pt with the epoch's batches that are done, if no other process trains; say how to go on."""
        if WORLD_SIZE == 1:
            self.save_state()
        return f"Go on with: {resume_command(self.last)}" if self.last.exists() else "No state was kept."

    def _save_if_wanted(self) -> None:
        """Between two batches: save if `autosave` minutes have passed, and leave if a signal asks for that."""
        minutes = self.args.autosave
        due = bool(minutes) and self.args.save and time.time() - self.progress.saved_at > minutes * 60
        wish = distributed.highest(self.interrupts.received or int(due))
        if wish:
            self.save_state()
        if wish > 1:
            raise Interrupted(wish)

    def leave_validation_if_wanted(self) -> None:
        """Between two batches of validation: leave if a signal asks for it. The epoch's batches are all done."""
        if self.interrupts.received:
            self.save_state()  # where the others wait for the end of the validation
            distributed.broadcast((self.stop, self.interrupts.received))
            raise Interrupted(self.interrupts.received)

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Add a row to results.csv."""
        self.files.add_row({"epoch": self.epoch + 1, **metrics})

    def read_results_csv(self) -> dict[str, list[float]]:
        """Return the columns of results.csv, from the rows that it is written with; checkpoints hold them too."""
        rows = self.files.rows
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name, float("nan")) for row in rows] for name in names}

    def final_eval(self) -> None:
        """Reduce the weight files to what inference needs, and validate the best ones."""
        self._strip(self.best)
        if self.best.exists():
            LOGGER.info(f"\nValidating {self.best}...")
            self.validator.args = self.validator.args.replaced(plots=self.args.plots)
            self.metrics = self.validator(model=self.best)
            self.metrics.pop("fitness", None)
            self.run_callbacks("on_fit_epoch_end")
        if self.last in self.files.failing:
            LOGGER.warning(
                f"'{self.last}' is of an earlier epoch: the end of this run could not be written. To train it again, "
                f"make room and run: {resume_command(self.last)}"
            )
            return
        self.files.previous.unlink(missing_ok=True)
        self._strip(self.last)  # at the very end: until then a killed run can be resumed

    def _strip(self, path: Path) -> None:
        try:
            if path.exists():
                strip_checkpoint(path, check=self._outputs)
        except UserError as e:
            LOGGER.warning(f"{e} The file stays as training wrote it.")

    def _outputs(self, ckpt: dict) -> torch.Tensor:
        """Return the output of a checkpoint's weights for a fixed noise image, to check whether rounding changes it."""
        model = cast(BaseModel, deepcopy(self.ema.ema).cpu())
        model.load_state_dict(ckpt["model"])
        with torch.inference_mode():
            y = model(torch.rand(1, model.yaml.get("ch", 3), 160, 160, generator=torch.Generator().manual_seed(0)))
        return y[0] if isinstance(y, (list, tuple)) else y
