"""`yolo compare`: its arguments, and the steps from models or finished runs to the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ultralytics.cfg import parse_value
from ultralytics.cfg.schema import SPECS
from ultralytics.cfg.words import key_values
from ultralytics.lab.compare.cell import Cell, Record
from ultralytics.lab.compare.figures import images_of
from ultralytics.lab.compare.finished import FinishedRuns, read_runs
from ultralytics.lab.compare.latencies import latencies
from ultralytics.lab.compare.outcome import Outcome, command_of
from ultralytics.lab.compare.page import page
from ultralytics.lab.compare.plan import Plan, make_plan
from ultralytics.lab.compare.record import alone_in, keep_record
from ultralytics.lab.compare.runner import device_list, run_cells
from ultralytics.lab.compare.tables import csv_files, latex, markdown, plain, tables_of
from ultralytics.lab.latency import RUNTIMES
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.files import atomic_write
from ultralytics.utils.system.console import say

USAGE = f"""yolo compare models=a.yaml,b.yaml data=NAME.yaml epochs=60 seeds=3 imgsz=640 ...
    Train each model with each seed, all with the same settings, and compare them: tables (CSV, Markdown, LaTeX),
    figures and one HTML page. Run the same command again to continue.

yolo compare results=runs/detect/train,runs/detect/train2
    Compare finished runs; those that differ in the seed alone become one row.

  models=    model YAMLs or weight files; the first is what the others are compared with
  seeds=     how many (3 means 0, 1, 2), or which: seeds=[0,7]
  device=    cpu, 0, or several: 0,1 works on two cells at once, each on one; so does cpu,cpu
  runtimes=  where latency is measured: {",".join(RUNTIMES)}; none leaves it out
  threads=   threads of the latency measurement, 1 by default
  project=, name=   the folder, by default runs/TASK/compare
  and any setting of a training (`yolo help train`)
