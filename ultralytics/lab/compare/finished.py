"""Finished runs of `yolo train` as cells; runs that differ only in the seed are one row of the table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ultralytics import __build__
from ultralytics.cfg import check_cfg
from ultralytics.cfg.schema import DEFAULTS
from ultralytics.lab.compare.cell import Cell, Record
from ultralytics.lab.compare.hashes import data_hash, file_hash, layers_hash
from ultralytics.lab.compare.plan import folder_name, labels_of
from ultralytics.lab.compare.record import COMPARED
from ultralytics.nn.checkpoint import load_checkpoint
from ultralytics.utils import SETTINGS, yaml_load
from ultralytics.utils.errors import ConfigError, MissingFileError, UserError

NEEDED = ("args.yaml", "results.csv", "weights/best.pt")
SHOWN = ("data", "epochs", "imgsz", "batch")  # also where they are the defaults
Runs = Mapping[str, Record]  # the settings of each run, by its folder


@dataclass
class FinishedRuns:
    """Runs of one task as cells that only have to be evaluated; cells of a `Plan` are trained first."""

    cells: list[Cell]
    folder: Path
    task: str
    settings: Record  # that all runs share
    notes: list[str]

    def at(self, folder: Path) -> FinishedRuns:
        """Return the same in another folder."""
        cells = [replace(cell, folder=folder / cell.folder.relative_to(self.folder)) for cell in self.cells]
        return replace(self, folder=folder, cells=cells)

    def drop_outdated(self) -> None:
        """Delete what earlier calls measured of other weights or data, at another size or by another version."""
        for cell in self.cells:
            before = (cell.result or {}).get("hashes", {})
            now = {**cell.hashes, "data": cell.hashes["data"] or before.get("data")}
            if before != now:
                (cell.folder / "result.json").unlink(missing_ok=True)


def read_runs(
    folders: Sequence[str | Path], project: str | None = None, name: str | None = None, trusted: bool | str = False
) -> FinishedRuns:
    """Return finished runs as cells, row by row in the order given.

    Args:
        folders: of the runs, such as runs/detect/train.
        project, name: choose the folder of the comparison, by default runs/TASK/compare-results.
        trusted: run the module files that the weights name.

    Raises:
        UserError: a folder is no finished run, or the runs are of several tasks.
    """
    runs = {str(Path(folder)): settings_of(Path(folder)) for folder in folders}
    tasks = sorted({args["task"] for args in runs.values()})
    if len(tasks) != 1:
        raise ConfigError(f"results= compares runs of one task; these are of {', '.join(tasks) or 'none'}.")
    where = Path(project) if project else Path(SETTINGS["runs_dir"]) / tasks[0]
    root, rows = (where / (name or "compare-results")).absolute(), rows_of(runs)
    recipes = {label: recipe_of(runs[members[0]]) for label, members in rows.items()}
    shared = {k: v for k, v in next(iter(recipes.values())).items() if all(r[k] == v for r in recipes.values())}
    notes = ["These are finished runs of `yolo train`.", *differences(recipes, shared), *unfinished(runs)]
    size = max(int(np.max(args["imgsz"])) for args in runs.values())
    cells: dict[tuple[str, int], Cell] = {}
    for label, folder in ((label, folder) for label, members in rows.items() for folder in members):
        cell = cell_of(label, Path(folder), runs[folder], root, size)
        cell.settings = {"trust_modules": trusted} if trusted else {}
        if cells.setdefault((label, cell.seed), cell) is not cell:
            notes.append(f"'{folder}' repeats {cell.name} and is left out.")
    shown = {k: v for k, v in shared.items() if k in SHOWN or v != DEFAULTS[k]}
    return FinishedRuns([*cells.values()], root, tasks[0], shown, notes)


def cell_of(label: str, run: Path, args: Record, root: Path, size: int) -> Cell:
    """Return the cell of a run, in the folder `root` of the comparison; its cost is counted at `size` pixels."""
    folder = root / "cells" / folder_name(label) / f"seed{args['seed']}"
    cell = Cell(label, str(args["model"]), args["seed"], args["task"], folder, run.absolute())
    cell.finished, cell.cost_size = True, size
    cell.hashes = {"weights": file_hash(cell.best), "data": "", "package": __build__, "imgsz": str(size)}
    with suppress(UserError):  # where the data have gone, what was measured on them stays
        cell.hashes["data"] = data_hash(args["data"], args["task"], args["split"])
    return cell


def settings_of(run: Path) -> Record:
    """Return the settings of a finished run."""
    if missing := [file for file in NEEDED if not (run / file).is_file()]:
        raise MissingFileError(
            f"'{run}' is no finished run of `yolo train`: it has no {' and no '.join(missing)}. "
            "Name folders such as runs/detect/train."
        )
    given = {k: v for k, v in yaml_load(run / "args.yaml").items() if k in DEFAULTS}
    try:
        return {**DEFAULTS, **check_cfg(given)}  # checked, since task and seed become parts of paths
    except ConfigError as e:
        raise ConfigError(f"The settings in '{run / 'args.yaml'}' cannot be used: {e}") from None


def rows_of(runs: Runs) -> dict[str, list[str]]:
    """Return the folders of each row: runs of one model, one set of layers and one recipe.

    A row is named by its model; where several rows have the same, by the first of its folders as well.
    """
    groups: dict[str, list[str]] = {}
    for folder, args in runs.items():
        key = json.dumps([args["model"], _layers_of(folder), recipe_of(args)], sort_keys=True, default=str)
        groups.setdefault(key, []).append(folder)
    models = [Path(str(runs[members[0]]["model"])).stem for members in groups.values()]
    folders = labels_of([members[0] for members in groups.values()])
    alone = {m for m in models if models.count(m) == 1 and m not in {"best", "last"}}
    labels = [m if m in alone else f"{m} ({f})" for m, f in zip(models, folders)]
    return dict(zip(labels, groups.values()))


def recipe_of(args: Record) -> Record:
    """Return the settings on which the results of a run depend."""
    return {k: args[k] for k in COMPARED} | {"data": str(args["data"])}


def _layers_of(folder: str) -> str:
    """Return a hash of the layers in a run's weights, since a YAML may have changed between two runs."""
    with suppress(UserError):  # its cell will say what is wrong with the file
        return layers_hash(load_checkpoint(Path(folder, "weights", "best.pt"))["yaml"])
    return ""


def differences(recipes: Mapping[str, Record], shared: Record) -> Iterator[str]:
    """Yield a sentence on the settings in which rows differ, if they do."""
    unlike = [key for key in next(iter(recipes.values())) if key not in shared]
    texts = [f"{key} ({', '.join(f'{label}: {r[key]}' for label, r in recipes.items())})" for key in unlike]
    if texts:
        yield f"The rows differ in more than the model, which may be why their figures do: {'; '.join(texts)}."


def unfinished(runs: Runs) -> Iterator[str]:
    """Yield a sentence for each run whose last.pt waits to be resumed."""
    for folder, args in runs.items():
        with suppress(UserError):
            last = load_checkpoint(Path(folder, "weights", "last.pt"))
            if last.get("optimizer") is not None:
                yield f"The training in '{folder}' is incomplete: {last['epoch'] + 1} of {args['epochs']} epochs."
