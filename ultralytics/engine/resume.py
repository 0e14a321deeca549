"""Going on with a training that was interrupted: which run, which state, and which of its settings may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg, get_save_dir
from ultralytics.engine.runfiles import PREVIOUS
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError, UserError
from ultralytics.utils.files import get_latest_run

AUTO = "auto"
RESUME_MAY_CHANGE = (
    "device", "batch", "workers", "epochs", "time", "patience", "cache", "plots", "data", "imgsz", "verbose", "save",
    "save_period", "autosave",
)  # fmt: skip
_SAYS_WHICH_RUN = {"resume", "model", "task", "mode", "cfg", "save_dir", "exist_ok", "trust_modules", "teacher"}


class RunFinished(CheckpointError):
    """With `resume=auto`, the run of the same command has reached its end; `weights` are its best."""

    def __init__(self, last: Path):
        self.weights = next((f for f in (last.with_name("best.pt"), last) if f.is_file()), last)
        super().__init__(f"The run of '{last}' has finished; nothing is left to do. Another name= starts a new one.")


def last_state(path: str | Path) -> tuple[Path, dict]:
    """Return the state of a run and its file: that of last.pt, or where it cannot be read the one before.

    Raises:
        UserError: neither can be read.
    """
    path = Path(path)
    try:
        return path, load_checkpoint(path)
    except UserError as e:
        previous = path.with_name(PREVIOUS)
        if path.name != "last.pt" or not previous.is_file():
            raise
        LOGGER.warning(f"{e} The state before it is taken: '{previous}'.")
        return previous, load_checkpoint(previous)


def own_runs(args: dict[str, Any]) -> list[Path]:
    """Return the folders of runs that were started with this project and name, the newest last."""
    where = {k: args[k] for k in ("task", "mode", "project", "name", "save_dir") if args.get(k) is not None}
    folder = get_save_dir(get_cfg(overrides={**where, "exist_ok": True}))
    endings = {f: f.name.removeprefix(folder.name) or "1" for f in folder.parent.glob(f"{folder.name}*") if f.is_dir()}
    return sorted((f for f, n in endings.items() if n.isdecimal()), key=lambda f: int(endings[f]))


def _newest_state(args: dict[str, Any]) -> tuple[tuple[Path, dict] | None, Path | None]:
    """Return the state of the newest run of a command, or the folder of one that was killed before its first state."""
    folders = own_runs(args)
    if not folders:
        return None, None
    states = [f for f in (folders[-1] / "weights" / name for name in ("last.pt", PREVIOUS)) if f.is_file()]
    if states:
        return last_state(states[0]), folders[-1]
    has_results = any(f.suffix in {".pt", ".csv"} for f in folders[-1].rglob("*"))
    return None, None if has_results else folders[-1]


def resumed_settings(overrides: dict) -> tuple[dict, dict | None, Path | None]:
    """Return the settings of a run; with `resume` those of the interrupted one, changed by those that may change.

    With it come the checkpoint to go on from, or None, and the run's folder, or None for a new one.

    Raises:
        CheckpointError: the checkpoint belongs to a run that has finished, or is not one of a run.
        ConfigError: a setting is given that would make the rest of the run another than its beginning.
    """
    resume, model = overrides.get("resume"), str(overrides.get("model") or "")
    if not resume:
        return overrides, None, None
    if resume == AUTO:
        found, folder = _newest_state(overrides)
        if found is None:
            return {**overrides, "resume": False}, None, folder
        path, ckpt = found
    else:
        name = resume if isinstance(resume, (str, Path)) else model if model.endswith(".pt") else get_latest_run()
        if not name:
            raise MissingFileError("There is no interrupted run here to resume. Name its last.pt: resume=PATH/last.pt.")
        path, ckpt = last_state(name)
    if ckpt.get("optimizer") is None and resume == AUTO:
        raise RunFinished(path)
    if ckpt.get("optimizer") is None:
        raise CheckpointError(
            f"'{path}' holds weights, but no interrupted run: it has no optimizer state. "
            f"Resume from the run's weights/last.pt, or train on from these weights with model={path}."
        )
    if "ranks" not in ckpt:
        raise CheckpointError(
            f"'{path}' was written by an older version of this package, which kept less of a run. "
            f"Train on from its weights with model={path}."
        )
    changed = _changes(overrides, ckpt["args"], path)
    if ckpt["args"].get("teacher"):  # it may have moved
        changed["teacher"] = overrides.get("teacher") or ckpt["args"]["teacher"]
    changed["trust_modules"] = overrides.get("trust_modules", False)  # no file can say that it is to be trusted
    if RANK == -1 and "device" not in changed and ckpt["args"]["device"] == "cpu":
        changed["device"] = ",".join(["cpu"] * len(ckpt["ranks"]))  # with as many processes as before
    settings = {**ckpt["args"], **changed, "resume": str(path), "model": str(path), "mode": "train"}
    return settings, ckpt, path.resolve().parents[1]


def _changes(overrides: dict, before: dict, path: Path) -> dict:
    """Return the settings that may change on resume; raise ConfigError if another one was given a new value."""
    given = {k: v for k, v in overrides.items() if k not in _SAYS_WHICH_RUN}
    values = vars(get_cfg(overrides=given))
    for key in given:
        if key not in RESUME_MAY_CHANGE and key in before and values[key] != before[key]:
            raise ConfigError(
                f"{key}={given[key]} cannot be given to the run of '{path}', which began with {key}={before[key]}: "
                f"its end would be that of neither. Leave {key} out, or start a new run. "
                f"A resumed run may change {', '.join(RESUME_MAY_CHANGE)}."
            )
    changed = {k: values[k] for k in given if k in RESUME_MAY_CHANGE}
    if changed.get("batch", 1) < 1:  # it was chosen by the memory then, and stays
        del changed["batch"]
    return changed
