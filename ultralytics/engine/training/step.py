"""One step of a training: a batch forward and backward, an optimizer step where one is due, and a check of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import nn

from ultralytics.engine.training import guard
from ultralytics.engine.training.reports import Reports
from ultralytics.engine.training.saving import Saving
from ultralytics.engine.training.watch import left_out
from ultralytics.utils import WORLD_SIZE
from ultralytics.utils.errors import NumbersError
from ultralytics.utils.torch_utils import autocast, single_values


class Steps(Saving, Reports):
    """Mixin of the trainer: what happens between a batch from the loader and new weights.

    Nothing here waits for a GPU, so that Python queues the next batch while it computes this one. Numbers are read one
    batch later (see `Watch`), and losses for the progress bar once in several batches.
    """

    def preprocess_batch(self, batch: dict) -> dict:
        """Prepare a batch for the model, on the device."""
        return batch

    def _train_batch(self, batch: dict) -> None:
        """Learn a batch; where its numbers are not finite, or on a GPU those of the one before, undo that batch."""
        try:
            self._learn(batch)
            self.learner.watch.settle(keep=1)
        except NumbersError as e:
            bad = self._undo(e)
            if bad is not self.batch:  # this one was learned with weights that are gone
                self._learn(batch)

    def _settle(self) -> None:
        """Check the numbers of all batches so far, before weights are saved or validated."""
        try:
            self.learner.watch.settle()
        except NumbersError as e:
            self._undo(e)

    def save_state(self) -> None:
        self._settle()
        super().save_state()

    def _undo(self, error: NumbersError) -> dict:
        """Bring back the last good weights after a batch whose numbers are not finite, and return that batch."""
        watch, progress = self.learner.watch, self.progress
        bad = watch.noted[0]
        watch.noted.clear()
        said = guard.report(error, bad, self.learner, progress, self.train_loss_names)
        guard.bring_back_good_weights(said, self.last, self.learner, progress)
        self.tloss = bad.tloss  # without the bad batch
        return bad.batch

    def _learn(self, batch: dict) -> None:
        """Add the gradients of a batch, step once `accumulate` batches are collected, and add to the mean losses."""
        self._forward_backward(batch)
        self.progress.since_step += 1
        if self.progress.since_step >= self.accumulate:
            self.optimizer_step()
            self.progress.since_step = 0
        i = self.progress.batches
        self.tloss = self.loss_items if self.tloss is None else (self.tloss * i + self.loss_items) / (i + 1)

    def _forward_backward(self, batch: dict) -> None:
        """Compute the loss of one batch and add its gradients."""
        with autocast(self.amp, self.device.type):
            self.batch = self.preprocess_batch(batch)
            with single_values(self.model, len(self.batch["img"])):
                self.loss, self.loss_items = self.learner.runner(self.model, self.batch)
            if WORLD_SIZE > 1:
                self.loss = self.loss * WORLD_SIZE  # gradients are averaged over ranks; the loss is a sum over images
        self.learner.watch.note(self.batch, self.progress.batches, self.loss, self.tloss)
        self.scaler.scale(self.loss).backward()

    def optimizer_step(self) -> None:
        """Clip the gradients to norm 10, step, and let the EMA follow."""
        self.run_callbacks("optimizer_step")
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=10.0)
        if self.scaler.is_enabled():  # which leaves out steps of infinite gradients by itself
            self.scaler.step(self.optimizer)
        else:
            self.learner.watch.note_gradients(norm)
            with left_out(self.optimizer, norm) if self.learner.watch.late else nullcontext():
                self.scaler.step(self.optimizer)
        self.scaler.update()
        self.run_callbacks("on_before_zero_grad")
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)
        self.run_callbacks("on_params_update")


def on_device(batches: Iterable[dict], device: torch.device) -> Iterable[dict]:
    """Yield batches with their images on a GPU: the bytes are copied on a stream of its own, beside computation."""
    return _copied(batches, device) if device.type == "cuda" else batches


def _copied(batches: Iterable[dict], device: torch.device) -> Iterator[dict]:
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    for batch in batches:
        with torch.cuda.stream(stream):
            images = batch["img"].to(device, non_blocking=True)
        current.wait_stream(stream)
        images.record_stream(current)
        yield {**batch, "img": images}
