"""Plots of a validation: precision and recall curves, and the confusion matrix; pyplot's state is never touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils import LOGGER
from ultralytics.utils.drawing.annotator import colors
from ultralytics.utils.drawing.fonts import find_font, warn_no_font

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.transforms import Bbox


LEGEND_CLASSES = 21  # with fewer classes each one has its own line and legend entry
LONGEST_NAME = 40  # characters of a name in a figure
GRID: dict = {"color": "#D9DEE3", "linewidth": 0.8}
FAINT: dict = {"color": "#B8C0C8", "linewidth": 0.8}
INK = "#24292F"
ACCENT = "#1E5FD8"


def new_figure(
    width: float, height: float, rows: int = 1, cols: int = 1, constrained: bool = True
) -> tuple[Figure, list[Axes]]:
    """Create a figure with a canvas of its own (inches), and return it with its axes as a flat list.

    Without the constrained layout the axes keep their size whatever surrounds them; `save_figure` crops the canvas.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1) if constrained else None
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, cols, squeeze=False).ravel().tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#9AA4AE")
        ax.tick_params(colors=INK, labelsize=9)
        ax.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Figure, file: str | Path, on_plot: Callable | None = None, dpi: int = 200) -> Path:
    """Write a figure and pass its path to `on_plot`; an OSError, as of a full disk, is only logged."""
    file = Path(file)
    fast = {"compress_level": 1} if file.suffix.lower() == ".png" else {}  # a third larger, in a quarter of the time
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=dpi, bbox_inches=_around(figure, dpi), pil_kwargs=fast)
    except OSError as e:
        LOGGER.warning(f"'{file}' cannot be written: {e.strerror or e}. It is left out.")
        return file
    if on_plot:
        on_plot(file)
    return file


def _around(figure: Figure, dpi: int, margin: float = 0.15) -> Bbox:
    """Lay a figure out and return the box around all it shows (inches), so that nothing is cut off at an edge.

    `bbox_inches="tight"` gives the same by drawing the figure twice.
    """
    figure.set_dpi(dpi)  # which the widths of texts depend on
    layout = figure.get_layout_engine()
    if layout:
        layout.execute(figure)
        figure.set_layout_engine("none")
    return figure.get_tightbbox().padded(margin)


def as_names(names: dict | Sequence[str], n: int) -> list[str]:
    """Return n names from a dict or a list; a class without one is called by its index."""
    table = dict(names) if isinstance(names, dict) else dict(enumerate(names))
    return [str(table.get(i, i)) for i in range(n)]


def drawable(names: Sequence[str], longest: int = LONGEST_NAME) -> tuple[list[str], FontProperties | None]:
    """Return names that can be drawn, and the font they need (None: the default); without a font, class indices.

    They are escaped, so that Matplotlib neither reads mathematics between dollar signs nor hides a leading underscore.
    """
    names = [shortened(name, longest).replace("$", r"\$") for name in names]
    names = [f" {name}" if name.startswith("_") else name for name in names]
    text = "".join(names)
    if text.isascii():
        return names, None
    file = find_font(text)
    if file is None:
        warn_no_font(next(c for c in text if not c.isascii()))
        return [n if n.isascii() else f"class {i}" for i, n in enumerate(names)], None
    from matplotlib.font_manager import FontProperties

    return names, FontProperties(fname=file)


def rotation_of(names: Sequence[str], size: float, room: float) -> int:
    """Return 0 if names in letters of `size` points fit side by side in `room` inches each, else 90 degrees."""
    widest = max((sum(1.0 if c.isascii() else 2.0 for c in name) for name in names), default=0.0)
    return 0 if widest * 0.62 * size / 72 < room else 90


