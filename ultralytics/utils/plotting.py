"""Plots of a run: mosaics of batches, statistics of labels, and losses and metrics over the epochs."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import ArrayLike

from ultralytics.utils import LOGGER
from ultralytics.utils.drawing.annotator import Annotator, Color, Colors, colors, contrast, imwrite, save_one_box
from ultralytics.utils.drawing.curves import (
    ACCENT,
    GRID,
    INK,
    as_names,
    drawable,
    new_figure,
    plot_confusion_matrix,
    plot_mc_curve,
    plot_pr_curve,
    rotation_of,
    save_figure,
    unit_color,
)
from ultralytics.utils.drawing.feature_maps import feature_visualization
from ultralytics.utils.drawing.fonts import find_font
from ultralytics.utils.drawing.tuning import plot_tune_results
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.files import read_text
from ultralytics.utils.hostile import limits
from ultralytics.utils.ops import xywh2xyxy, xywhr2xyxyxyxy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = (
    "Annotator",
    "Colors",
    "colors",
    "contrast",
    "feature_visualization",
    "find_font",
    "imwrite",
    "output_to_rotated_target",
    "output_to_target",
    "plot_confusion_matrix",
    "plot_images",
    "plot_labels",
    "plot_mc_curve",
    "plot_pr_curve",
    "plot_results",
    "plot_tune_results",
    "plt_color_scatter",
    "save_one_box",
)


def _numpy(values: ArrayLike) -> np.ndarray:
    """Return a tensor, a list or an array as an array."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values)


# Batches -----------------------------------------------------------------------------------------------------------
def output_to_target(output: Sequence, max_det: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Turn the detections of a batch into arguments of `plot_images`.

    Args:
        output: one (n, 6+) tensor an image: x1, y1, x2, y2 in pixels, confidence, class.
        max_det: boxes kept of each image.

    Returns:
        Image index (m,), class (m,), boxes (m, 4) xywh in pixels, confidence (m,).
    """
    rows = [_numpy(o)[:max_det, :6].astype(np.float32).reshape(-1, 6) for o in output]
    index = np.concatenate([np.full(len(r), i, np.float32) for i, r in enumerate(rows)] or [np.zeros(0, np.float32)])
    stacked = np.concatenate(rows) if rows else np.zeros((0, 6), np.float32)
    low, high = stacked[:, :2], stacked[:, 2:4]
    return index, stacked[:, 5], np.concatenate([(low + high) / 2, high - low], 1), stacked[:, 4]


def output_to_rotated_target(
    output: Sequence, max_det: int = 300
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Turn the rotated detections of a batch into arguments of `plot_images`.

    Args:
        output: one (n, 7+) tensor an image: x, y, w, h in pixels, confidence, class, ..., angle in radians.
        max_det: boxes kept of each image.

    Returns:
        Image index (m,), class (m,), boxes (m, 5) xywhr in pixels, confidence (m,).
    """
    rows = [_numpy(o)[:max_det].astype(np.float32) for o in output]
    index = np.concatenate([np.full(len(r), i, np.float32) for i, r in enumerate(rows)] or [np.zeros(0, np.float32)])
    stacked = np.concatenate([r[:, [0, 1, 2, 3, -1, 4, 5]] for r in rows]) if rows else np.zeros((0, 7), np.float32)
    return index, stacked[:, 6], stacked[:, :5], stacked[:, 5]


def _to_images(images: ArrayLike) -> np.ndarray:
    """Convert (b, 3, h, w) RGB, floats in 0..1 or bytes, to (b, h, w, 3) uint8 BGR."""
    pixels = _numpy(images)
    if pixels.dtype != np.uint8 and pixels.size and pixels.max() <= 1:
        pixels = pixels * 255
    return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1])


