"""What is to be compared: models and seeds make cells, and a record in the folder says what they have in common."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg, read_settings
from ultralytics.cfg.schema import DEFAULTS, SPECS
from ultralytics.lab.compare.code import changed_code, code_of
from ultralytics.utils import LOGGER, SETTINGS
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError
from ultralytics.utils.files import RunFolder, atomic_write, open_regular
from ultralytics.utils.files import read_json as load_json

RECORD = "comparison.json"
MOST_SEEDS = 1000  # trainings of each model; more would take years
# What may differ between cells without making them incomparable: where and how a training runs, and what it leaves.
FREE = {
    "task", "mode", "model", "data", "save", "cache", "device", "workers", "project", "name", "exist_ok", "verbose",
    "seed", "resume", "save_period", "plots", "save_json", "save_txt", "save_conf", "trust_modules", "cfg", "profile",
    "dnn",
}  # fmt: skip
COMPARED = [k for k, s in SPECS.items() if k not in FREE and {"train", "val"} & {*s.modes}]
# Settings that a comparison decides itself, and what to write instead.
DECIDED = {
    "model": "name the models with models=",
    "seed": "write seeds=3 for three seeds, or seeds=[7] for one",
    "resume": "the same command goes on by itself",
    "mode": "leave it out",
    "time": "the number of epochs would depend on how busy the machine is; write epochs=",
    "save": "weights are needed for the comparison; leave it out",
    "exist_ok": "the same folder is gone on with, and name= chooses another",
}


@dataclass(frozen=True)
class Candidate:
    """A model that takes part: its name in the tables, its file, and hashes of what the file says and of its code."""

    label: str
    file: str
    sha256: str = ""
    code: dict[str, str] = field(default_factory=dict)


@dataclass
class Cell:
    """One training (or one finished run) of one model with one seed."""

    label: str
    model: str
    seed: int
    task: str
    folder: Path  # of result.json, error.json and log.txt
    run: Path  # of args.yaml, results.csv and weights
    settings: dict[str, Any] = field(default_factory=dict)
    train: bool = True
    hashes: dict[str, Any] = field(default_factory=dict)  # of the model's and the data's content, as planned

    @property
    def result(self) -> dict[str, Any] | None:
        """What the cell measured, if it has finished."""
        return read_json(self.folder / "result.json")

    @property
    def error(self) -> str | None:
        """Why the cell failed, if it did."""
        found = read_json(self.folder / "error.json", error=str)
        return found["error"] if found else None

    @property
    def best(self) -> Path:
        """The weights that are judged."""
        return self.run / "weights" / "best.pt"

    def fail(self, sentence: str) -> None:
        """Leave behind why the cell failed."""
        write_json(self.folder / "error.json", {"error": sentence})

    def job(self, device: str | None) -> dict[str, Any]:
        """Return what the process of the cell is told."""
        paths = {"folder": str(self.folder), "run": str(self.run)}
        return {**{k: getattr(self, k) for k in ("label", "model", "seed", "task", "settings", "train", "hashes")},
                **paths, "device": device}  # fmt: skip


# JSON -----------------------------------------------------------------------------------------------------------------


def read_json(file: Path, **wanted: type) -> dict[str, Any] | None:
    """Return what a JSON file holds, or None if there is none; `wanted` are keys that it must have, and their types."""
    if not file.exists():
        return None
    try:
        found = load_json(file)
    except UserError as e:
        raise ConfigError(f"{e} Since it cannot be read, delete it to have it made anew.") from None
    right = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in wanted.items())
    if right and "models" in wanted:
        right = all(isinstance(m, dict) and isinstance(m.get("sha256"), str) for m in found["models"].values())
    if not right:
        raise ConfigError(f"'{file}' holds something else than it should. Delete it to have it made anew.")
    return found


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        with atomic_write(file, "w", encoding="utf-8") as f:
            json.dump(content, f, ensure_ascii=False, indent=1, allow_nan=False)
    except OSError as e:
        raise ConfigError(
            f"'{file}' cannot be written: {e.strerror or e}. Make room, or choose another folder with project=FOLDER."
        ) from None


# Models ---------------------------------------------------------------------------------------------------------------


def labels_of(files: Sequence[str]) -> list[str]:
    """Return a short name for each file, all different: its stem, else its name, else with the folders above it."""
    paths = [Path(file) for file in files]
    if twice := [file for file, n in Counter(os.path.abspath(p) for p in paths).items() if n > 1]:
        raise ConfigError(f"'{Path(twice[0]).name}' was given twice. Name each model once.")
    ways = [lambda p: p.stem, lambda p: p.name]
    deepest = max((len(p.parts) for p in paths), default=1)
    ways += [lambda p, n=n: "/".join(p.parts[-n:]) for n in range(2, deepest + 1)]
    for way in ways:
        names = [way(p) for p in paths]
        if len({folder_name(name).casefold() for name in names}) == len(names):
            return names
    return [str(i) for i in range(1, len(paths) + 1)]


def folder_name(label: str) -> str:
    """Return a folder's name for a model: whatever is no letter, digit, '_', '.' or '-' becomes '-'."""
    return re.sub(r"[^\w.-]+", "-", label).strip(".") or "model"


