"""The tables of a comparison, and how they are written: plain, CSV, Markdown, LaTeX; the page writes them as HTML."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import combining, east_asian_width

from ultralytics.lab.compare.latencies import RUNTIMES
from ultralytics.lab.compare.outcome import Column, Outcome, Row
from ultralytics.lab.compare.statistics import Difference, Stat

NONE = "–"  # where there is no figure


@dataclass(frozen=True)
class Entry:
    """A text of a table: `strong` in bold, `wide` over the rest of the row, `compound` with a part in brackets."""

    text: str
    strong: bool = False
    wide: bool = False
    compound: bool = False


@dataclass
class Table:
    """Title, headings and rows; the first column is the model's name."""

    title: str
    head: list[str]
    rows: list[list[Entry]]


def tables_of(outcome: Outcome) -> list[Table]:
    """Return the tables: accuracy, differences to the first model, cost."""
    found = [accuracy(outcome)]
    if len(outcome.rows) > 1:
        found.append(differences(outcome))
    return [*found, cost(outcome)]


def accuracy(outcome: Outcome) -> Table:
    """Return mean and standard deviation of each figure."""
    columns, rows = outcome.columns, []
    for row in outcome.rows:
        if row.results:
            done = f"{len(row.results)}" + (f" of {len(row.results) + len(row.failures)}" if row.failures else "")
            rows.append([Entry(row.label), *(Entry(said_stat(row.stat(c))) for c in columns), Entry(done)])
        for text in failures_of(row):
            rows.append([Entry(row.label), Entry(text, wide=True)])
    seeds = len(outcome.seeds)
    title = f"Accuracy ({seeds} seeds, mean ± standard deviation)" if seeds > 1 else "Accuracy (one seed)"
    return Table(title, ["model", *(c.title for c in columns), "seeds"], rows)


def failures_of(row: Row) -> list[str]:
    """Return a sentence for each different error of a model, with its seeds."""
    seeds: dict[str, list[str]] = {}
    for seed, error in sorted(row.failures.items()):
        seeds.setdefault(error, []).append(str(seed))
    return [f"seed{'s' * (len(s) > 1)} {', '.join(s)} failed: {error}" for error, s in seeds.items()]


def differences(outcome: Outcome) -> Table:
    """Return what each model adds to the first one, with its interval."""
    columns, rows = outcome.columns, []
    for row in outcome.rows[1:]:
        found = [outcome.difference(row, c) for c in columns]
        pairs = max((d.n for d in found), default=0)
        entries = [Entry(said_difference(d), strong=d.clear, compound=True) for d in found]
        rows.append([Entry(row.label), *entries, Entry(str(pairs))])
    title = f"Difference to {outcome.rows[0].label} (paired by seed, 95 % confidence interval)"
    return Table(title, ["model", *(c.title for c in columns), "pairs"], rows)


def cost(outcome: Outcome) -> Table:
    """Return parameters, GFLOPs, size and latency, each with its change from the first model."""
    names = [RUNTIMES.get(r, r) for r in outcome.runtimes]
    flops = f"GFLOPs at {outcome.imgsz}" if outcome.results else "GFLOPs"
    head = ["model", "parameters", "fused", flops, "fused", "weights, MB", *(f"{n}, ms (p90)" for n in names)]
    first, rows = outcome.rows[0], []
    for row in outcome.rows:
        if row.cost:
            figures = [*_costs(row, first), *_latencies(outcome, row, first)]
            rows.append([Entry(row.label), *(Entry(text, compound=True) for text in figures)])
    return Table("Cost (change from the first model)", head, rows)


def _costs(row: Row, first: Row) -> list[str]:
    forms = {
        "params": "{:,}",
        "params_fused": "{:,}",
        "gflops": "{:.2f}",
        "gflops_fused": "{:.2f}",
        "size_mb": "{:.2f}",
    }
    return [
        form.format(row.cost[key])
        + _change(row.cost[key], first.cost[key] if first.cost and row is not first else None)
        for key, form in forms.items()
    ]