def shortened(name: str, longest: int) -> str:
    """Return a name as one line of printable characters, its middle left out if it is too long."""
    name = "".join(c if c.isprintable() else "?" for c in " ".join(name.split()))
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}...{name[2 - longest // 2 :]}"


def unit_color(i: int) -> tuple[float, float, float]:
    """Return the colour of class i for Matplotlib, (r, g, b) in 0..1."""
    r, g, b = colors(i)
    return r / 255, g / 255, b / 255


def _curve_figure(
    x: np.ndarray, curves: np.ndarray, labels: list[str], mean_label: str, title: str, axes_names: tuple[str, str]
) -> Figure:
    """Draw one line a class (nc, n points), grey ones if there are many, and the mean in bold.

    The mean is drawn above the classes, but below a single one, which it would hide.
    """
    figure, (ax,) = new_figure(9, 6, constrained=False)
    few = 0 < len(curves) < LEGEND_CLASSES
    labels, font = drawable(labels)
    for i, y in enumerate(curves):
        style: dict = {"linewidth": 1.4, "color": unit_color(i), "label": labels[i]} if few else FAINT
        ax.plot(x, y, **style)
    if len(curves):
        under = 1.9 if len(curves) == 1 else 2
        ax.plot(x, curves.mean(0), linewidth=3.2, color=ACCENT, label=mean_label, zorder=under)
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=axes_names[0], ylabel=axes_names[1])
    ax.set_title(title, color=INK, fontsize=13, fontweight="bold", loc="left")
    ax.grid(**GRID)
    if len(curves):
        legend = ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=9)
        for entry in legend.get_texts() if font else ():
            entry.set_fontproperties(font)
            entry.set_fontsize(9)
    return figure


def plot_pr_curve(
    px: np.ndarray,
    py: np.ndarray | Sequence[np.ndarray],
    ap: np.ndarray,
    save_dir: str | Path = Path("pr_curve.png"),
    names: dict | Sequence[str] = (),
    on_plot: Callable | None = None,
) -> None:
    """Draw precision against recall.

    Args:
        px: (n,) recall.
        py: one (n,) precision curve a class.
        ap: (nc, thresholds) average precision, the first column at IoU 0.5.
        save_dir: path of the image.
    """
    curves, ap = np.asarray(py, dtype=float).reshape(-1, len(px)), np.asarray(ap, dtype=float)
    ap = ap[:, None] if ap.ndim == 1 else ap
    labels = [f"{name}  {ap[i, 0]:.3f}" for i, name in enumerate(as_names(names, len(curves)))]
    mean = f"all classes  {ap[:, 0].mean():.3f} mAP@0.5" if len(curves) else ""
    figure = _curve_figure(np.asarray(px), curves, labels, mean, "Precision-Recall Curve", ("Recall", "Precision"))
    save_figure(figure, save_dir, on_plot)


def plot_mc_curve(
    px: np.ndarray,
    py: np.ndarray | Sequence[np.ndarray],
    save_dir: str | Path = Path("mc_curve.png"),
    names: dict | Sequence[str] = (),
    xlabel: str = "Confidence",
    ylabel: str = "Metric",
    on_plot: Callable | None = None,
) -> None:
    """Draw a metric (F1, precision, recall) against the confidence threshold, and mark where the mean is best.

    Args:
        px: (n,) confidence.
        py: one (n,) curve a class.
        save_dir: path of the image.
    """
    px, curves = np.asarray(px, dtype=float), np.asarray(py, dtype=float).reshape(-1, len(px))
    label, best = "", None
    if len(curves):
        mean = curves.mean(0)
        best = int(_box_filter(mean, 0.05).argmax())  # where the curve is high all around, not just a peak
        label = f"all classes  {mean[best]:.2f} at {px[best]:.3f}"
    figure = _curve_figure(
        px, curves, as_names(names, len(curves)), label, f"{ylabel}-Confidence Curve", (xlabel, ylabel)
    )
    if best is not None:
        ax = figure.axes[0]
        ax.plot(px[best], mean[best], "o", color="white", mec=ACCENT, mew=2.2, ms=8, clip_on=False, zorder=5)
    save_figure(figure, save_dir, on_plot)


