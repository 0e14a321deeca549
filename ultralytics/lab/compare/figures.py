"""The figures of a comparison: training curves, precision-recall curves, accuracy against cost."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.lab.compare.outcome import Outcome, title_of
from ultralytics.lab.latency import RUNTIMES
from ultralytics.utils.drawing.curves import GRID, INK, drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct under colour vision deficiency too: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#A05A2C")
LINES, MARKERS = ("-", "--", ":", "-."), ("o", "s", "^", "D", "v", "P", "X", "*")


def line_style(i: int) -> dict:
    """Return colour and line of the i-th model; the line style changes when the colours repeat."""
    return {"color": COLOURS[i % len(COLOURS)], "linestyle": LINES[i // len(COLOURS) % len(LINES)], "linewidth": 2}


def point_style(i: int) -> dict:
    """Return colour and marker of the i-th model."""
    color = COLOURS[i % len(COLOURS)]
    return {"color": color, "marker": MARKERS[i % len(MARKERS)], "markersize": 9, "linestyle": "none"}


def images_of(outcome: Outcome) -> dict[str, tuple[str, bytes, bytes]]:
    """Return title, PNG and SVG of each figure that the results allow, by file name without suffix."""
    found = {
        "training": ("Training, epoch by epoch", training(outcome)),
        "pr": ("Precision over recall at IoU 0.5, mean of the classes", precision_recall(outcome)),
        "latency": (f"{outcome.main.title} against latency", latency(outcome)),
        "gflops": (f"{outcome.main.title} against GFLOPs", gflops(outcome)),
    }
    return {
        name: (title, _render(figure, "png"), _render(figure, "svg"))
        for name, (title, figure) in found.items()
        if figure is not None
    }


def _render(figure: Figure, form: str) -> bytes:
    """Return a figure as the bytes of a file."""
    file = io.BytesIO()
    figure.savefig(file, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    return file.getvalue()


def _name_models(figure: Figure, outcome: Outcome, style: Callable[[int], dict]) -> Figure:
    """Add a legend of the models below a figure, and return it."""
    from matplotlib.lines import Line2D

    shown = [i for i, row in enumerate(outcome.rows) if row.results]
    names, font = drawable([outcome.rows[i].label for i in shown])
    each = 0.7 + 0.09 * max(map(len, names), default=0)  # inches that a name and its line take, about
    columns = max(1, min(len(names), int(figure.get_figwidth() / each)))
    handles = [Line2D([], [], **style(i)) for i in shown]
    legend = figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=10)
    for text in legend.get_texts() if font else ():
        text.set_fontproperties(font)
        text.set_fontsize(10)
    return figure


def _finish(ax: Axes, title: str, xlabel: str, ylabel: str = "") -> None:
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    ax.set_xlabel(xlabel, fontsize=9, color=INK)
    ax.set_ylabel(ylabel, fontsize=9, color=INK)
    ax.grid(**GRID)


def _line_with_band(ax: Axes, x: np.ndarray, lines: np.ndarray, i: int) -> None:
    """Draw the mean of lines (seeds, points) and a band from their minimum to their maximum."""
    ax.plot(x, lines.mean(0), **line_style(i), marker="o" if len(x) == 1 else None)
    if len(lines) > 1:
        ax.fill_between(x, lines.min(0), lines.max(0), color=line_style(i)["color"], alpha=0.16, linewidth=0)


# Curves ---------------------------------------------------------------------------------------------------------------


def training(outcome: Outcome) -> Figure | None:
    """Draw a panel for each metric and loss of results.csv, up to the last epoch that all seeds of a model reached."""
    columns = list(dict.fromkeys(c for row in outcome.rows for h in row.histories for c in h))
    metrics = [c.key for c in outcome.columns if c.key in columns]
    names = [*metrics, *(c for c in columns if c.startswith(("train/", "val/")))]
    if not names:
        return None
    wide = min(4, len(names))
    high = math.ceil(len(names) / wide)
    figure, axes = new_figure(3.4 * wide + 0.6, 2.7 * high + 0.5, high, wide)
    several = any("(" in m for m in metrics) and len({m[-2] for m in metrics}) > 1
    for ax, name in zip(axes, names):
        for i, row in enumerate(outcome.rows):
            series = [h[name] for h in row.histories if len(h.get(name, ()))]
            if epochs := min(map(len, series), default=0):
                _line_with_band(ax, np.arange(1, epochs + 1), np.array([s[:epochs] for s in series]), i)
        _finish(ax, title_of(name, several) if name.startswith("metrics/") else name, "epoch")
        ax.locator_params(axis="x", integer=True)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    return _name_models(figure, outcome, line_style)


def precision_recall(outcome: Outcome) -> Figure | None:
    """Draw a panel for each kind of precision-recall curve; None for tasks without."""
    names = list(dict.fromkeys(n for r in outcome.results for n in r["curves"] if n.startswith("Precision-Recall")))
    if not names:
        return None
    figure, axes = new_figure(6 * len(names), 5.4, 1, len(names))
    for ax, name in zip(axes, names):
        for i, row in enumerate(outcome.rows):
            if found := [r["curves"][name] for r in row.results.values() if name in r["curves"]]:
                _line_with_band(ax, np.array(found[0]["x"]), np.array([c["y"] for c in found]), i)
        _finish(ax, title_of(f"metrics/{name}", len(names) > 1), "recall", "precision")
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
    return _name_models(figure, outcome, line_style)


# Accuracy against cost ------------------------------------------------------------------------------------------------


def latency(outcome: Outcome) -> Figure | None:
    """Draw the main metric against the median latency, a panel for each runtime; None if none was measured."""
    panels: dict[str, dict[str, float]] = {f"{RUNTIMES[runtime]}, ms": {} for runtime in outcome.runtimes}
    for found in outcome.latency:
        panels[f"{RUNTIMES[found.runtime]}, ms"][found.model] = found.median_ms
    return _against(outcome, panels)


def gflops(outcome: Outcome) -> Figure | None:
    """Draw the main metric against GFLOPs, unfused and fused; None without results."""
    costs = {row.label: row.cost for row in outcome.rows if row.cost}
    titles = {"GFLOPs": "gflops", "GFLOPs, fused": "gflops_fused"} if costs else {}
    return _against(outcome, {title: {m: cost[key] for m, cost in costs.items()} for title, key in titles.items()})


def _against(outcome: Outcome, panels: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """Draw panels (their values by model) with a point and an error bar for each model."""
    if not panels:
        return None
    figure, axes = new_figure(max(4.4 * len(panels), 5.5), 4.6, 1, len(panels))
    for ax, (title, found) in zip(axes, panels.items()):
        for i, row in enumerate(outcome.rows):
            stat = row.stat(outcome.main)
            if row.label in found and stat.mean is not None:
                ax.errorbar(found[row.label], stat.mean, yerr=stat.std, capsize=4, **point_style(i))
        _finish(ax, "", title, outcome.main.title)
        ax.margins(0.15)
    return _name_models(figure, outcome, point_style)