def _mosaic(images: np.ndarray, max_size: int, columns: int) -> tuple[np.ndarray, float, int, int]:
    """Arrange images (b, h, w, 3) in a grid; return it, the scale of each image, its height and its width."""
    height, width = images.shape[1:3]
    rows = math.ceil(len(images) / columns)
    scale = min(max_size / columns / max(height, width), 1.0)
    h, w = math.ceil(scale * height), math.ceil(scale * width)
    canvas = np.full((rows * h, columns * w, 3), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * h, i % columns * w
        canvas[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA) if scale < 1 else image
    return canvas, scale, h, w


def _to_corners(boxes: np.ndarray, scale: float, h: int, w: int) -> np.ndarray:
    """Convert xywh (n, 4) to corners (n, 4), or xywhr (n, 5) to corners (n, 4, 2), on an image drawn h x w large.

    The boxes are in pixels of the image, drawn at `scale`, or fractions of it.
    """
    boxes = boxes.copy()
    shares = len(boxes) and boxes[:, :4].max() <= 1.1
    boxes[:, :4] *= (w, h, w, h) if shares else scale
    return xywhr2xyxyxyxy(boxes) if boxes.shape[1] == 5 else xywh2xyxy(boxes)


def _masks_of(masks: np.ndarray, batch_idx: np.ndarray, i: int) -> np.ndarray:
    """Return the masks (n, h, w) of the n objects of image i, in their order.

    `masks` are one an object, or one an image whose pixels are 1 + the index of the object in its image.
    """
    mine = batch_idx == i
    if len(masks) == len(batch_idx) and masks.max(initial=0) <= 1:
        return masks[mine] > 0
    return masks[i][None] == np.arange(1, mine.sum() + 1)[:, None, None]


def _points_on(points: np.ndarray, scale: float, h: int, w: int) -> np.ndarray:
    """Convert keypoints (n, k, 2 or 3), in pixels or fractions of an image, to pixels of its drawing, h x w large."""
    points = points.copy()
    shares = points[..., :2].max(initial=0) <= 1.01
    points[..., :2] *= (w, h) if shares else scale
    return points


def _draw_objects(
    annotator: Annotator,
    title: str,
    found: list[str],
    shades: list[Color],
    conf_thres: float,
    boxes: np.ndarray | None,
    masks: np.ndarray | None,
    kpts: np.ndarray | None,
) -> None:
    """Draw the objects of one image, and its title in a corner."""
    size = annotator.im.shape[:2]
    if masks is not None:
        annotator.masks(masks, shades, retina_masks=True)
    if title:
        annotator.text((4, 4), title, txt_color=(250, 250, 250), box_style=True)
    if boxes is not None:
        annotator.box_labels(boxes, found, shades, rotated=boxes.ndim == 3)
    for points in () if kpts is None else kpts:
        annotator.kpts(points, size, radius=2 * annotator.lw, conf_thres=conf_thres)
    if boxes is None and masks is None and kpts is None:
        annotator.panel(found, top=round(1.2 * annotator.font_size) if title else 0)


def plot_images(
    images: ArrayLike,
    batch_idx: ArrayLike,
    cls: ArrayLike,
    bboxes: ArrayLike = (),
    confs: ArrayLike | None = None,
    masks: ArrayLike = (),
    kpts: ArrayLike = (),
    paths: Sequence[str] | None = None,
    fname: str | Path = "images.jpg",
    names: dict | Sequence[str] | None = None,
    on_plot: Callable | None = None,
    max_size: int = 1920,
    max_subplots: int = 16,
    save: bool = True,
    conf_thres: float = 0.25,
) -> np.ndarray | None:
    """Draw up to 16 images of a batch with their objects as one mosaic.

    Args:
        images: (b, 3, h, w) RGB, floats in 0..1 or bytes.
        batch_idx: (n,) image of each object.
        cls: (n,) or (n, 1) class of each object; without boxes, masks and keypoints it is written on the image.
        bboxes: (n, 4) xywh or (n, 5) xywhr, in pixels or as fractions of the image, angles in radians.
        confs: (n,) confidences of predictions, those below `conf_thres` are left out; None for labels.
        masks: (n, mask h, mask w) one an object, or (b, mask h, mask w) 1 + the index of the object in its image.
        kpts: (n, k, 2) or (n, k, 3), in pixels or as fractions of the image, with visibility or confidence.
        paths: of the images, whose file names are written on them.
        save: write to `fname` and return None; else return the mosaic, (h, w, 3) BGR.
    """
    images = _to_images(images)[:max_subplots]
    columns = math.ceil(math.sqrt(len(images)))
    canvas, scale, h, w = _mosaic(images, max_size, columns)
    batch_idx, cls = _numpy(batch_idx).reshape(-1), _numpy(cls).reshape(-1).astype(int)
    boxes, masks, kpts = (_numpy(v).astype(np.float32) for v in (bboxes, masks, kpts))
    boxes = _to_corners(boxes.reshape(-1, boxes.shape[-1] if boxes.ndim == 2 and boxes.size else 4), scale, h, w)
    kpts = _points_on(kpts, scale, h, w) if kpts.ndim == 3 else ()
    confs = None if confs is None else _numpy(confs).reshape(-1)
    table = as_names(names, max(int(cls.max(initial=0)) + 1, len(names))) if names else None
    texts = [*(table or ()), *(Path(p).name for p in paths or ())]
    line_width, font_size = max(round((h + w) * 0.002), 1), max(round((h + w) * 0.02), 12)
    for i in range(len(images)):
        y, x = i // columns * h, i % columns * w
        # each image has an annotator of its own, so that no label runs into its neighbour
        annotator = Annotator(canvas[y : y + h, x : x + w], line_width, font_size, example=texts)
        mine = np.flatnonzero(batch_idx == i)
        shown = np.full(len(mine), True) if confs is None else confs[mine] >= conf_thres
        rows = mine[shown]
        found = [table[cls[j]] if table else str(cls[j]) for j in rows]
        if confs is not None:
            found = [f"{name} {confs[j]:.1f}" for name, j in zip(found, rows)]
        objects = {
            "boxes": boxes[rows] if len(boxes) else None,
            "masks": _masks_of(masks, batch_idx, i)[shown] if len(masks) else None,
            "kpts": kpts[rows] if len(kpts) else None,
        }
        title = Path(paths[i]).name[:40] if paths and i < len(paths) else ""
        _draw_objects(annotator, title, found, [colors(cls[j], True) for j in rows], conf_thres, **objects)
        annotator.rectangle((0, 0, w - 1, h - 1), outline=(255, 255, 255), width=2)
        canvas[y : y + h, x : x + w] = annotator.result()
    if not save:
        return canvas
    try:
        file = imwrite(fname, canvas)
    except DataError as e:  # a plot must not end a run
        LOGGER.warning(f"{e} It is left out.")
        return None
    if on_plot:
        on_plot(file)
    return None


# Labels ------------------------------------------------------------------------------------------------------------
def _class_histogram(ax: Axes, cls: np.ndarray, names: dict | Sequence[str]) -> None:
    """Draw the number of boxes of each class."""
    nc = max(int(cls.max(initial=0)) + 1, len(names), 1)
    counts = np.bincount(cls, minlength=nc)
    ax.bar(range(nc), counts, color=[unit_color(i) for i in range(nc)], width=min(0.8, 0.2 + 0.1 * nc))
    ax.set(ylabel="boxes", xlim=(-0.75, nc - 0.25))
    ax.grid(axis="y", **GRID)
    if nc <= 30 and names:
        labels, font = drawable(as_names(names, nc), longest=24)
        extra: dict = {"fontproperties": font} if font else {}
        rotation = rotation_of(labels, 9, 4.2 / nc)  # the panel is about 4.2 inches wide
        ax.set_xticks(range(nc), labels, rotation=rotation, fontsize=9, **extra)
        for i, count in enumerate(counts if nc <= 12 else ()):
            ax.text(i, count, f"{count}", ha="center", va="bottom", fontsize=9, color=INK)
    else:
        ax.set_xlabel("class")


def _box_overlay(ax: Axes, boxes: np.ndarray, cls: np.ndarray, limit: int = 1000, size: int = 800) -> None:
    """Draw up to `limit` boxes (n, 4) xywh over each other, centred, to compare their sizes."""
    canvas = np.full((size, size, 3), 255, np.uint8)
    keep = np.linspace(0, len(boxes) - 1, min(len(boxes), limit)).round().astype(int)  # spread over the whole set
    for box, c in zip(boxes[keep], cls[keep]):
        half = box[2:] * size / 2
        low, high = (size / 2 - half).round().astype(int), (size / 2 + half).round().astype(int)
        cv2.rectangle(canvas, low.tolist(), high.tolist(), colors(c), 1, cv2.LINE_AA)
    ax.imshow(canvas, extent=(0, 1, 0, 1))
    ax.set(xlabel="width", ylabel="height", xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[0, 0.25, 0.5, 0.75, 1])


def _density(ax: Axes, x: np.ndarray, y: np.ndarray, xlabel: str, ylabel: str) -> None:
    """Draw a 2-D histogram over the unit square."""
    bins = int(np.clip(2 * math.sqrt(max(len(x), 1)), 12, 50))
    counts, _, _ = np.histogram2d(x, y, bins=bins, range=[[0, 1], [0, 1]])
    image = ax.imshow(
        np.where(counts.T > 0, counts.T, np.nan), origin="lower", extent=(0, 1, 0, 1), cmap="viridis_r", vmin=0
    )
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[0, 0.25, 0.5, 0.75, 1])
    ax.set_facecolor("#F6F8FA")
    if len(x):
        ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03).outline.set_visible(False)


