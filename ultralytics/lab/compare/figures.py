"""The images of a comparison: curves of training, precision over recall, accuracy against cost."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from ultralytics.lab.compare.latencies import RUNTIMES
from ultralytics.lab.compare.outcome import Outcome, Row, title_of
from ultralytics.utils.drawing.curves import GRID, INK, drawable, new_figure

# Told apart by those who see colours otherwise as well: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#A05A2C")
LINES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v", "P", "X", "*")


def style(i: int) -> dict[str, Any]:
    """Return colour and line of the i-th model; lines change where the colours begin anew."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % len(LINES)]}


def images_of(outcome: Outcome) -> dict[str, tuple[str, bytes, bytes]]:
    """Return title, PNG and SVG of each image that the results allow, by file name without suffix."""
    makers: dict[str, tuple[str, Callable[[Outcome], Any]]] = {
        "training": ("Training, epoch by epoch", training),
        "pr": ("Precision over recall at IoU 0.5, mean of the classes", precision_recall),
        "latency": (f"{outcome.main.title} against latency", latency),
        "gflops": (f"{outcome.main.title} against GFLOPs", gflops),
    }
    found = {name: (title, maker(outcome)) for name, (title, maker) in makers.items()}
    return {
        name: (title, _render(figure, "png"), _render(figure, "svg"))
        for name, (title, figure) in found.items()
        if figure is not None
    }


def _render(figure: Any, form: str) -> bytes:
    """Return a figure as the bytes of a file."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _name_lines(figure: Any, handles: Sequence[Any], rows: Sequence[Row]) -> None:
    """Put the models' names below the figure."""
    names, font = drawable([row.label for row in rows])
    each = 0.7 + 0.09 * max(map(len, names), default=0)  # inches that a name and its line take, about
    columns = max(1, min(len(names), int(figure.get_figwidth() / each)))
    legend = figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=10)
    for text in legend.get_texts() if font else ():
        text.set_fontproperties(font)
        text.set_fontsize(10)


def _finish(ax: Any, title: str, xlabel: str, ylabel: str = "") -> None:
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.grid(**GRID)


def _line_with_band(ax: Any, x: np.ndarray, lines: np.ndarray, i: int) -> Any:
    """Draw the mean of lines (seeds, points), and from the least to the greatest of them a band."""
    (line,) = ax.plot(x, lines.mean(0), linewidth=2, **style(i))
    if len(lines) > 1:
        ax.fill_between(x, lines.min(0), lines.max(0), color=style(i)["color"], alpha=0.16, linewidth=0)
    return line


# Curves ---------------------------------------------------------------------------------------------------------------


def training(outcome: Outcome) -> Any:
    """Return a panel for each metric and each loss of results.csv."""
    trained = [(i, row) for i, row in enumerate(outcome.rows) if row.results]
    columns = list(dict.fromkeys(c for _, row in trained for h in row.histories for c in h))
    metrics = [c.key for c in outcome.columns if c.key in columns]
    groups = [metrics[k : k + 4] for k in range(0, len(metrics), 4)]
    losses = [[c for c in columns if c.startswith(prefix)] for prefix in ("train/", "val/")]
    groups += losses if sum(map(len, losses)) > 4 else [losses[0] + losses[1]]
    groups = [group for group in groups if group]
    if not groups:
        return None
    wide = max(map(len, groups))
    figure, axes = new_figure(3.4 * wide + 0.6, 2.7 * len(groups) + 0.5, len(groups), wide)
    lines: dict[int, Any] = {}
    several = any("(" in m for m in metrics) and len({m[-2] for m in metrics}) > 1
    for ax, name in zip(axes, (name for group in groups for name in _padded(group, wide))):
        ax.set_visible(name is not None)
        if name is None:
            continue
        for i, row in trained:
            lines[i] = _draw_history(ax, row, name, i) or lines.get(i)
        _finish(ax, title_of(name, several) if name.startswith("metrics/") else name, "epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    shown = [(lines[i], row) for i, row in trained if lines.get(i)]
    _name_lines(figure, [line for line, _ in shown], [row for _, row in shown])
    return figure


def _padded(names: Sequence[str], n: int) -> list[str | None]:
    return [name for _, name in zip_longest(range(n), names)]


def _draw_history(ax: Any, row: Row, name: str, i: int) -> Any:
    """Draw a column of all seeds of a model, as far as all seeds go."""
    series = [h[name] for h in row.histories if name in h and len(h[name])]
    if not series:
        return None
    epochs = min(map(len, series))
    line = _line_with_band(ax, np.arange(1, epochs + 1), np.array([s[:epochs] for s in series]), i)
    if epochs == 1:
        line.set_marker("o")
    return line


def precision_recall(outcome: Outcome) -> Any:
    """Return a panel for each kind of precision-recall curve; None for tasks without."""
    names = list(dict.fromkeys(n for r in outcome.results for n in r["curves"] if n.startswith("Precision-Recall")))
    if not names:
        return None
    figure, axes = new_figure(6 * len(names), 5.4, 1, len(names))
    lines: dict[int, Any] = {}
    for ax, name in zip(axes, names):
        for i, row in enumerate(outcome.rows):
            found = [r["curves"][name] for r in row.results.values() if name in r["curves"]]
            if found:
                lines[i] = _line_with_band(ax, np.array(found[0]["x"]), np.array([c["y"] for c in found]), i)
        _finish(ax, title_of(f"metrics/{name}", len(names) > 1), "recall", "precision")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
    _name_lines(figure, list(lines.values()), [outcome.rows[i] for i in lines])
    return figure


# Accuracy against cost ------------------------------------------------------------------------------------------------


def latency(outcome: Outcome) -> Any:
    """Return a panel for each runtime: the main metric against the median latency; None if none was measured."""
    panels = []
    for runtime in outcome.runtimes:
        found = [outcome.latency_of(row.label, runtime) for row in outcome.rows]
        panels.append((f"{RUNTIMES.get(runtime, runtime)}, ms", [f and f["median_ms"] for f in found]))
    return _against(outcome, panels)


def gflops(outcome: Outcome) -> Any:
    """Return the main metric against GFLOPs, unfused and fused."""
    rows = outcome.rows
    return _against(outcome, [
        ("GFLOPs", [row.cost and row.cost["gflops"] for row in rows]),
        ("GFLOPs, fused", [row.cost and row.cost["gflops_fused"] for row in rows]),
    ])  # fmt: skip


def _against(outcome: Outcome, panels: Sequence[tuple[str, Sequence[float | None]]]) -> Any:
    """Return a figure with a point for each model in each panel, and its standard deviation as a bar."""
    stats = [row.stat(outcome.main) for row in outcome.rows]
    panels = [p for p in panels if any(x is not None and s.mean is not None for x, s in zip(p[1], stats))]
    if not panels:
        return None
    figure, axes = new_figure(max(4.4 * len(panels), 5.5), 4.6, 1, len(panels))
    shown: dict[int, Any] = {}
    for ax, (title, xs) in zip(axes, panels):
        for i, (x, stat) in enumerate(zip(xs, stats)):
            if x is not None and stat.mean is not None:
                shown[i] = ax.errorbar(
                    x, stat.mean, yerr=stat.std, fmt=MARKERS[i % len(MARKERS)], markersize=9, capsize=4,
                    color=COLOURS[i % len(COLOURS)],
                )  # fmt: skip
        _finish(ax, "", title, outcome.main.title)
        ax.margins(0.15)
    _name_lines(figure, list(shown.values()), [outcome.rows[i] for i in shown])
    return figure
