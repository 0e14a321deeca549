"""What came out: a row for each model with its seeds, what was measured, and all that has to be said with it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg.tasks import TASKS
from ultralytics.lab.compare.plan import COMPARED, Cell
from ultralytics.lab.compare.statistics import Difference, Stat
from ultralytics.utils.plotting import read_results

NAMES = {"precision": "P", "recall": "R", "accuracy_top1": "top-1", "accuracy_top5": "top-5"}
PARTS = {"B": "box", "M": "mask", "P": "pose"}
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Column:
    """A figure by which models are judged: where it lies in a result, and what it is called."""

    group: str  # "metrics" or "sizes"
    key: str
    title: str

    def value(self, result: dict[str, Any]) -> float | None:
        """Return the figure of one cell; None where it has none."""
        return result[self.group].get(self.key)


@dataclass
class Row:
    """A model: the results of its finished cells and the errors of those that failed, by seed."""

    label: str
    file: str
    results: dict[int, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    runs: dict[int, Path] = field(default_factory=dict)

    def values(self, column: Column) -> dict[int, float]:
        """Return a column's figures by seed."""
        found = {seed: column.value(result) for seed, result in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def stat(self, column: Column) -> Stat:
        """Return mean and standard deviation of a column over the seeds."""
        return Stat.of(list(self.values(column).values()))

    @property
    def cost(self) -> dict[str, float] | None:
        """Parameters, GFLOPs and size, which are the same for all seeds."""
        return next((result["cost"] for result in self.results.values()), None)

    @cached_property
    def histories(self) -> list[dict[str, np.ndarray]]:
        """The columns of results.csv, seed by seed."""
        files = [self.runs[seed] / "results.csv" for seed in sorted(self.results)]
        return [read_results(file) for file in files if file.is_file()]


@dataclass
class Outcome:
    """Everything that the tables, the images and the page show."""

    task: str
    seeds: list[int]
    rows: list[Row]
    settings: dict[str, Any]
    command: str
    trained_here: bool = True  # and not finished runs
    latency: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, cells: Sequence[Cell], task: str, settings: dict[str, Any], command: str) -> Outcome:
        """Gather what the cells left behind."""
        rows: dict[str, Row] = {}
        for cell in cells:
            row = rows.setdefault(cell.label, Row(cell.label, cell.model))
            row.runs[cell.seed] = cell.run
            if result := cell.result:
                row.results[cell.seed] = result
            else:
                row.failures[cell.seed] = cell.error or "It has not been worked on."
        seeds, here = sorted({cell.seed for cell in cells}), all(cell.train for cell in cells)
        return cls(task, seeds, list(rows.values()), settings, command, here)

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of all finished cells."""
        return [result for row in self.rows for result in row.results.values()]

    @property
    def imgsz(self) -> int:
        """The size in pixels at which cost is compared: the largest at which one was trained; 0 without results."""
        return max((result["imgsz"] for result in self.results), default=0)

    @property
    def failed(self) -> int:
        """How many cells have no result."""
        return sum(len(row.failures) for row in self.rows)

    @cached_property
    def columns(self) -> list[Column]:
        """The figures of the task, in the order of its metrics, then average precision by the size of objects."""
        keys = list(dict.fromkeys(key for result in self.results for key in result["metrics"]))
        several = len({part_of(key) for key in keys}) > 1
        found = [Column("metrics", key, title_of(key, several)) for key in keys]
        sizes = [s for s in SIZES if any(result["sizes"].get(s) is not None for result in self.results)]
        return found + [Column("sizes", size, f"AP {size}") for size in sizes]

    @property
    def main(self) -> Column:
        """The figure by which models of the task are ranked."""
        key = TASKS[self.task].metric
        return next((c for c in self.columns if c.key == key), Column("metrics", key, title_of(key, False)))

    def difference(self, row: Row, column: Column) -> Difference:
        """Return by how much a model differs from the first one, seed by seed."""
        return Difference.of(self.rows[0].values(column), row.values(column))

    @property
    def runtimes(self) -> list[str]:
        """The runtimes in which latency was measured."""
        return list(dict.fromkeys(entry["runtime"] for entry in self.latency))

    def latency_of(self, label: str, runtime: str) -> dict[str, Any] | None:
        """Return the latency of a model in a runtime."""
        return next((e for e in self.latency if (e["model"], e["runtime"]) == (label, runtime)), None)

    # What has to be said ----------------------------------------------------------------------------------------------

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What was run, as name and text."""
        results, settings = self.results, dict(self.settings)
        fixed = [(key, settings.pop(key)) for key in ("data", "epochs", "imgsz", "batch") if key in settings]
        said = [("task", self.task), *((key, str(value)) for key, value in fixed)]
        if other := {k: v for k, v in settings.items() if k in COMPARED or k == "trust_modules"}:
            said.append(("other settings", ", ".join(f"{k}={v}" for k, v in other.items())))
        said.append(("seeds", ", ".join(map(str, self.seeds))))
        said += [(name, text) for name, key in (("classes", "nc"), ("images validated on", "images"))
                 if (text := _each(r.get(key) for r in results))]  # fmt: skip
        if epochs := _each(r["epochs"] for r in results):
            said.append(("epochs trained", epochs))
        said += [(name, text) for name, key in (("trained on", "device"), ("CPU", "cpu"), ("threads", "threads"),
                 ("system", "system")) if (text := _each(r.get(key) for r in results))]  # fmt: skip
        versions = [", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in results]
        dates = sorted(r["date"] for r in results)
        said += [
            ("versions", _each(versions)),
            ("date", " to ".join(dict.fromkeys([d[:10] for d in (dates[:1] + dates[-1:])]))),
        ]
        return [*((k, v) for k, v in said if v), ("command", self.command)]

    @property
    def remarks(self) -> list[str]:
        """Sentences that belong below the tables."""
        how = (
            "Every model was trained with the same settings, the same order of the data and the same seeds, and is"
            if self.trained_here
            else "These are finished runs of `yolo train`,"
        )
        split = self.settings.get("split", "val")
        chosen = ", which were chosen on the same images" if split == "val" else ""
        said = [f"{how} judged by the best weights (best.pt) on the split '{split}'{chosen}."]
        counts = {len(row.results) for row in self.rows}
        if max(counts, default=0) > 1:
            said.append(
                "Figures are mean ± standard deviation over the seeds (n - 1 in the denominator). Differences are "
                "paired by seed; in brackets their 95 % confidence interval by Student's t. Each interval is for its "
                "own figure, not for all at once. In bold, or with an asterisk: the interval leaves 0 out. In the "
                "curves the line is the mean of the seeds, and the band reaches from the least to the greatest."
            )
        if counts & {1}:
            said.append(
                "With one seed there is no standard deviation and no interval: chance may explain a difference."
            )
        first, *others = self.rows
        if apart := [row.label for row in others if row.results and not first.results.keys() & row.results.keys()]:
            said.append(
                f"No difference of {', '.join(apart)}: {first.label} has no finished run with a seed of theirs."
            )
        if len({r["nc"] for r in self.results}) > 1:
            said.append("The models do not have the same number of classes, so their cost does not compare.")
        if len({p for r in self.results if (p := r.get("precision"))}) > 1:
            said.append(
                "Some weight files are in float32, since half precision would have changed what they give, so their "
                "size does not compare."
            )
        if len({r["device"] for r in self.results}) > 1 or len({str(r["versions"]) for r in self.results}) > 1:
            said.append("Not all cells were computed on the same device with the same versions; see above.")
        return [*said, *self.notes]


def _each(values: Any) -> str:
    """Return the different values as a text, in the order in which they come."""
    return ", ".join(dict.fromkeys(str(v) for v in values if v is not None))


def part_of(key: str) -> str:
    """Return the letter of what a metric is about, as in 'metrics/mAP50(M)'."""
    match = re.search(r"\((\w)\)$", key)
    return match[1] if match else ""


def title_of(key: str, with_part: bool) -> str:
    """Return the heading of a metric's column."""
    name = re.sub(r"^metrics/|\(\w\)$", "", key)
    part = f" {PARTS.get(part_of(key), part_of(key))}" if with_part and part_of(key) else ""
    return NAMES.get(name, name) + part


def command_of(words: Sequence[str]) -> str:
    """Return the command line of words, quoted where a shell needs it."""
    return f"yolo compare {' '.join(shlex.quote(word) for word in words)}"