def _box_filter(y: np.ndarray, fraction: float) -> np.ndarray:
    """Smooth a curve by a running mean over a fraction of its length."""
    width = max(round(len(y) * fraction) // 2 * 2 + 1, 1)
    return np.convolve(np.pad(y, width // 2, mode="edge"), np.ones(width) / width, mode="valid")


def plot_confusion_matrix(
    matrix: np.ndarray,
    names: dict | Sequence[str] = (),
    normalize: bool = True,
    save_dir: str | Path = "",
    on_plot: Callable | None = None,
    background: bool = True,
) -> None:
    """Draw a confusion matrix as a heat map into `save_dir/confusion_matrix[_normalized].png`.

    Args:
        matrix: (nc + 1, nc + 1) counts, predicted classes down, true classes across, background last; (nc, nc) of a
            classifier, which has no background.
        names: of the nc classes.
        normalize: show each column as fractions of its sum.
        background: whether the last row and column are the background.
    """
    matrix = np.asarray(matrix, dtype=float)
    shown = matrix / (matrix.sum(0, keepdims=True) + 1e-9) if normalize else matrix
    n = len(matrix)
    side = float(np.clip(1.2 + 0.55 * n, 4, 16))  # inches
    figure, (ax,) = new_figure(side, side, constrained=False)
    ax.set_position((0, 0, 1, 1))
    large = max(1.0, side / 8)
    top = 1.0 if normalize else max(float(shown.max()), 1e-9)
    image = ax.imshow(np.where(shown < 0.005, np.nan, shown), cmap="Blues", vmin=0, vmax=top)
    ax.set_facecolor("#F6F8FA")
    ax.spines[:].set_visible(False)
    if n <= 32:
        _write_cells(ax, shown, top, normalize)
    if n <= 100:
        _write_names(ax, [*as_names(names, n - background), *["background"] * background], side)
    ax.set_xticks(np.arange(-0.5, n), minor=True)
    ax.set_yticks(np.arange(-0.5, n), minor=True)
    ax.grid(which="minor", color="white", linewidth=1.2 if n <= 40 else 0.3)
    ax.tick_params(which="both", length=0)
    ax.set_xlabel("True", fontsize=12 * large, color=INK)
    ax.set_ylabel("Predicted", fontsize=12 * large, color=INK)
    title = "Confusion Matrix" + " Normalized" * normalize
    ax.set_title(title, fontsize=13 * large, fontweight="bold", color=INK, loc="left")
    bar = figure.colorbar(image, cax=ax.inset_axes((1 + 0.12 / side, 0, 0.05 / large, 1)))
    bar.ax.tick_params(labelsize=9 * large)
    bar.outline.set_visible(False)
    save_figure(figure, Path(save_dir) / f"{title.lower().replace(' ', '_')}.png", on_plot)


def _write_names(ax: Axes, names: list[str], side: float) -> None:
    """Label the rows and columns of a matrix, vertically below columns narrower than the longest name."""
    n = len(names)
    names, font = drawable(names)
    size = float(np.clip(240 / n, 5, 11))
    style: dict = {"fontsize": size, **({"fontproperties": font} if font else {})}
    ax.set_xticks(range(n), names, rotation=rotation_of(names, size, side / n), **style)
    ax.set_yticks(range(n), names, **style)


def _write_cells(ax: Axes, shown: np.ndarray, top: float, normalize: bool) -> None:
    """Write the value of each cell that is not empty, light on dark and dark on light."""
    size = float(np.clip(160 / len(shown), 4, 13))
    for (row, col), value in np.ndenumerate(shown):
        if value >= 0.005:
            text = f"{value:.2f}" if normalize else f"{value:.0f}"
            ax.text(
                col, row, text, ha="center", va="center", fontsize=size, color="white" if value > 0.55 * top else INK
            )