def _latencies(outcome: Outcome, row: Row, first: Row) -> list[str]:
    said = []
    for runtime in outcome.runtimes:
        mine, base = (outcome.latency_of(r.label, runtime) for r in (row, first))
        against = base["median_ms"] if base and row is not first else None
        said.append(
            f"{mine['median_ms']:.1f} ({mine['p90_ms']:.1f}){_change(mine['median_ms'], against)}" if mine else NONE
        )
    return said


def _change(value: float, base: float | None) -> str:
    change = round(100 * (value / base - 1), 1) + 0.0 if base else None  # + 0.0: no negative zero
    return "" if change is None else f" [{change:+.1f} %]"


def said_stat(stat: Stat) -> str:
    """Return '0.312 ± 0.004', without the deviation where there is none."""
    if stat.mean is None:
        return NONE
    return f"{stat.mean:.3f}" + (f" ± {stat.std:.3f}" if stat.std is not None else "")


def said_difference(difference: Difference) -> str:
    """Return '+0.012 [-0.004, +0.028]', or that there is no interval."""
    if difference.mean is None:
        return NONE
    if difference.low is None:
        return f"{difference.mean:+.3f} (no interval)"
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


# Plain text -----------------------------------------------------------------------------------------------------------


def plain(outcome: Outcome, tables: Sequence[Table], width: int = 120) -> str:
    """Return tables and remarks as a terminal shows them, `width` characters wide if that is possible."""
    parts = [f"{table.title}\n\n{_grid(table, width)}" for table in tables]
    notes = [textwrap.fill(note, width, initial_indent="- ", subsequent_indent="  ") for note in outcome.remarks]
    return "\n\n".join([*parts, "\n".join(notes)])


def _grid(table: Table, width: int) -> str:
    """Return a table in columns, those that do not fit beside each other below each other."""
    short = [row for row in table.rows if not row[-1].wide]
    texts = [[_line(entry.text) + "*" * entry.strong for entry in row] for row in short]
    columns = [list(column) for column in zip(table.head, *texts)]
    sizes = [max(map(shown_width, column)) for column in columns]
    blocks, used = [[0]], sizes[0]
    for i in range(1, len(columns)):
        if used + 2 + sizes[i] > width and len(blocks[-1]) > 1:
            blocks.append([0])
            used = sizes[0]
        blocks[-1].append(i)
        used += 2 + sizes[i]
    lines = []
    for block in blocks:
        rows = ["  ".join(_aligned(columns[i][r], sizes[i], i == 0) for i in block) for r in range(len(short) + 1)]
        lines += [*([""] if lines else []), rows[0], "-" * shown_width(rows[0]), *rows[1:]]
    lines += [f"{_line(row[0].text)}: {_line(row[-1].text)}" for row in table.rows if row[-1].wide]
    return "\n".join(line.rstrip() for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def shown_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese characters take two, accents of their own none."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def _aligned(text: str, size: int, left: bool) -> str:
    blank = " " * (size - shown_width(text))
    return text + blank if left else blank + text


# Markdown -------------------------------------------------------------------------------------------------------------


def markdown(outcome: Outcome, tables: Sequence[Table]) -> str:
    """Return tables, remarks and what was run as Markdown."""
    parts = ["# Comparison of models"]
    for table in tables:
        lines = [_md_row(table.head), "| --- |" + " ---: |" * (len(table.head) - 1)]
        for row in table.rows:
            cells = [f"**{_md(e.text)}**" if e.strong else _md(e.text) for e in row]
            lines.append(f"| {' | '.join(cells + [''] * (len(table.head) - len(row)))} |")
        parts.append(f"## {_md(table.title)}\n\n" + "\n".join(lines))
    parts.append("\n".join(f"- {_md(note)}" for note in outcome.remarks))
    parts.append("## What was run\n\n" + "\n".join(f"- {_md(k)}: {_md(v)}" for k, v in outcome.facts))
    return "\n\n".join(parts) + "\n"


def _md_row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(_md(text) for text in texts)} |"