"""
OWN = ("models", "results", "seeds", "runtimes", "threads")
OF_RESULTS = (
    "runtimes",
    "threads",
    "device",
    "project",
    "name",
    "trust_modules",
)  # words that may stand beside results=


@dataclass(frozen=True)
class Conditions:
    """How a comparison is run; none of it affects what the models learn."""

    devices: list[str | None]
    runtimes: Sequence[str]
    threads: int
    command: str  # for the page

    @classmethod
    def of(cls, device: object, runtimes: Sequence[str], threads: int, command: str) -> Conditions:
        """Return valid conditions, or raise ConfigError."""
        if wrong := next((r for r in runtimes if r not in RUNTIMES), None):
            raise ConfigError(
                f"runtimes={wrong} is not known. Choose of {', '.join(RUNTIMES)}.{did_you_mean(wrong, RUNTIMES)}"
            )
        if type(threads) is not int or threads < 1:
            raise ConfigError(f"threads={threads!r} is not possible. Give a whole number of at least 1.")
        return cls(device_list(device), runtimes, threads, command)


def main(words: Sequence[str]) -> int:
    """Run `yolo compare` and return the exit code: 1 if a cell failed."""
    if not words:
        say(USAGE, end="")
        return 0
    given, command = parse(words), command_of(words)
    if results := given.pop("results", None):
        if other := sorted(given.keys() - {*OF_RESULTS}):
            raise ConfigError(f"results= compares runs as they are, so '{other[0]}' has no place beside it.")
        return int(compare_results(results, command=command, **given).failed > 0)
    models = given.pop("models", None)
    if not models:
        raise ConfigError("Which models? Write models=a.yaml,b.yaml to train them, or results=run1,run2.")
    return int(compare(models, command=command, **given).failed > 0)


def parse(words: Sequence[str]) -> Record:
    """Parse `key=value` words into a dict."""
    allowed = [*OWN, *(k for k, s in SPECS.items() if {"train", "val"} & {*s.modes})]
    return {key: _value(key, text) for key, text in key_values(words, "compare", allowed).items()}


def _value(key: str, text: str) -> object:
    """Parse the value of one argument."""
    if key in {"models", "results", "runtimes"}:
        parts = [part.strip().strip("'\"") for part in text.strip("[]()").split(",")]
        return [part for part in parts if part and part.lower() != "none"]
    return text if key == "device" else parse_value(key, text)


def compare(
    models: Sequence[str],
    seeds: int | Sequence[int] = 3,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    threads: int = 1,
    device: object = None,
    command: str = "",
    **settings: object,
) -> Outcome:
    """Train every model with every seed, and write tables, images and page into the comparison's folder.

    Args:
        models: model YAMLs or weight files; the first is what the others are compared with.
        seeds: how many, or which.
        runtimes: where latency is measured.
        threads: of the latency measurement.
        device: where cells are trained; several are used at once.
        command: what was typed, for the page.
        settings: settings of the trainings, `data` among them.

    Raises:
        UserError: something cannot be used, or the folder holds a comparison with other settings. A cell that fails
            raises nothing: its error stands below the tables.
    """
    given = {"models": ",".join(map(str, models)), "seeds": str(seeds).replace(" ", ""), **settings}
    command = command or command_of([f"{k}={v}" for k, v in given.items()])
    conditions = Conditions.of(device, runtimes, threads, command)
    plan = make_plan(models, seeds, settings)
    if device is None:
        conditions = replace(conditions, devices=device_list(plan.device))
    with alone_in(plan.folder) as folder:
        plan = plan if folder == plan.folder else plan.at(folder)
        keep_record(plan, command)
        return carry_out(plan, conditions)


def compare_results(
    results: Sequence[str | Path],
    runtimes: Sequence[str] = tuple(RUNTIMES),
    threads: int = 1,
    device: object = None,
    command: str = "",
    project: str | None = None,
    name: str | None = None,
    trust_modules: bool | str = False,
) -> Outcome:
    """Compare finished runs of `yolo train` by their folders; see `compare`."""
    command = command or command_of([f"results={','.join(map(str, results))}"])
    conditions = Conditions.of(device, runtimes, threads, command)
    runs = read_runs(results, project, name, trust_modules)
    for note in runs.notes[1:]:
        LOGGER.warning(note)
    with alone_in(runs.folder) as folder:
        runs = runs.at(folder)
        runs.drop_outdated()
        return carry_out(runs, conditions)


def carry_out(plan: Plan | FinishedRuns, conditions: Conditions) -> Outcome:
    """Run the cells that are left, measure latency, and write everything."""
    try:
        run_cells(plan.cells, conditions.devices)
    except KeyboardInterrupt:
        done = sum(cell.result is not None for cell in plan.cells)
        LOGGER.info(f"Stopped with {done} of {len(plan.cells)} cells finished; run the same command to continue.")
        raise
    outcome = Outcome.of(plan, conditions.command)
    finished: dict[str, Cell] = {}  # one of each model
    for cell in plan.cells:
        if cell.result is not None and cell.best.is_file():
            finished.setdefault(cell.label, cell)
    outcome.latency, outcome.latency_notes = latencies(finished, outcome.imgsz, conditions.runtimes, conditions.threads)
    write(outcome, plan.folder)
    return outcome


def write(outcome: Outcome, folder: Path) -> None:
    """Write all files of a comparison."""
    tables, images = tables_of(outcome), images_of(outcome)
    texts = {
        "table.md": markdown(outcome, tables),
        "table.tex": latex(outcome, tables),
        **csv_files(outcome),
        "index.html": page(outcome, tables, images),
    }
    files = {name: text.encode() for name, text in texts.items()}
    for name, (_, png, svg) in images.items():
        files |= {f"{name}.png": png, f"{name}.svg": svg}
    for name, content in files.items():
        with atomic_write(folder / name) as f:
            f.write(content)
    LOGGER.info(f"\n{plain(outcome, tables)}\n")
    LOGGER.info(f"Everything is in {colorstr('bold', str(folder))}; open index.html there.")
