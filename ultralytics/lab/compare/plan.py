"""The plan of a comparison: cells of models and seeds, all with one recipe, in one folder."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultralytics.cfg import get_cfg, read_settings
from ultralytics.cfg.schema import DEFAULTS
from ultralytics.lab.compare.cell import Cell, Record, read_json
from ultralytics.lab.compare.hashes import data_hash, is_yaml, model_hash
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.nn.parse import yaml_model_load
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import SETTINGS
from ultralytics.utils.checks import check_yaml
from ultralytics.utils.errors import ConfigError, MissingFileError

RECORD = "comparison.json"  # in the folder: what its cells have in common, see `record.py`
MOST_SEEDS = 1000  # trainings of each model; more would take years
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
    """A model that takes part: its name in the tables, its file, and a hash of what the file says."""

    label: str
    file: str
    sha256: str


@dataclass
class Plan:
    """Models times seeds with one recipe, in a folder."""

    models: list[Candidate]
    seeds: list[int]
    task: str
    settings: Record  # given ones
    folder: Path
    data_hash: str
    device: object = None  # that a settings file names
    notes: tuple[str, ...] = (
        "Every model was trained with the same settings, the same order of the data and the same seeds.",
    )

    @property
    def cells(self) -> list[Cell]:
        """All cells, seed by seed, so that a table of all models is available early."""
        return [self._cell(model, seed) for seed in self.seeds for model in self.models]

    def _cell(self, model: Candidate, seed: int) -> Cell:
        folder = self.folder / "cells" / folder_name(model.label) / f"seed{seed}"
        hashes = {"model": model.sha256, "data": self.data_hash}
        return Cell(model.label, model.file, seed, self.task, folder, folder / "run", self.settings, hashes)

    def at(self, folder: Path) -> Plan:
        """Return the same in another folder."""
        return replace(self, folder=folder, models=candidates([model.file for model in self.models], folder))


def make_plan(models: Sequence[str], seeds: int | Sequence[int], settings: Record) -> Plan:
    """Validate a comparison before hours are spent on it.

    Args:
        models: model YAMLs or weight files; the first is what the others are compared with.
        seeds: how many, or which.
        settings: settings of the trainings; `project` and `name` choose the folder, by default runs/TASK/compare.

    Raises:
        UserError: a model, the data or a setting cannot be used.
    """
    models = [str(m) for m in models]
    if not models:
        raise ConfigError("No models were given. Write models=yolo11n.yaml,yolo11n-GhostConv.yaml.")
    settings = check_settings({k: str(v) if isinstance(v, Path) else v for k, v in settings.items()})
    args = get_cfg(overrides=settings)
    if not isinstance(args.batch, int) or args.batch < 1:
        raise ConfigError(f"batch={args.batch} would differ from model to model. Give a number, such as batch=16.")
    tasks = {model: task_of(model) for model in models}
    task = settings.pop("task", None) or tasks[models[0]]
    if other := next((m for m, t in tasks.items() if t != task), None):
        raise ConfigError(
            f"'{other}' is a {tasks[other]} model, but '{models[0]}' a {task} model: they do not compare."
        )
    data = data_hash(args.data, task, args.split)
    where = Path(args.project) if args.project else Path(SETTINGS["runs_dir"]) / task
    folder = (where / (args.name or "compare")).absolute()
    given = {k: v for k, v in settings.items() if k not in {"project", "name", "device"}}
    found = candidates(models, folder)
    return Plan(found, seed_list(seeds), task, given, folder, data, settings.get("device"))


def check_settings(settings: Record) -> Record:
    """Merge the settings of the file that `cfg` names; raise ConfigError for those that a comparison decides."""
    if file := settings.pop("cfg", None):
        read = {k: v for k, v in read_settings(check_yaml(file)).items() if k not in {"cfg", "save_dir"}}
        settings = {**read, **settings}
        settings = {k: v for k, v in settings.items() if k not in {*DECIDED, "task"} or v != DEFAULTS[k]}
    for key in settings.keys() & DECIDED.keys():
        raise ConfigError(f"`yolo compare` decides '{key}' itself: {DECIDED[key]}.")
    return settings


def task_of(model: str) -> str:
    """Return the task of a model.

    Raises:
        MissingFileError: there is no such model.
    """
    if is_yaml(model):
        return guess_model_task(yaml_model_load(model))
    if not os.path.isfile(model):
        raise MissingFileError(f"The model '{model}' is neither a model YAML nor an existing weight file.")
    return load_checkpoint(model)["task"]


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """Return the seeds: `3` means 0, 1 and 2."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        found = [*range(min(seeds, MOST_SEEDS + 1))]
    else:
        found = list(seeds) if isinstance(seeds, (list, tuple, range)) else []
    right = 0 < len(found) <= MOST_SEEDS and all(type(s) is int and s >= 0 for s in found)
    if not right or len({*found}) < len(found):
        raise ConfigError(
            f"seeds={seeds!r} is not possible: give how many, such as seeds=3, or which, each once: seeds=[0,7]."
        )
    return found


# Names and folders ----------------------------------------------------------------------------------------------------


def candidates(models: Sequence[str], folder: Path) -> list[Candidate]:
    """Return the models under their names in the folder's record, new ones under short names."""
    hashes, labels = [model_hash(model) for model in models], labels_of(models)
    record = read_record(folder) or {"models": {}}
    known = {m["sha256"]: label for label, m in record["models"].items()}
    kept = [known.get(sha256, label) for sha256, label in zip(hashes, labels)]
    labels = kept if len({*kept}) == len(kept) else labels
    return [Candidate(*each) for each in zip(labels, models, hashes)]


def read_record(folder: Path) -> Record | None:
    """Return what the cells in a folder have in common, or None if it holds none; see `record.py`."""
    found = read_json(folder / RECORD, task=str, models=dict, recipe=dict)
    if found and not all(isinstance(m, dict) and isinstance(m.get("sha256"), str) for m in found["models"].values()):
        raise ConfigError(f"'{folder / RECORD}' names models without a hash. Delete it to have it written again.")
    return found


def labels_of(files: Sequence[str]) -> list[str]:
    """Return a short name for each file, all different: its stem, else its name, else its path."""
    paths = [Path(file) for file in files]
    if twice := [file for file, n in Counter(os.path.abspath(p) for p in paths).items() if n > 1]:
        raise ConfigError(f"'{Path(twice[0]).name}' was given twice. Name each model once.")
    for names in ([p.stem for p in paths], [p.name for p in paths], [p.as_posix() for p in paths]):
        if len({folder_name(name).casefold() for name in names}) == len(names):
            return names
    return [str(i) for i in range(1, len(paths) + 1)]


def folder_name(label: str) -> str:
    """Return a model's folder name, in which all but letters, digits, '_', '.' and '-' becomes '-'."""
    return re.sub(r"[^\w.-]+", "-", label).strip(".") or "model"
