"""`yolo compare`: what its words mean, and the whole way from models or runs to the page."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ultralytics.cfg import smart_value
from ultralytics.cfg.schema import SPECS
from ultralytics.cfg.words import key_values
from ultralytics.lab.compare.figures import images_of
from ultralytics.lab.compare.latencies import RUNTIMES, latencies
from ultralytics.lab.compare.outcome import Outcome, Row, command_of
from ultralytics.lab.compare.page import page
from ultralytics.lab.compare.plan import Cell, alone_in, make_plan
from ultralytics.lab.compare.runner import device_list, run_cells
from ultralytics.lab.compare.tables import COSTS, csv_files, latex, markdown, plain, tables_of
from ultralytics.utils import LOGGER, colorstr
from ultralytics.utils.errors import ConfigError, did_you_mean
from ultralytics.utils.files import atomic_write
from ultralytics.utils.system.console import say

USAGE = f"""yolo compare models=a.yaml,b.yaml data=NAME.yaml epochs=60 seeds=3 imgsz=640 ...
    Train each model with each seed, all with the same settings, and compare them: tables (CSV, Markdown, LaTeX),
    images and one HTML page. The same command again goes on where it stood.

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


def main(words: Sequence[str]) -> int:
    """Run `yolo compare` and return the exit code: 1 if a cell failed."""
    if not words:
        say(USAGE, end="")
        return 0
    given = parse(words)
    command = command_of(words)
    if results := given.pop("results", None):
        if mixed := given.keys() - {"project", "name", "device", "runtimes", "threads", "trust_modules"}:
            raise ConfigError(
                f"results= compares runs as they are, so '{sorted(mixed)[0]}' has no place beside it; it takes "
                "project, name, device, runtimes, threads and trust_modules."
            )
        return int(compare_results(results, command=command, **given).failed > 0)
    models = given.pop("models", None)
    if not models:
        raise ConfigError("Which models? Write models=a.yaml,b.yaml to train them, or results=run1,run2.")
    return int(compare(models, command=command, **given).failed > 0)


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` words as a dict of values."""
    allowed = [*OWN, *(k for k, s in SPECS.items() if {"train", "val"} & {*s.modes})]
    return {key: _value(key, text) for key, text in key_values(words, "compare", allowed).items()}


def _value(key: str, text: str) -> Any:
    """Return what a text means for a key."""
    if key in {"models", "results", "runtimes"}:
        parts = [part.strip().strip("'\"") for part in text.strip("[]()").split(",")]
        return [part for part in parts if part and part.lower() != "none"]
    words_only = key in SPECS and not {"Any", "bool", "int", "float", "list", "list[int]"} & {*SPECS[key].kinds}
    return text if key == "device" or (words_only and text.lower() not in {"none", "null"}) else smart_value(text)


# The two ways ---------------------------------------------------------------------------------------------------------


def compare(
    models: Sequence[str],
    seeds: int | Sequence[int] = 3,
    runtimes: Sequence[str] = tuple(RUNTIMES),
    threads: int = 1,
    device: Any = None,
    command: str = "",
    **settings: Any,
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
            raises nothing: its error stands in the table.
    """
    check_latency(runtimes, threads)
    words = [
        f"models={','.join(map(str, models))}",
        f"seeds={_text(seeds)}",
        *(f"{k}={v}" for k, v in settings.items()),
    ]
    plan = make_plan(models, seeds, settings, command or command_of(words))
    devices = device_list(plan.device if device is None else device)
    with alone_in(plan.folder) as folder:
        plan = plan.at(folder)
        plan.record()
        return _work(plan.cells, devices, plan.folder, plan.task, plan.settings, plan.command, runtimes, threads, [])


def compare_results(
    results: Sequence[str],
    runtimes: Sequence[str] = tuple(RUNTIMES),
    threads: int = 1,
    device: Any = None,
    command: str = "",
    project: str | None = None,
    name: str | None = None,
    trust_modules: bool | str = False,
) -> Outcome:
    """Compare finished runs of `yolo train` by their folders; see `compare`."""
    from ultralytics.lab.compare.finished import read_runs

    check_latency(runtimes, threads)
    devices = device_list(device)
    found = read_runs([str(r) for r in results], project, name, trust_modules)
    for note in found.notes:
        LOGGER.warning(note)
    command = command or command_of([f"results={','.join(map(str, results))}"])
    with alone_in(found.folder) as folder:
        if folder != found.folder:
            found = read_runs([str(r) for r in results], str(folder.parent), folder.name, trust_modules)
        return _work(
            found.cells, devices, found.folder, found.task, found.settings, command, runtimes, threads, found.notes
        )


def _text(seeds: Any) -> str:
    return str(seeds).replace(" ", "")


def check_latency(runtimes: Sequence[str], threads: int) -> None:
    """Raise ConfigError for a runtime that is not known, or no number of threads."""
    if wrong := next((r for r in runtimes if r not in RUNTIMES), None):
        raise ConfigError(
            f"runtimes={wrong} is not known. Choose of {', '.join(RUNTIMES)}.{did_you_mean(wrong, RUNTIMES)}"
        )
    if type(threads) is not int or threads < 1:
        raise ConfigError(f"threads={threads!r} is not possible. Give a whole number of at least 1.")


def _work(
    cells: Sequence[Cell], devices: Sequence[str | None], folder: Path, task: str, settings: dict[str, Any],
    command: str, runtimes: Sequence[str], threads: int, notes: Sequence[str],
) -> Outcome:  # fmt: skip
    """Run the cells that are left, measure latency, and write everything."""
    try:
        run_cells(cells, devices)
    except KeyboardInterrupt:
        done = sum(cell.result is not None for cell in cells)
        LOGGER.info(f"Stopped with {done} of {len(cells)} cells finished; the same command goes on from here.")
        raise
    outcome = Outcome.of(cells, task, settings, command)
    outcome.notes += notes
    finished = {cell.label: cell for cell in reversed(cells) if cell.result is not None and cell.best.is_file()}
    finished = {row.label: finished[row.label] for row in outcome.rows if row.label in finished}
    outcome.notes += costs_at_one_size(outcome.rows, finished, outcome.imgsz)
    outcome.latency, said = latencies(finished, outcome.imgsz, runtimes, threads, folder / "latency.json")
    outcome.notes += said
    write(outcome, folder)
    return outcome


def costs_at_one_size(rows: Sequence[Row], cells: Mapping[str, Cell], imgsz: int) -> list[str]:
    """Count GFLOPs anew at a size for models that were trained at another one; return a sentence if there are any.

    Args:
        rows: what the models measured; their costs are changed.
        cells: a finished cell by model, whose weights are taken.
        imgsz: side of the image in pixels.
    """
    from ultralytics.lab.profile import cost_of
    from ultralytics.nn.tasks import attempt_load_weights, trust_modules

    others = [row for row in rows if row.label in cells and any(r["imgsz"] != imgsz for r in row.results.values())]
    for row in others:
        cell = cells[row.label]
        trust_modules(cell.best, cell.settings.get("trust_modules", False))
        cost = cost_of(attempt_load_weights(str(cell.best)), imgsz, weights=cell.best)
        for result in row.results.values():
            result["cost"] = {k: getattr(cost, k) for k in COSTS}
    said = f"The models were trained at several sizes; GFLOPs and latency are those at {imgsz} pixels."
    return [said] if others else []


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
    width = max(shutil.get_terminal_size((120, 24)).columns, 60)
    LOGGER.info(f"\n{plain(outcome, tables, width)}\n")
    LOGGER.info(f"Everything is in {colorstr('bold', str(folder))}; open index.html there.")