def _md(text: str) -> str:
    """Return a text in which nothing is taken for Markdown or HTML."""
    text = re.sub(r"([\\`*_|\[\]])", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# LaTeX ----------------------------------------------------------------------------------------------------------------

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "–": "--", "[": "{[}", "]": "{]}",
    **{c: f"\\{c}" for c in "&%$#_"},
}  # fmt: skip


def latex_text(text: str) -> str:
    """Return a text in which nothing is taken for a command; signs of numbers are set as minus and plus."""
    escaped = "".join(_TEX.get(c, c) for c in " ".join(text.split()))
    return re.sub(r"(?<![^\s({\]}])([+-])(?=\d)", r"$\1$", escaped)


def latex(outcome: Outcome, tables: Sequence[Table]) -> str:
    """Return the tables as LaTeX with booktabs."""
    parts = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}; names beyond ASCII need XeLaTeX or LuaLaTeX"]
    for i, table in enumerate(tables):
        lines = [f"{' & '.join(latex_text(t) for t in table.head)} \\\\", "\\midrule"]
        for row in table.rows:
            cells = [f"\\textbf{{{latex_text(e.text)}}}" if e.strong else latex_text(e.text) for e in row]
            if row[-1].wide:
                cells[-1] = f"\\multicolumn{{{len(table.head) - len(row) + 1}}}{{l}}{{{cells[-1]}}}"
            lines.append(f"{' & '.join(cells)} \\\\")
        body = "\n".join(lines)
        columns = "l" + "r" * (len(table.head) - 1)
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(table.title)}}}\n\\label{{tab:compare-{i + 1}}}\n"
            f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n"
            f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}}}\n"
            "\\end{table}"
        )
    parts.append(
        "\n".join(f"% {' '.join(note.split())}" for note in [*outcome.remarks, *map(": ".join, outcome.facts)])
    )
    return "\n\n".join(parts) + "\n"


# CSV ------------------------------------------------------------------------------------------------------------------

COSTS = ("params", "params_fused", "gflops", "gflops_fused", "size_mb")


def csv_files(outcome: Outcome) -> dict[str, str]:
    """Return CSV texts by file name: a row a model, a row a cell, a row a difference."""
    columns = outcome.columns
    timed = [f"{r} {what}" for r in outcome.runtimes for what in ("median_ms", "p90_ms")]
    head = [
        "model",
        "seeds",
        "failed",
        *(f"{c.title} {what}" for c in columns for what in ("mean", "std")),
        *COSTS,
        *timed,
    ]
    summary = [head]
    for row in outcome.rows:
        stats = [row.stat(c) for c in columns]
        found = [outcome.latency_of(row.label, r) or {} for r in outcome.runtimes]
        summary.append([
            row.label, len(row.results), len(row.failures), *(v for s in stats for v in (s.mean, s.std)),
            *((row.cost or {}).get(k) for k in COSTS), *(f.get(k) for f in found for k in ("median_ms", "p90_ms")),
        ])  # fmt: skip
    return {
        "table.csv": _csv(summary),
        "cells.csv": _csv(_cell_rows(outcome, columns)),
        "differences.csv": _csv(_difference_rows(outcome, columns)),
    }


def _cell_rows(outcome: Outcome, columns: Sequence[Column]) -> list[list]:
    rows = [["model", "seed", "epochs", *(c.title for c in columns), "error"]]
    for row in outcome.rows:
        for seed, result in sorted(row.results.items()):
            rows.append([row.label, seed, result["epochs"], *(c.value(result) for c in columns), None])
        rows += [[row.label, seed, None, *(None for _ in columns), e] for seed, e in sorted(row.failures.items())]
    return rows


def _difference_rows(outcome: Outcome, columns: Sequence[Column]) -> list[list]:
    rows = [["model", "against", "figure", "pairs", "difference", "low95", "high95"]]
    for row in outcome.rows[1:]:
        for c in columns:
            d = outcome.difference(row, c)
            rows.append([row.label, outcome.rows[0].label, c.title, d.n, d.mean, d.low, d.high])
    return rows


def _csv(rows: Sequence[Sequence]) -> str:
    """Return rows as CSV; a cell without a figure is empty."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        ["" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in rows
    )
    return text.getvalue()
