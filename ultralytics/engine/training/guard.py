"""Non-finite values: find where a NaN or an infinity comes from, before it spoils the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from ultralytics.engine.training import distributed
from ultralytics.engine.training.learner import Learner
from ultralytics.engine.training.progress import Progress
from ultralytics.engine.training.resume import last_state
from ultralytics.engine.training.watch import Noted, is_bad
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.errors import NumbersError
from ultralytics.utils.torch_utils import autocast, single_values


def bring_back_good_weights(said: str, last: Path, learner: Learner, progress: Progress) -> None:
    """Restore the last saved weights, the first time in a run; the second time raise NumbersError.

    Args:
        said: the text of `report`.
        last: file of the last state.
        learner, progress: of the training; they are changed.
    """
    if progress.restored:
        raise NumbersError(
            f"{said} It happened before in this run, so training ends. Its last good state is '{last}'. "
            "Look at these images and labels, or train with a smaller lr0."
        )
    saved = RANK in {-1, 0} and last.exists()
    ckpt = distributed.broadcast(last_state(last)[1] if saved else None)
    if ckpt is None:
        raise NumbersError(f"{said} No state was saved that could be brought back, so training ends.")
    LOGGER.warning(f"{said} The last weights that were saved are brought back, and training goes on.")
    # the schedule goes on as it was
    now = [{k: v for k, v in group.items() if k != "params"} for group in learner.optimizer.param_groups]
    learner.load_state_dict(ckpt)
    for group, values in zip(learner.optimizer.param_groups, now):
        group |= values
    progress.since_step = ckpt["since_step"]
    progress.restored = True


def report(error: NumbersError, bad: Noted, learner: Learner, progress: Progress, names: tuple[str, ...]) -> str:
    """Describe what failed, where and why, in the process where it did; all processes have to call this.

    Args:
        error: that was raised.
        bad: the batch.
        learner, progress: of the training.
        names: of the parts of the loss.
    """
    where = f"in epoch {progress.epoch + 1}, batch {bad.number + 1}"
    files = ", ".join(str(f) for f in bad.batch.get("im_file", ())) or "unknown"
    cause = f"{_first(bad.batch, learner, names)}. The batch's files: {files}."
    reports = distributed.gather((is_bad(bad.loss), f"{error} {where}. {cause}"))
    return next((text for failed, text in reports if failed), reports[0][1])


def _first(batch: dict, learner: Learner, names: tuple[str, ...]) -> str:
    """Describe the first non-finite value among batch, weights, outputs, losses and gradients."""
    model = learner.network
    if is_bad(batch["img"]):
        return "The images themselves hold such numbers"
    for name, tensor in model.named_parameters():  # the running means of batch norms have seen this batch already
        if is_bad(tensor):
            return f"First among the weights is '{name}'"
    watched, precision = _outputs_watched(model), autocast(learner.amp, learner.device.type)
    with watched as found, torch.no_grad(), precision, single_values(model, len(batch["img"])):
        _, items = model(batch)
    if found:
        return f"The first layer that gives such numbers is {found[0]}"
    bad = [name for name, item in zip(names, torch.atleast_1d(items)) if is_bad(item)]
    if bad:
        return f"All layers give finite numbers, but {', '.join(bad)} does not"
    grads = [name for name, p in model.named_parameters() if is_bad(p.grad)]
    return f"First among the gradients is that of '{grads[0]}'" if grads else "It does not show in a second pass"


@contextmanager
def _outputs_watched(model: nn.Module) -> Iterator[list[str]]:
    """Collect the leaf modules whose output is not finite, in the order in which they run."""
    found: list[str] = []

    def watch(name: str, module: nn.Module):
        return module.register_forward_hook(
            lambda m, _x, y: found.append(f"'{name}' ({type(m).__name__})") if is_bad(y) else None
        )

    hooks = [watch(name, m) for name, m in model.named_modules() if not any(True for _ in m.children())]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
