"""Resuming an interrupted training: which run, which state, and which of its settings may change."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from glob import escape
from pathlib import Path

from ultralytics.cfg import get_cfg, get_save_dir
from ultralytics.engine.training.run_files import PREVIOUS, RunFiles
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, RANK, yaml_load
from ultralytics.utils.errors import CheckpointError, ConfigError, MissingFileError, UserError
from ultralytics.utils.files import get_latest_run

AUTO = "auto"
RESUME_MAY_CHANGE = (
    "device", "batch", "workers", "epochs", "time", "patience", "cache", "plots", "data", "imgsz", "verbose", "save",
    "save_period", "autosave", "ddp_timeout", "compile",
)  # fmt: skip
_SAYS_WHICH_RUN = {"resume", "model", "task", "mode", "cfg", "save_dir", "exist_ok", "trust_modules"}
_SAYS_WHERE = ("project", "name", "save_dir", "exist_ok")


class RunFinished(CheckpointError):
    """Raised with `resume=auto` if the run of the same command has finished; `weights` are its best."""

    def __init__(self, last: Path):
        self.weights = next((f for f in (last.with_name("best.pt"), last) if f.is_file()), last)
        super().__init__(f"The run of '{last}' has finished; nothing is left to do. Another name= starts a new one.")


def resume_command(last: Path) -> str:
    """Return the command that resumes a run from a state."""
    quote = '"' if " " in str(last) else ""
    return f"yolo train resume model={quote}{last}{quote}"


def how_to_go_on(interrupted: Exception, epoch: int, files: RunFiles, save: bool) -> str:
    """Return the message for a training that a signal ended; `epoch` counts from 0."""
    kept = "The state of this moment is kept" if save else "With save=False no state is kept"
    if files.last in files.failing:
        kept = "The state of this moment could not be written, an earlier one is kept"
    on = f"; go on with\n\n  {resume_command(files.last)}\n" if files.last.exists() else "."
    return f"\n{interrupted}: training stops within epoch {epoch + 1}. {kept}{on}"


def last_state(path: str | Path) -> tuple[Path, dict]:
    """Return the state of a run and its file: last.pt, or the one before where that cannot be read.

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


def own_runs(args: dict) -> list[Path]:
    """Return the run folders of this project and name, the newest last."""
    where = {k: args[k] for k in ("task", "mode", "project", "name", "model") if args.get(k) is not None}
    settings = get_cfg(overrides={**where, "exist_ok": True})
    folder = get_save_dir(settings)
    found = [f for f in folder.parent.glob(f"{escape(folder.name)}*") if f.is_dir()]
    endings = {f: f.name.removeprefix(folder.name) or "1" for f in found}
    own = [f for f, n in endings.items() if n.isdecimal() and _name_in(f) in {"", settings.name or folder.name}]
    return sorted(own, key=lambda f: int(endings[f]))


def _name_in(folder: Path) -> str:
    """Return the `name` that a run was started with: `a10` may be one of that name, or the tenth of name `a`."""
    with suppress(UserError):
        return str(yaml_load(folder / "args.yaml").get("name") or "")
    return ""


