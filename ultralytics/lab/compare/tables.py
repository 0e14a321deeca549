"""The tables of a comparison as plain text, CSV, Markdown and LaTeX; the page writes them as HTML."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ultralytics.lab.compare.outcome import COSTS, Outcome, Row
from ultralytics.lab.compare.statistics import Difference, Stat
from ultralytics.lab.latency import RUNTIMES
from ultralytics.lab.tables import aligned, csv_text
from ultralytics.lab.tables import markdown as markdown_table

NONE = "–"  # where there is no figure


@dataclass(frozen=True)
class Entry:
    """A text of a table, in bold where it is `strong`."""

    text: str
    strong: bool = False


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
        done = f"{len(row.results)}" + (f" of {len(row.results) + len(row.failures)}" if row.failures else "")
        rows.append([Entry(row.label), *(Entry(said_stat(row.stat(c))) for c in columns), Entry(done)])
    seeds = len(outcome.seeds)
    title = f"Accuracy ({seeds} seeds, mean ± standard deviation)" if seeds > 1 else "Accuracy (one seed)"
    return Table(title, ["model", *(c.title for c in columns), "seeds"], rows)


def differences(outcome: Outcome) -> Table:
    """Return the difference of each model to the first one, with its interval."""
    columns, rows = outcome.columns, []
    for row in outcome.rows[1:]:
        found = [outcome.difference(row, c) for c in columns]
        pairs = max((d.n for d in found), default=0)
        rows.append([Entry(row.label), *(Entry(said_difference(d), d.clear) for d in found), Entry(str(pairs))])
    title = f"Difference to {outcome.rows[0].label} (paired by seed, 95 % confidence interval)"
    return Table(title, ["model", *(c.title for c in columns), "pairs"], rows)


def cost(outcome: Outcome) -> Table:
    """Return parameters, GFLOPs, size and latency, each with its change from the first model."""
    times = [f"{RUNTIMES[r]}, ms (p90)" for r in outcome.runtimes]
    flops = f"GFLOPs at {outcome.imgsz}" if outcome.results else "GFLOPs"
    head = ["model", "parameters", "fused", flops, "fused", "weights, MB", *times]
    first, rows = outcome.rows[0], []
    for row in outcome.rows:
        if row.cost:
            base = first.cost if row is not first else None
            texts = [f"{row.cost[k]:{',' if 'params' in k else '.2f'}}" + _change(row.cost, base, k) for k in COSTS]
            texts += [_said_latency(outcome, row, runtime) for runtime in outcome.runtimes]
            rows.append([*map(Entry, (row.label, *texts))])
    return Table("Cost (change from the first model)", head, rows)


def _said_latency(outcome: Outcome, row: Row, runtime: str) -> str:
    mine, first = outcome.latency_of(row, runtime), outcome.latency_of(outcome.rows[0], runtime)
    if mine is None:
        return NONE
    base = vars(first) if first and row is not outcome.rows[0] else None
    return f"{mine.median_ms:.1f} ({mine.p90_ms:.1f})" + _change(vars(mine), base, "median_ms")


def _change(figures: dict[str, float], base: dict[str, float] | None, key: str) -> str:
    """Return ' [+3.1 %]', the change of a figure from that of the first model; nothing without one."""
    if not base or not base[key]:
        return ""
    return f" [{round(100 * (figures[key] / base[key] - 1), 1) + 0.0:+.1f} %]"  # + 0.0: no negative zero


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


def _line(text: str) -> str:
    return " ".join(text.split())


# Plain text, a column a model -----------------------------------------------------------------------------------------


def plain(outcome: Outcome, tables: Sequence[Table]) -> str:
    """Return tables and remarks for a terminal, with a column for each model so that they stay narrow."""
    parts = []
    for table in tables:
        rows = [table.head, *([_line(e.text) + "*" * e.strong for e in row] for row in table.rows)]
        parts.append(f"{table.title}\n\n{aligned([*zip(*rows)])}")
    notes = [textwrap.fill(note, 120, initial_indent="- ", subsequent_indent="  ") for note in outcome.remarks]
    return "\n\n".join([*parts, "\n".join(notes)])


# Markdown -------------------------------------------------------------------------------------------------------------


def markdown(outcome: Outcome, tables: Sequence[Table]) -> str:
    """Return tables, remarks and what was run as Markdown."""
    parts = ["# Comparison of models"]
    for table in tables:
        rows = [[f"**{_md(e.text)}**" if e.strong else _md(e.text) for e in row] for row in table.rows]
        parts.append(f"## {_md(table.title)}\n\n" + markdown_table([[*map(_md, table.head)], *rows]))
    parts.append("\n".join(f"- {_md(note)}" for note in outcome.remarks))
    parts.append("## What was run\n\n" + "\n".join(f"- {_md(k)}: {_md(v)}" for k, v in outcome.facts))
    return "\n\n".join(parts) + "\n"


def _md(text: str) -> str:
    """Escape Markdown and HTML in a text."""
    text = re.sub(r"([\\`*_|\[\]])", r"\\\1", _line(text))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# LaTeX ----------------------------------------------------------------------------------------------------------------

_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "–": "--", "[": "{[}", "]": "{]}",
    **{c: f"\\{c}" for c in "&%$#_"},
}  # fmt: skip


def latex_text(text: str) -> str:
    """Escape LaTeX commands in a text, and typeset the signs of numbers as minus and plus."""
    escaped = "".join(_TEX.get(c, c) for c in _line(text))
    return re.sub(r"(?<![^\s({\]}])([+-])(?=\d)", r"$\1$", escaped)


def _tex(entry: Entry) -> str:
    return f"\\textbf{{{latex_text(entry.text)}}}" if entry.strong else latex_text(entry.text)


def latex(outcome: Outcome, tables: Sequence[Table]) -> str:
    """Return the tables as LaTeX with booktabs."""
    parts = ["% needs \\usepackage{booktabs} and \\usepackage{graphicx}; names beyond ASCII need XeLaTeX or LuaLaTeX"]
    for i, table in enumerate(tables):
        head = " & ".join(map(latex_text, table.head))
        body = "\n".join(f"{' & '.join(map(_tex, row))} \\\\" for row in table.rows)
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{latex_text(table.title)}}}\n\\label{{tab:compare-{i + 1}}}\n"
            f"\\resizebox{{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}}{{!}}{{%\n"
            f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}\n"
            f"\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}}}\n\\end{{table}}"
        )
    parts.append("\n".join(f"% {_line(note)}" for note in [*outcome.remarks, *map(": ".join, outcome.facts)]))
    return "\n\n".join(parts) + "\n"


# CSV ------------------------------------------------------------------------------------------------------------------


def csv_files(outcome: Outcome) -> dict[str, str]:
    """Return CSV texts by file name, with a row for each model, cell or difference."""
    return {
        "table.csv": csv_text(_model_rows(outcome)),
        "cells.csv": csv_text(_cell_rows(outcome)),
        "differences.csv": csv_text(_difference_rows(outcome)),
    }


def _model_rows(outcome: Outcome) -> list[dict[str, object]]:
    rows = []
    for row in outcome.rows:
        figures: dict[str, object] = {}
        for c in outcome.columns:
            stat = row.stat(c)
            figures |= {f"{c.title} mean": stat.mean, f"{c.title} std": stat.std}
        times: dict[str, object] = {}
        for runtime in outcome.runtimes:
            found = outcome.latency_of(row, runtime)
            times |= {f"{runtime} {key}": getattr(found, key, None) for key in ("median_ms", "p90_ms")}
        counts = {"model": row.label, "seeds": len(row.results), "failed": len(row.failures)}
        rows.append({**counts, **figures, **{k: (row.cost or {}).get(k) for k in COSTS}, **times})
    return rows


def _cell_rows(outcome: Outcome) -> list[dict[str, object]]:
    rows = []
    for row in outcome.rows:
        for seed, result in sorted(row.results.items()):
            figures = {c.title: c.value(result) for c in outcome.columns}
            rows.append({"model": row.label, "seed": seed, "epochs": result["epochs"], **figures, "error": None})
        rows += [{"model": row.label, "seed": seed, "error": error} for seed, error in sorted(row.failures.items())]
    return rows


def _difference_rows(outcome: Outcome) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for row in outcome.rows[1:]:
        for c in outcome.columns:
            d = outcome.difference(row, c)
            found = {"pairs": d.n, "difference": d.mean, "low95": d.low, "high95": d.high}
            rows.append({"model": row.label, "against": outcome.rows[0].label, "figure": c.title, **found})
    return rows
