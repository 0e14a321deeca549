"""Going on with a training that was interrupted: which checkpoint, and which of its settings may change."""

from __future__ import annotations

from pathlib import Path

from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, MissingFileError
from ultralytics.utils.files import get_latest_run

RESUME_MAY_CHANGE = ("device", "batch", "workers", "epochs", "patience", "cache", "plots", "data", "imgsz", "verbose")


def resumed_settings(overrides: dict) -> tuple[dict, dict | None]:
    """Return the settings of a run; with `resume` those of the interrupted one, changed by those that may change.

    With it comes the checkpoint to go on from, or None.

    Raises:
        CheckpointError: the checkpoint belongs to a run that has finished, or is not one of a run.
    """
    resume, model = overrides.get("resume"), str(overrides.get("model") or "")
    if not resume:
        return overrides, None
    path = resume if isinstance(resume, (str, Path)) else model if model.endswith(".pt") else get_latest_run()
    if not path:
        raise MissingFileError("There is no interrupted run here to resume. Name its last.pt: resume=PATH/last.pt.")
    ckpt = load_checkpoint(path)
    if ckpt.get("optimizer") is None or ckpt.get("epoch", -1) < 0:
        raise CheckpointError(
            f"'{path}' holds weights, but no interrupted run: it has no optimizer state. "
            f"Resume from the run's weights/last.pt, or train on from these weights with model={path}."
        )
    epochs = overrides.get("epochs") or ckpt["args"]["epochs"]
    if ckpt["epoch"] + 1 >= epochs:
        raise CheckpointError(
            f"The run of '{path}' has finished its {ckpt['epoch'] + 1} epochs. Give a larger epochs= to go on, "
            f"or start a new run with model={path}."
        )
    changed = {k: v for k, v in overrides.items() if k in RESUME_MAY_CHANGE}
    if ckpt["args"].get("teacher"):  # it may have moved
        changed["teacher"] = overrides.get("teacher") or ckpt["args"]["teacher"]
    changed["trust_modules"] = overrides.get("trust_modules", False)  # no file can say that it is to be trusted
    return {**ckpt["args"], **changed, "resume": str(path), "model": str(path), "mode": "train"}, ckpt