def _newest_state(args: dict) -> tuple[tuple[Path, dict] | None, Path | None]:
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
    """Return the settings of a run; with `resume` those of the interrupted run, with the allowed changes.

    With it come the checkpoint to go on from, or None, and the run's folder, or None for a new one. A checkpoint that
    cannot be gone on from comes too, with its settings as they are: `check_interrupted` refuses it in `train()`.

    Raises:
        RunFinished: so has the run of `resume=auto`.
        ConfigError: a setting is given that must not change within a run.
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
    if resume == AUTO and ckpt.get("optimizer") is None:
        raise RunFinished(path)
    before = ckpt["args"] = {**DEFAULT_CFG_DICT, **ckpt["args"]}
    if not _is_interrupted(ckpt):
        known = {k: v for k, v in before.items() if k in DEFAULT_CFG_DICT and k not in {"device", "trust_modules"}}
        return {**known, **overrides, "resume": str(path), "mode": "train"}, ckpt, None
    if resume == AUTO:
        _check_model(model, str(before["model"] or ""), path)
    folder = path.resolve().parents[1] if path.resolve().parent.name == "weights" else None
    if folder is None:  # the file was taken out of its run, whose folder may be that of another machine
        before |= {k: overrides.get(k) or DEFAULT_CFG_DICT.get(k) for k in _SAYS_WHERE}
    changed = _changes(overrides, before, path)
    if before["teacher"]:  # it may have moved
        changed["teacher"] = overrides.get("teacher") or before["teacher"]
    changed["trust_modules"] = overrides.get("trust_modules", False)  # no file can say that it is to be trusted
    if RANK == -1 and "device" not in changed and set(str(before["device"]).split(",")) == {"cpu"}:
        changed["device"] = _as_many_processes(len(ckpt["ranks"]), path)
    if (changed.get("epochs") or math.inf) <= ckpt["epoch"]:
        raise ConfigError(
            f"epochs={changed['epochs']} cannot be given to the run of '{path}', which has trained {ckpt['epoch'] + 1} "
            f"epochs already. Give more to go on, or epochs={ckpt['epoch'] + 1} to end it here."
        )
    settings = {**before, **changed, "resume": str(path), "mode": "train"}
    return settings, ckpt, folder


def _as_many_processes(count: int, path: Path) -> str:
    """Return the `device` of a run on a CPU with as many processes as before; raise ConfigError for too many."""
    cores = os.cpu_count() or 1
    if count > 4 * cores:
        raise ConfigError(
            f"The run of '{path}' began with {count} processes, and this machine has {cores} cores. Say with how many "
            "to go on: device=cpu for one, device=cpu,cpu for two."
        )
    return ",".join(["cpu"] * count)


def _is_interrupted(ckpt: dict) -> bool:
    return ckpt.get("optimizer") is not None and isinstance(ckpt.get("ranks"), list) and bool(ckpt["ranks"])


def check_interrupted(ckpt: dict, path: str | Path | bool | None) -> None:
    """Raise CheckpointError unless a checkpoint is that of an interrupted run."""
    if ckpt.get("optimizer") is None:
        epochs = ckpt["args"].get("epochs")
        after = f" after {epochs} epochs" if isinstance(epochs, int) else ""
        raise CheckpointError(
            f"'{path}' holds weights, but no interrupted run: its training has finished{after}, and nothing is left to "
            f"resume. Train on from these weights in a new run with model={path}, without resume; an interrupted run "
            "goes on from its weights/last.pt."
        )
    if not _is_interrupted(ckpt):
        raise CheckpointError(
            f"'{path}' was written by an older version of this package, which kept less of a run. "
            f"Train on from its weights with model={path}."
        )


def _check_model(given: str, before: str, path: Path) -> None:
    """Raise ConfigError if a command with `resume=auto` names another model; a file may have moved."""
    is_of_run = Path(given).resolve().parent == path.resolve().parent
    if given and before and Path(given).name != Path(before).name and not is_of_run:
        raise ConfigError(
            f"model={given} is not the model of the run of '{path}', which began with model={before}. "
            "Give that one to go on, or another name= to start a new run."
        )


def _changes(overrides: dict, before: dict, path: Path) -> dict:
    """Return the settings that may change on resume; raise ConfigError if another one was given a new value."""
    given = {k: v for k, v in overrides.items() if k not in _SAYS_WHICH_RUN}
    if before["teacher"]:
        given.pop("teacher", None)
    values = vars(get_cfg(overrides={**given, "model": overrides.get("model")}))  # `name=model` asks for it
    for key in given:
        if key not in RESUME_MAY_CHANGE and key in before and values[key] != before[key]:
            raise ConfigError(
                f"{key}={given[key]} cannot be given to the run of '{path}', which began with {key}={before[key]}: "
                f"its end would be that of neither. Leave {key} out, or start a new run. "
                f"A resumed run may change {', '.join(RESUME_MAY_CHANGE)}."
            )
    changed = {k: values[k] for k in given if k in RESUME_MAY_CHANGE}
    if changed.get("time", before["time"]):  # epochs follow from it
        changed.pop("epochs", None)
    if changed.get("batch", 1) < 1:  # it was chosen by the memory then, and stays
        del changed["batch"]
    return changed