def plot_labels(
    boxes: ArrayLike,
    cls: ArrayLike,
    names: dict | Sequence[str] = (),
    save_dir: str | Path = Path(""),
    on_plot: Callable | None = None,
) -> None:
    """Plot the statistics of a training set into `save_dir/labels.jpg`.

    Args:
        boxes: (n, 4) xywh as fractions of the image.
        cls: (n,) or (n, 1) classes.
    """
    boxes, cls = _numpy(boxes).astype(float).reshape(-1, 4), _numpy(cls).reshape(-1).astype(int)
    figure, axes = new_figure(10.5, 9.5, 2, 2)
    titles = ("Boxes of each class", "Sizes, boxes laid over each other", "Where the centres lie", "Width and height")
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=12, fontweight="bold", color=INK, loc="left")
    _class_histogram(axes[0], cls, names)
    _box_overlay(axes[1], boxes, cls)
    _density(axes[2], boxes[:, 0], 1 - boxes[:, 1], "x", "y, upwards")
    _density(axes[3], boxes[:, 2], boxes[:, 3], "width", "height")
    save_figure(figure, Path(save_dir) / "labels.jpg", on_plot, dpi=150)


def plt_color_scatter(
    v: ArrayLike,
    f: ArrayLike,
    bins: int = 20,
    cmap: str = "viridis",
    alpha: float = 0.8,
    edgecolors: str = "none",
) -> None:
    """Scatter points (v, f) on the present figure of matplotlib, coloured by how many are near each.

    Args:
        v: (n,) horizontal.
        f: (n,) vertical.
        bins: of the histogram that counts them, in each direction.
        cmap: colours.
        alpha: opacity, 0 to 1.
        edgecolors: of the points.
    """
    from matplotlib import pyplot as plt

    x, y = _numpy(v), _numpy(f)
    counts, xedges, yedges = np.histogram2d(x, y, bins=bins)
    column, row = ((np.digitize(values, edges) - 1).clip(0, bins - 1) for values, edges in ((x, xedges), (y, yedges)))
    plt.scatter(x, y, c=counts[column, row], cmap=cmap, alpha=alpha, edgecolors=edgecolors)


