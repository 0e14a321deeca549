"""Numbers that are none: find out where a NaN or an infinity comes from, before it spoils the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ultralytics.engine.training import distributed
from ultralytics.engine.training.resume import last_state
from ultralytics.engine.training.state import restore_weights
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.errors import NumbersError
from ultralytics.utils.torch_utils import autocast, de_parallel, single_values


class NumberGuard:
    """Stops the step of a batch whose loss or gradients are not finite, and tells what the cause is."""

    def __init__(self):
        self.restored = False  # the good weights were brought back once

    def check_loss(self, loss: torch.Tensor) -> None:
        """Raise NumbersError, on all processes alike, if the loss of one of them is not finite."""
        if distributed.highest(not bool(torch.isfinite(loss).all())):
            raise NumbersError(f"The loss is {_word(loss)}")

    @staticmethod
    def check_gradients(norm: torch.Tensor) -> None:
        """Raise NumbersError if the gradients' norm, the same on all processes, is not finite."""
        if not bool(torch.isfinite(norm)):
            raise NumbersError(f"The gradients' norm is {_word(norm)}")


def bring_back_good_weights(trainer: Any, error: NumbersError) -> None:
    """Say what broke; the first time in a run bring back the last weights that were saved, the second time raise."""
    said = report(trainer, error)
    if trainer.guard.restored:
        raise NumbersError(
            f"{said} It happened before in this run, so training ends. Its last good state is '{trainer.last}'. "
            "Look at these images and labels, or train with a smaller lr0."
        )
    saved = RANK in {-1, 0} and trainer.last.exists()
    ckpt = distributed.broadcast(last_state(trainer.last)[1] if saved else None)
    if ckpt is None:
        raise NumbersError(f"{said} No state was saved that could be brought back, so training ends.")
    LOGGER.warning(f"{said} The last weights that were saved are brought back, and training goes on.")
    # the schedule goes on as it was
    now = [{k: v for k, v in group.items() if k != "params"} for group in trainer.optimizer.param_groups]
    restore_weights(trainer, ckpt)
    for group, values in zip(trainer.optimizer.param_groups, now):
        group |= values
    trainer.last_step = trainer.iteration - ckpt["since_step"]
    trainer.guard.restored = True


def report(trainer: Any, error: NumbersError) -> str:
    """Return what broke, where and why, from the process that it broke in; all processes have to ask for it."""
    where = f"in epoch {trainer.epoch + 1}, batch {trainer.iteration % len(trainer.train_loader) + 1}"
    reports = distributed.gather((_is_bad(trainer.loss), f"{error} {where}. {cause(trainer)}"))
    return next((text for bad, text in reports if bad), reports[0][1])


def _word(x: torch.Tensor) -> str:
    return "nan" if bool(torch.isnan(x).any()) else "infinite"


def _is_bad(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and x.is_floating_point() and not bool(torch.isfinite(x).all())


def cause(trainer: Any) -> str:
    """Return, for a message, the first thing of the trainer's batch and model that is not finite, and the files."""
    model, batch = de_parallel(trainer.model), trainer.batch
    files = ", ".join(str(f) for f in batch.get("im_file", ())) or "unknown"
    return f"{_first(trainer, model, batch)}. The batch's files: {files}."


def _first(trainer: Any, model: nn.Module, batch: dict) -> str:
    if _is_bad(batch["img"]):
        return "The images themselves hold such numbers"
    for name, tensor in model.named_parameters():  # the running means of batch norms have seen this batch already
        if _is_bad(tensor):
            return f"First among the weights is '{name}'"
    watched, precision = _outputs_watched(model), autocast(trainer.amp, trainer.device.type)
    with watched as found, torch.no_grad(), precision, single_values(model, len(batch["img"])):
        _, items = model(batch)
    if found:
        return f"The first layer that gives such numbers is {found[0]}"
    bad = [name for name, item in zip(trainer.train_loss_names, torch.atleast_1d(items)) if _is_bad(item)]
    if bad:
        return f"All layers give finite numbers, but {', '.join(bad)} does not"
    grads = [name for name, p in model.named_parameters() if _is_bad(p.grad)]
    return f"First among the gradients is that of '{grads[0]}'" if grads else "It does not show in a second pass"


@contextmanager
def _outputs_watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect the modules without parts whose output is not finite, in the order in which they run."""
    found: list[str] = []

    def watch(name: str, module: nn.Module):
        return module.register_forward_hook(
            lambda m, _x, y: found.append(f"'{name}' ({type(m).__name__})") if _is_bad(y) else None
        )

    hooks = [watch(name, m) for name, m in model.named_modules() if not any(True for _ in m.children())]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
