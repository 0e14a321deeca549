"""Plots of a hyperparameter search."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ultralytics.utils.drawing.curves import ACCENT, FAINT, GRID, INK, new_figure, save_figure
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.files import read_text
from ultralytics.utils.hostile import limits


def plot_tune_results(csv_file: str | Path = "tune_results.csv", on_plot: Callable | None = None) -> None:
    """Plot the fitness by training, and over each hyperparameter, next to the table of a search.

    Args:
        csv_file: table with the column `fitness` and one for each hyperparameter.
        on_plot: called with the path of each image, `tune_fitness.png` and `tune_scatter_plots.png`.

    Raises:
        MissingFileError: there is no such file.
        DataError: it is not such a table.
    """
    file = Path(csv_file)
    if not file.is_file():
        raise MissingFileError(f"There is no table '{file}' of a search. Name the tune_results.csv of a run folder.")
    try:
        rows = list(csv.DictReader(read_text(file, limits.RECORD_BYTES).splitlines()))
        columns = {key: np.array([float(row[key]) for row in rows]) for key in (rows[0] if rows else ())}
    except (csv.Error, TypeError, ValueError) as e:
        raise DataError(f"'{file}' is not the table of a search ({e}).") from None
    if "fitness" not in columns:
        raise DataError(f"'{file}' has no row or no column 'fitness', so it is not the table of a search.")
    fitness = columns.pop("fitness")
    _plot_fitness(fitness, file.with_name("tune_fitness.png"), on_plot)
    _plot_scatter(columns, fitness, file.with_name("tune_scatter_plots.png"), on_plot)


def _plot_fitness(fitness: np.ndarray, file: Path, on_plot: Callable | None) -> None:
    from matplotlib.ticker import MaxNLocator

    figure, (ax,) = new_figure(9, 5)
    x = np.arange(1, len(fitness) + 1)
    ax.grid(**GRID)
    ax.plot(x, fitness, "o", color=FAINT["color"], label="training")
    ax.plot(x, np.maximum.accumulate(fitness), color=ACCENT, linewidth=2, drawstyle="steps-post", label="best so far")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="Training", ylabel="Fitness", title="Fitness of the search")
    ax.legend(frameon=False)
    save_figure(figure, file, on_plot)


def _plot_scatter(columns: dict[str, np.ndarray], fitness: np.ndarray, file: Path, on_plot: Callable | None) -> None:
    from matplotlib.ticker import MaxNLocator

    n = math.ceil(math.sqrt(len(columns)))
    rows = math.ceil(len(columns) / n)
    figure, axes = new_figure(3 * n, 2.6 * rows, rows, n)
    best = int(fitness.argmax())
    for ax, (name, values) in zip(axes, columns.items()):
        ax.grid(**GRID)
        ax.plot(values, fitness, "o", color=FAINT["color"], markersize=5)
        ax.plot(values[best], fitness[best], "o", color=ACCENT, markersize=8)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title(f"{name} = {values[best]:.4g}", fontsize=10, color=INK)
    for ax in axes[len(columns) :]:
        ax.remove()
    figure.supylabel("Fitness", fontsize=10)
    save_figure(figure, file, on_plot, dpi=120)
