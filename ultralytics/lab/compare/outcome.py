"""The outcome of a comparison: a row for each model with its seeds, the measurements, and notes on them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ultralytics.cfg.tasks import TASKS
from ultralytics.lab.compare.cell import Record
from ultralytics.lab.compare.finished import FinishedRuns
from ultralytics.lab.compare.plan import Plan
from ultralytics.lab.compare.record import COMPARED
from ultralytics.lab.compare.statistics import Difference, Stat
from ultralytics.lab.latency import Latency
from ultralytics.utils.plotting import read_results

NAMES = {"precision": "P", "recall": "R", "accuracy_top1": "top-1", "accuracy_top5": "top-5"}
PARTS = {"B": "box", "M": "mask", "P": "pose"}
SIZES = ("small", "medium", "large")
COSTS = ("params", "params_fused", "gflops", "gflops_fused", "size_mb")


@dataclass(frozen=True)
class Column:
    """A metric that models are compared by: its place in a result, and its title."""

    group: str  # "metrics" or "sizes"
    key: str
    title: str

    def value(self, result: Record) -> float | None:
        """Return the figure of one cell; None where it has none."""
        return result[self.group].get(self.key)


@dataclass
class Row:
    """A model: the results of its finished cells and the errors of those that failed, by seed."""

    label: str
    results: dict[int, Record] = field(default_factory=dict)
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
    """Everything that the tables, the figures and the page show."""

    task: str
    seeds: list[int]
    rows: list[Row]
    settings: Record
    command: str
    notes: Sequence[str]  # on how the models came to be
    latency: list[Latency] = field(default_factory=list)
    latency_notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, plan: Plan | FinishedRuns, command: str) -> Outcome:
        """Collect the results of the cells."""
        rows: dict[str, Row] = {}
        for cell in plan.cells:
            row = rows.setdefault(cell.label, Row(cell.label))
            row.runs[cell.seed] = cell.run
            if result := cell.result:
                row.results[cell.seed] = result
            else:
                row.failures[cell.seed] = cell.error or "It has not been run."
        seeds = sorted({cell.seed for cell in plan.cells})
        return cls(plan.task, seeds, [*rows.values()], plan.settings, command, plan.notes)

    @property
    def results(self) -> list[Record]:
        """The results of all finished cells."""
        return [result for row in self.rows for result in row.results.values()]

    @property
    def imgsz(self) -> int:
        """The size in pixels at which cost is measured; 0 without results."""
        return next((result["imgsz"] for result in self.results), 0)

    @property
    def failed(self) -> int:
        """How many cells have no result."""
        return sum(len(row.failures) for row in self.rows)

    @cached_property
    def columns(self) -> list[Column]:
        """The metrics of the task in their order, then average precision by object size."""
        keys = list(dict.fromkeys(key for result in self.results for key in result["metrics"]))
        several = len({part_of(key) for key in keys}) > 1
        found = [Column("metrics", key, title_of(key, several)) for key in keys]
        sizes = [s for s in SIZES if any(result["sizes"].get(s) is not None for result in self.results)]
        return found + [Column("sizes", size, f"AP {size}") for size in sizes]

    @property
    def main(self) -> Column:
        """The metric by which models of the task are ranked."""
        key = TASKS[self.task].metric
        return next((c for c in self.columns if c.key == key), Column("metrics", key, title_of(key, False)))

    def difference(self, row: Row, column: Column) -> Difference:
        """Return by how much a model differs from the first one, seed by seed."""
        return Difference.of(self.rows[0].values(column), row.values(column))

    @property
    def runtimes(self) -> list[str]:
        """The runtimes in which latency was measured."""
        return list(dict.fromkeys(entry.runtime for entry in self.latency))

    def latency_of(self, row: Row, runtime: str) -> Latency | None:
        """Return the latency of a model in a runtime."""
        return next((e for e in self.latency if (e.model, e.runtime) == (row.label, runtime)), None)

    # Notes ------------------------------------------------------------------------------------------------------------

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What was run, as name and text."""
        results, settings = self.results, dict(self.settings)
        fixed = [(key, str(settings.pop(key))) for key in ("data", "epochs", "imgsz", "batch") if key in settings]
        other = [f"{k}={v}" for k, v in settings.items() if k in COMPARED or k == "trust_modules"]
        measured = {
            "classes": "nc", "images validated on": "images", "epochs trained": "epochs", "trained on": "device",
            "CPU": "cpu", "threads": "threads", "system": "system",
        }  # fmt: skip
        days = sorted(r["date"][:10] for r in results)
        said = [
            ("task", self.task),
            *fixed,
            ("other settings", ", ".join(other)),
            ("seeds", _each(self.seeds)),
            *((name, _each(r.get(key) for r in results)) for name, key in measured.items()),
            ("versions", _each(", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in results)),
            ("date", " to ".join(dict.fromkeys(days[:1] + days[-1:]))),
            ("command", self.command),
        ]
        return [(name, text) for name, text in said if text]

    @property
    def remarks(self) -> list[str]:
        """Sentences to print below the tables."""
        split = self.settings.get("split", "val")
        chosen = ", on whose images they were selected" if split == "val" else ""
        said = [*self.notes, f"Each run is evaluated with its best weights (best.pt) on the split '{split}'{chosen}."]
        counts = {len(row.results) for row in self.rows}
        if max(counts, default=0) > 1:
            said.append(
                "Figures are mean ± standard deviation over the seeds (n - 1 in the denominator). Differences are "
                "paired by seed; in brackets their 95 % confidence interval by Student's t. Each interval "
                "covers one metric, not all at once. Bold, or an asterisk: the interval excludes 0. In the curves, the "
                "line is the mean over the seeds, and the band spans their minimum to maximum."
            )
        if counts & {1}:
            said.append(
                "With one seed there is no standard deviation and no interval: chance may explain a difference."
            )
        said += [f"{row.label}: {text}" for row in self.rows for text in failures_of(row)]
        first, *others = self.rows
        if apart := [row.label for row in others if row.results and not first.results.keys() & row.results.keys()]:
            said.append(
                f"No difference of {', '.join(apart)}: {first.label} has no finished run with a seed of theirs."
            )
        if self._differ("precision"):
            said.append(
                "Some weight files are in float32, since half precision would have changed their outputs, so their "
                "sizes do not compare."
            )
        if self._differ("device") or self._differ("versions"):
            said.append("Not all cells were computed on the same device with the same versions; see above.")
        return [*said, *self.latency_notes]

    def _differ(self, key: str) -> bool:
        """Whether the recorded values of a key differ between cells."""
        return len({str(r[key]) for r in self.results if r.get(key)}) > 1


def failures_of(row: Row) -> list[str]:
    """Return a sentence for each different error of a model, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, error in sorted(row.failures.items()):
        seeds.setdefault(error, []).append(str(seed))
    return [f"seed{'s' * (len(s) > 1)} {', '.join(s)} failed: {error}" for error, s in seeds.items()]


def _each(values: Iterable[object]) -> str:
    """Return the distinct values as a text, in order of appearance."""
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