def fingerprint(model: str) -> str:
    """Return a hash of what a model's file says: of the layers of a YAML and its module files, or of a weight file."""
    from ultralytics.nn.tasks import yaml_model_load

    if Path(model).suffix.lower() not in {".yaml", ".yml"}:
        return file_hash(model)
    return description_hash(yaml_model_load(model))


def description_hash(d: Mapping[str, Any]) -> str:
    """Return a hash of the layers that a model's description has, and of its module files."""
    d = {k: v for k, v in d.items() if k != "yaml_file"}
    if isinstance(d.get("modules"), list):
        d["modules"] = [m.get("sha256") if isinstance(m, dict) else m for m in d["modules"]]
    return hashlib.sha256(json.dumps(d, sort_keys=True, default=str).encode()).hexdigest()


def file_hash(file: str | Path) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open_regular(file) as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def code_hashes(model: str, trusts: Any = False) -> dict[str, str]:
    """Return the code of a model, see `code_of`; nothing where it cannot be built, as its cells will say."""
    from ultralytics import YOLO

    try:
        return code_of(YOLO(model, trust_modules=trusts).model)
    except Exception:  # whatever a user's own layers raise
        return {}


def task_of(model: str) -> str:
    """Return the task of a model.

    Raises:
        MissingFileError: there is no such model.
    """
    from ultralytics.nn.checkpoint import load_checkpoint
    from ultralytics.nn.tasks import guess_model_task, yaml_model_load

    if Path(model).suffix.lower() in {".yaml", ".yml"}:
        return guess_model_task(yaml_model_load(model))
    if not os.path.isfile(model):
        raise MissingFileError(f"The model '{model}' is neither a model YAML nor a weight file that is here.")
    return load_checkpoint(model)["task"]