# Results -----------------------------------------------------------------------------------------------------------
def read_results(file: str | Path) -> dict[str, np.ndarray]:
    """Read a results.csv as columns of floats; names may be padded with blanks, and a cell without a number is NaN."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return math.nan

    try:
        lines = read_text(file, limits.RECORD_BYTES).splitlines()
        rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except csv.Error as e:
        raise DataError(f"'{file}' is not a table of results ({e}).") from None
    header = [name.strip() for name in rows[0]] if rows else []
    body = [[number(cell) for cell in (row + [""] * len(header))[: len(header)]] for row in rows[1:]]
    table = np.asarray(body, dtype=float).reshape(-1, len(header))
    return {name: table[:, i] for i, name in enumerate(header)}


def _smooth(y: np.ndarray, sigma: float = 3.0) -> np.ndarray:
    """Smooth a curve by a Gaussian of `sigma` points; missing points are ignored."""
    at = np.arange(len(y))
    weights = np.exp(-((at[:, None] - at[None]) ** 2) / (2 * sigma**2)) * np.isfinite(y)
    total = weights.sum(1)
    return np.divide(
        weights @ np.nan_to_num(y, posinf=0, neginf=0), total, out=np.full(len(y), math.nan), where=total > 0
    )


def _panels(columns: Sequence[str]) -> list[list[str]]:
    """Split column names into two rows: training losses and half of the metrics, validation losses and the rest."""
    train, val, metrics = ([c for c in columns if c.startswith(p)] for p in ("train/", "val/", "metrics/"))
    half = math.ceil(len(metrics) / 2)
    return [train + metrics[:half], val + metrics[half:]]


def plot_results(
    file: str | Path = "path/to/results.csv",
    dir: str | Path = "",
    segment: bool = False,
    pose: bool = False,
    classify: bool = False,
    on_plot: Callable | None = None,
) -> None:
    """Plot the losses and metrics of a results.csv (or of each results*.csv in `dir`) into results.png beside it.

    The columns of the file say what there is to plot; the task need not be given by `segment`, `pose` or `classify`.

    Raises:
        MissingFileError: there is no such file.
        DataError: the file has no epoch or no loss or metric to draw.
    """
    folder = Path(dir) if dir else Path(file).parent
    files = sorted(folder.glob("results*.csv")) if dir else [Path(file)]
    if not files or not files[0].is_file():
        raise MissingFileError(
            f"No results.csv in '{folder.resolve()}'. Give the path of the file that a training wrote."
        )
    runs = [(f.stem, read_results(f)) for f in files]
    runs = [(stem, table) for stem, table in runs if len(next(iter(table.values()), ()))]
    rows = _panels(list(runs[0][1])) if runs else [[], []]
    columns = max(map(len, rows))
    if not columns:
        raise DataError(f"'{files[0]}' has no epoch, or no column 'train/...', 'val/...' or 'metrics/...', to draw.")
    figure, axes = new_figure(2.6 * columns + 0.6, 6, 2, columns, constrained=False)
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.3, hspace=0.25)
    for r, row in enumerate(rows):
        for c in range(columns):
            ax = axes[r * columns + c]
            ax.set_visible(c < len(row))
            if c < len(row):
                _draw_panel(ax, row[c], runs)
    save_figure(figure, folder / "results.png", on_plot, dpi=160)


def _draw_panel(ax: Axes, name: str, runs: list[tuple[str, dict]]) -> None:
    """Draw one column of each run over the epochs, and a smoothed line if there are enough points."""
    for i, (stem, table) in enumerate(runs):
        if name not in table:
            LOGGER.warning(f"WARNING: '{stem}.csv' has no column '{name}'; that panel leaves it out.")
            continue
        y = table[name]
        x = table.get("epoch", np.arange(1, len(y) + 1))
        color = ACCENT if len(runs) == 1 else unit_color(i)
        smooth = len(y) >= 8
        faint = {"linewidth": 1.0, "alpha": 0.45} if smooth else {"linewidth": 1.8, "label": stem}
        ax.plot(x, y, color=color, marker="o" if len(y) < 40 else None, markersize=3, **faint)
        if smooth:
            ax.plot(x, _smooth(y, max(len(y) / 40, 1.5)), color=color, linewidth=2.2, label=stem)
    ax.set_title(name, fontsize=10, color=INK, loc="left")
    ax.grid(**GRID)
    if any(np.isfinite(table[name]).any() for _, table in runs if name in table):
        ax.locator_params("x", integer=True, min_n_ticks=1)  # no half epochs
    else:
        ax.text(0.5, 0.5, "no number", transform=ax.transAxes, ha="center", va="center", color=INK)
        ax.set(xticks=[], yticks=[])
    if len(runs) > 1:
        ax.legend(frameon=False, fontsize=8)
    if name.startswith("metrics/"):
        ax.set_ylim(bottom=0)
