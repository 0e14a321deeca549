"""Finished runs of `yolo train` as cells: those that differ in nothing but the seed are one row of the table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ultralytics.cfg import check_cfg
from ultralytics.cfg.schema import DEFAULTS
from ultralytics.lab.compare.plan import (
    COMPARED,
    Cell,
    code_hashes,
    data_hash,
    description_hash,
    file_hash,
    folder_name,
    labels_of,
    read_json,
    write_json,
)
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import SETTINGS, yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError

NEEDED = ("args.yaml", "results.csv", "weights/best.pt")


@dataclass
class Finished:
    """The cells of finished runs, where the comparison goes, and what has to be said of the runs."""

    cells: list[Cell]
    folder: Path
    task: str
    settings: dict[str, Any]  # those that all runs have in common, of those that were changed from their defaults
    notes: list[str] = field(default_factory=list)


def read_runs(folders: Sequence[str], project: str | None, name: str | None, trust_modules: Any = False) -> Finished:
    """Return the cells of finished runs, group by group in the order given.

    Raises:
        UserError: a folder is no run, or the runs are of several tasks.
    """
    folders = list(dict.fromkeys(str(Path(f)) for f in folders))
    runs = {folder: _settings(Path(folder)) for folder in folders}
    tasks = {args["task"] for args in runs.values()}
    if len(tasks) > 1:
        raise ConfigError(f"The runs are of several tasks, {', '.join(sorted(tasks))}, which do not compare.")
    task, groups = tasks.pop(), {}
    for folder, args in runs.items():
        own = [args["model"], layers_of(Path(folder)), recipe_of(args)]
        groups.setdefault(json.dumps(own, sort_keys=True, default=str), []).append(folder)
    groups = list(groups.values())
    labels = group_labels(groups, runs)
    where = (Path(project) if project else Path(SETTINGS["runs_dir"]) / task) / (name or "compare-results")
    where, cells, notes = where.absolute(), [], unfinished(runs)
    for label, members in zip(labels, groups):
        for folder in members:
            seed = runs[folder]["seed"]
            if any(c.label == label and c.seed == seed for c in cells):
                notes.append(f"'{folder}' repeats {label} with seed {seed} and is left out.")
                continue
            run, at = Path(folder).absolute(), where / "cells" / folder_name(label) / f"seed{seed}"
            own = {"trust_modules": trust_modules} if trust_modules else {}
            cells.append(Cell(label, str(runs[folder]["model"]), seed, task, at, run, own, train=False))
    _forget_changed(cells)
    recipes = {label: recipe_of(runs[members[0]]) for label, members in zip(labels, groups)}
    notes += differences_of(recipes)
    return Finished(cells, where, task, common(list(runs.values())), notes)


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a finished run."""
    if missing := [file for file in NEEDED if not (folder / file).is_file()]:
        raise MissingFileError(
            f"'{folder}' is no finished run of `yolo train`: it has no {' and no '.join(missing)}. "
            "Name folders such as runs/detect/train."
        )
    given = {k: v for k, v in yaml_load(folder / "args.yaml").items() if k in DEFAULTS}
    try:
        return {**DEFAULTS, **check_cfg(given)}  # checked, since task and seed become parts of paths
    except ConfigError as e:
        raise ConfigError(f"The settings in '{folder / 'args.yaml'}' cannot be used: {e}") from None


def layers_of(run: Path) -> str:
    """Return a hash of the layers that a run's weights have; a YAML of one name may have changed between two runs."""
    try:
        return description_hash(load_checkpoint(run / "weights" / "best.pt")["yaml"])
    except UserError:  # its cell will say what is wrong with the file
        return ""


def unfinished(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each run whose last.pt waits to be resumed."""
    notes = []
    for folder, args in runs.items():
        with suppress(UserError):
            if (last := load_checkpoint(Path(folder) / "weights" / "last.pt")).get("optimizer") is not None:
                done = f"{last['epoch'] + 1} of {args['epochs']} epochs"
                notes.append(f"The training of '{folder}' has not come to its end: it stands at {done}.")
    return notes


def recipe_of(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings on which the results of a run depend."""
    return {k: args[k] for k in COMPARED} | {"data": str(args["data"])}


def group_labels(groups: Sequence[Sequence[str]], runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a name for each group: its model's where that is one group's alone, else that of its first folder."""
    models = [Path(str(runs[members[0]]["model"])).stem for members in groups]
    by_folder = labels_of([members[0] for members in groups])
    alone = {m for m in models if models.count(m) == 1 and m not in {"best", "last"}}
    return [m if m in alone else f"{m} ({f})" for m, f in zip(models, by_folder)]


def differences_of(recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence on the settings in which the rows differ, if they do."""
    first = next(iter(recipes.values()))
    told = []
    for key in first:
        values = {label: recipe[key] for label, recipe in recipes.items()}
        if any(value != first[key] for value in values.values()):
            told.append(f"{key} ({', '.join(f'{label}: {value}' for label, value in values.items())})")
    if not told:
        return []
    return [f"The rows differ in more than the model, so their differences need not be due to it: {'; '.join(told)}."]


def common(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that are the same in all runs and not the default, and always data, epochs and sizes."""
    always = ("data", "epochs", "imgsz", "batch")
    keys = [*always, *(k for k in COMPARED if k not in always and runs[0][k] != DEFAULTS[k])]
    return {k: runs[0][k] for k in keys if all(run[k] == runs[0][k] for run in runs)}


def _forget_changed(cells: Sequence[Cell]) -> None:
    """Drop results of earlier calls whose weights, code or data have changed since."""
    for cell in cells:
        file, args = cell.folder / "weights.json", yaml_load(cell.run / "args.yaml")
        before = read_json(file) or {}
        try:
            data = data_hash(args.get("data"), cell.task, args.get("split") or DEFAULTS["split"])
        except UserError:  # the data have gone: what was measured stays
            data = before.get("data", "")
        code = code_hashes(str(cell.best), cell.settings.get("trust_modules", False))
        now = {"run": str(cell.run), "sha256": file_hash(cell.best), "data": data, "code": code}
        if before != now:
            (cell.folder / "result.json").unlink(missing_ok=True)
            write_json(file, now)