# The plan -------------------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """Models times seeds with one recipe, in a folder."""

    models: list[Candidate]
    seeds: list[int]
    task: str
    settings: dict[str, Any]  # given ones
    folder: Path
    command: str
    data_hash: str = ""
    device: Any = None  # that a settings file names

    @property
    def cells(self) -> list[Cell]:
        """All cells, seed by seed, so that a table of all models is there as early as may be."""
        return [self._cell(model, seed) for seed in self.seeds for model in self.models]

    def at(self, folder: Path) -> Plan:
        """Return the same in another folder."""
        return replace(self, folder=folder, models=candidates([model.file for model in self.models], folder))

    def _cell(self, model: Candidate, seed: int) -> Cell:
        folder = self.folder / "cells" / folder_name(model.label) / f"seed{seed}"
        hashes = {"model": model.sha256, "code": model.code, "data": self.data_hash}
        return Cell(model.label, model.file, seed, self.task, folder, folder / "run", self.settings, hashes=hashes)

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings on which results depend, in full, and the hashes of the files that they name."""
        args = vars(get_cfg(overrides=self.settings))
        data = {"data": data_identity(args["data"]), "content of data": self.data_hash}
        return {**{k: args[k] for k in COMPARED}, **data, **_named_files(args)}

    def record(self) -> None:
        """Write down what the cells have in common, or see that it is what the cells of before had.

        Raises:
            ConfigError: a setting or a model has changed; the message names all that has.
        """
        file, recipe = self.folder / RECORD, json.loads(json.dumps(self.recipe))
        old = read_json(file, task=str, models=dict, recipe=dict) or {}
        models = dict(old.get("models", {}))
        before, changes = old.get("recipe", recipe), []
        for key in {**before, **recipe}:  # a setting that one of them lacks came later, and had its default
            now = recipe.get(key, DEFAULTS.get(key))
            was = before.get(key, DEFAULTS.get(key, now))
            if now != was:
                changes.append(f"{key}={_short(now)} (was {_short(was)})")
        if old and old["task"] != self.task:
            changes.insert(0, f"task={self.task} (was {old['task']})")
        folders = {folder_name(label).casefold(): label for label in models}
        for model in self.models:
            holder = folders.setdefault(folder_name(model.label).casefold(), model.label)
            if holder != model.label:
                changes.append(f"the folder of '{model.label}' holds the cells of '{holder}'")
            own = {"file": model.file, "sha256": model.sha256, "code": model.code}
            known = models.setdefault(model.label, own)
            if known["sha256"] != model.sha256:
                changes.append(f"the content of '{model.file}'")
            elif classes := changed_code(known.get("code"), model.code):
                changes.append(f"the code of {', '.join(classes)} in '{model.file}'")
            known["code"] = known.get("code") or model.code  # records of before had none
        if changes:
            raise ConfigError(
                f"The cells in '{self.folder}' were trained otherwise, so that new ones could not be compared with "
                f"them. Changed: {', '.join(changes)}. Give the settings of before to go on, or another name= to "
                "start a new comparison."
            )
        write_json(file, {"task": self.task, "models": models, "recipe": recipe, "command": self.command})


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 40 else f"{text[:12]}..."


def data_identity(data: str | None) -> str:
    """Return the name of a data set, with the hash of its YAML if it has one; where it lies does not matter."""
    file = check_yaml(data, hard=False) if str(data).lower().endswith((".yaml", ".yml")) else ""
    return f"{Path(str(data)).name} {file_hash(file)}" if file else Path(str(data)).name


def data_hash(data: str | None, task: str, split: str = "val") -> str:
    """Return a hash of what is trained and judged on, wherever it lies: names and sizes of images, and their labels.

    Raises:
        UserError: the data set cannot be used.
    """
    from ultralytics.data.classify_dataset import find_samples
    from ultralytics.data.dataset import find_images
    from ultralytics.data.labels import img2label_paths
    from ultralytics.data.utils import check_cls_dataset, check_det_dataset

    if not data:
        raise ConfigError("No data was given. Write data= and a data YAML, such as data=fire.yaml.")
    by_folder = task == "classify"
    found = check_cls_dataset(data, split) if by_folder else check_det_dataset(data)
    digest = hashlib.sha256()
    for where in (found[key] for key in dict.fromkeys(("train", "val", split)) if found.get(key)):
        images = [file for file, _ in find_samples(where)[1]] if by_folder else find_images(where)
        for file, label in zip(images, images if by_folder else img2label_paths(images)):
            name = "/".join(Path(file).parts[-2 if by_folder else -1 :])  # the folder is the class
            size = os.path.getsize(file) if os.path.isfile(file) else -1
            said = b"" if by_folder or not os.path.isfile(label) else Path(label).read_bytes()
            digest.update(f"{name}\0{size}\0{len(said)}\0".encode("utf-8", "surrogateescape") + said)
    return digest.hexdigest()


def _named_files(args: Mapping[str, Any]) -> dict[str, str]:
    """Return hashes of the weight files that settings name, such as `pretrained`."""
    files = {k: v for k, v in args.items() if k in COMPARED and isinstance(v, str) and v.endswith(".pt")}
    return {f"content of {k}": file_hash(v) for k, v in files.items() if Path(v).is_file()}


def make_plan(models: Sequence[str], seeds: int | Sequence[int], settings: dict[str, Any], command: str = "") -> Plan:
    """Check what is to be compared before hours are spent on it.

    Args:
        models: model YAMLs or weight files; the first is what the others are compared with.
        seeds: how many, or which.
        settings: settings of the trainings; `project` and `name` choose the folder, by default runs/TASK/compare.
        command: what was typed.

    Raises:
        UserError: a model, the data or a setting cannot be used.
    """
    models = [str(m) for m in models]
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
    if not models:
        raise ConfigError("No models were given. Write models=yolo11n.yaml,yolo11n-GhostConv.yaml.")
    if file := settings.pop("cfg", None):
        settings = {
            **{k: v for k, v in read_settings(check_yaml(file)).items() if k not in {"cfg", "save_dir"}},
            **settings,
        }
        settings = {k: v for k, v in settings.items() if k not in {*DECIDED, "task"} or v != DEFAULTS[k]}
    for key in settings.keys() & DECIDED.keys():
        raise ConfigError(f"`yolo compare` decides '{key}' itself: {DECIDED[key]}.")
    args = get_cfg(overrides=settings)
    if not isinstance(args.batch, int) or args.batch < 1:
        raise ConfigError(f"batch={args.batch} would differ from model to model. Give a number, such as batch=16.")
    tasks = {model: task_of(model) for model in models}
    task = settings.pop("task", None) or tasks[models[0]]
    if other := next((m for m, t in tasks.items() if t != task), None):
        raise ConfigError(
            f"'{other}' is a model to {tasks[other]}, but '{models[0]}' one to {task}: they do not compare."
        )
    content = data_hash(args.data, task, args.split)
    where = Path(args.project) if args.project else Path(SETTINGS["runs_dir"]) / task
    folder = (where / (args.name or "compare")).absolute()
    given = {k: v for k, v in settings.items() if k not in {"project", "name", "device"}}
    found = candidates(models, folder, settings.get("trust_modules", False))
    return Plan(found, seed_list(seeds), task, given, folder, command, content, settings.get("device"))


def candidates(models: Sequence[str], folder: Path, trusts: Any = False) -> list[Candidate]:
    """Return the models under the names that the record in the folder has for them, new ones under short ones."""
    hashes, labels = [fingerprint(model) for model in models], labels_of(models)
    record = read_json(folder / RECORD, models=dict) or {"models": {}}
    known = {m["sha256"]: label for label, m in record["models"].items()}
    kept = [known.get(sha256, label) for sha256, label in zip(hashes, labels)]
    labels = kept if len({*kept}) == len(kept) else labels
    return [Candidate(*each, code_hashes(each[1], trusts)) for each in zip(labels, models, hashes)]


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds: `3` means 0, 1 and 2."""
    whole = isinstance(seeds, int) and not isinstance(seeds, bool)
    given = range(min(seeds, MOST_SEEDS + 1)) if whole else seeds
    found = list(given) if isinstance(given, (list, tuple, range)) else []
    right = 0 < len(found) <= MOST_SEEDS and all(type(s) is int and s >= 0 for s in found)
    if not right or len({*found}) < len(found):
        raise ConfigError(
            f"seeds={seeds!r} is not possible: give how many, such as seeds=3, or which, each once: seeds=[0,7]."
        )
    return found


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[Path]:
    """Hold a folder for this process, or a new one with a number where another process holds it, and return which.

    The system lets go of it however the process ends.
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


def _lock_file(folder: Path) -> Any:
    """Open the file of a folder that is locked."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open(folder / ".lock", "a+b")
    except OSError as e:
        raise ConfigError(
            f"The folder '{folder}' cannot be written: {e.strerror or e}. Choose another with project=FOLDER."
        ) from None


def _lock(f: Any) -> bool:
    """Take the system's lock of an open file; False if another process has it."""
    try:
        if os.name == "nt":
            import msvcrt

            f.seek(0)
            msvcrt.locking(f.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
