"""The record in a comparison's folder, which keeps cells of all calls comparable, and the folder's lock."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ultralytics import __build__
from ultralytics.cfg import get_cfg
from ultralytics.cfg.schema import DEFAULTS, SPECS
from ultralytics.lab.compare.cell import Record, write_json
from ultralytics.lab.compare.hashes import file_hash
from ultralytics.lab.compare.plan import RECORD, Plan, folder_name, read_record
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import RunFolder

# What may differ between cells without making them incomparable: where and how a training runs, and what it leaves.
FREE = {
    "task", "mode", "model", "data", "save", "cache", "device", "workers", "project", "name", "exist_ok", "verbose",
    "seed", "resume", "save_period", "plots", "save_json", "save_txt", "save_conf", "trust_modules", "cfg", "profile",
    "dnn",
}  # fmt: skip
COMPARED = [k for k, s in SPECS.items() if k not in FREE and {"train", "val"} & {*s.modes}]


def keep_record(plan: Plan, command: str) -> None:
    """Record what the cells have in common, or check it against the existing record.

    Raises:
        ConfigError: a setting, a model, the data or the package has changed; the message names all that has.
    """
    file, recipe = plan.folder / RECORD, json.loads(json.dumps(recipe_of(plan)))
    old = read_record(plan.folder) or {"task": plan.task, "models": {}, "recipe": recipe}
    changes = [f"task={plan.task} (was {old['task']})"] if old["task"] != plan.task else []
    for key in {**old["recipe"], **recipe}:  # a setting that one of them lacks came later, and had its default
        now = recipe.get(key, DEFAULTS.get(key))
        was = old["recipe"].get(key, DEFAULTS.get(key, now))
        if now != was:
            changes.append(f"{key}={_short(now)} (was {_short(was)})")
    models = dict(old["models"])
    folders = {folder_name(label).casefold(): label for label in models}
    for model in plan.models:
        holder = folders.setdefault(folder_name(model.label).casefold(), model.label)
        known = models.setdefault(model.label, {"file": model.file, "sha256": model.sha256})
        if holder != model.label:
            changes.append(f"the folder of '{model.label}' holds the cells of '{holder}'")
        if known["sha256"] != model.sha256:
            changes.append(f"the content of '{model.file}'")
    if changes:
        raise ConfigError(
            f"The cells in '{plan.folder}' were trained otherwise, so that new ones could not be compared with them. "
            f"Changed: {', '.join(changes)}. Give the settings of before to go on, or another name= to start a new "
            "comparison."
        )
    write_json(file, {"task": plan.task, "models": models, "recipe": recipe, "command": command})


def recipe_of(plan: Plan) -> Record:
    """Return everything that results depend on: all settings, hashes of the files they name, the version."""
    args = vars(get_cfg(overrides=plan.settings))
    data = check_yaml(args["data"], hard=False) if str(args["data"]).lower().endswith((".yaml", ".yml")) else ""
    named = {k: v for k, v in args.items() if k in COMPARED and isinstance(v, str) and v.endswith(".pt")}
    return {
        **{k: args[k] for k in COMPARED},
        "data": f"{Path(args['data']).name} {file_hash(data) if data else ''}".strip(),  # wherever it lies
        "content of data": plan.data_hash,
        **{f"content of {k}": file_hash(v) for k, v in named.items() if Path(v).is_file()},
        "package": __build__,
    }


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 40 else f"{text[:12]}..."


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[Path]:
    """Lock a folder for this process, or a new numbered one where another process holds it, and yield it.

    The system releases it however the process ends.
    """
    f = _lock_file(folder)
    if not _lock(f):
        f.close()
        held, folder = folder, RunFolder(folder).make()
        LOGGER.info(f"Another process works in '{held}', so this comparison is made in '{folder}'.")
        f = _lock_file(folder)
        _lock(f)
    with f:
        yield folder


def _lock_file(folder: Path) -> IO[bytes]:
    """Open the lock file of a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open(folder / ".lock", "a+b")
    except OSError as e:
        raise ConfigError(
            f"The folder '{folder}' cannot be written: {e.strerror or e}. Choose another with project=FOLDER."
        ) from None


def _lock(f: IO[bytes]) -> bool:
    """Lock an open file; return False if another process holds the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            f.seek(0)
            msvcrt.locking(f.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
