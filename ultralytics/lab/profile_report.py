"""The figures of `yolo profile` as text, CSV and an image."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ultralytics.lab.latency import Latency
from ultralytics.lab.profile import MB, LayerCost, Profile
from ultralytics.utils.files import atomic_write

FLOPS_COLOR, PARAMS_COLOR = "#1E5FD8", "#1A8F6B"
MODEL_FIELDS = (
    "model task nc imgsz params params_fused gflops gflops_fused gmacs size_bytes memory_mb peak_mb not_counted"
)
LAYER_FIELDS = (
    "model layer line from module yaml output params params_fused gflops gflops_fused memory_mb peak_mb not_counted"
)


def size_text(imgsz: int | list[int]) -> str:
    """Return '640', or '480x640' for a height of 480."""
    return str(imgsz) if isinstance(imgsz, int) else "x".join(map(str, imgsz))


def layer_table(found: Profile) -> str:
    """Return the table of a model's layers with their sum; a `*` marks GFLOPs that lack operators not known."""
    head = ("layer", "line", "from", "module", "output", "params", "fused", "GFLOPs", "fused", "act. MB", "peak MB")
    rows = [
        (
            row.index,
            str(row.line or ""),
            "" if row.source is None else str(row.source).replace(" ", ""),
            row.module,
            _shapes(row.shapes),
            f"{row.params:,}",
            f"{row.params_fused:,}",
            f"{row.gflops:.4f}{'*' * bool(row.unknown)}",
            f"{row.gflops_fused:.4f}",
            f"{row.memory / MB:.2f}",
            f"{row.peak / MB:.2f}",
        )
        for row in found.layers
    ]
    c = found.cost
    sums = ("sum", "", "", "", "", f"{c.params:,}", f"{c.params_fused:,}", f"{c.gflops:.4f}", f"{c.gflops_fused:.4f}")
    table = [head, *rows, (*sums, f"{c.memory_mb:.2f}", f"{c.peak_mb:.2f}")]
    title = f"{found.name}, layer by layer, one image of {size_text(found.imgsz)} pixels (peak: the greatest, no sum)"
    return "\n".join([title, *_aligned(table, left=5, rules=(1, len(table) - 1))])


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    """Return the shapes without the batch, the first three of them."""
    texts = ["x".join(map(str, shape[1:])) for shape in shapes]
    return " ".join(texts[:3]) + (f" +{len(texts) - 3}" if len(texts) > 3 else "")


def _aligned(table: Sequence[Sequence[str]], left: int, rules: Sequence[int]) -> list[str]:
    """Return lines with columns of equal width, the first `left` to the left, and rules before some lines."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(w) if k < left else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths))).rstrip()
        for row in table
    ]
    for at in sorted(rules, reverse=True):
        lines.insert(at, "-" * max(map(len, lines)))
    return lines


# What is compared of models: a name, the figure, and its text.
_FIGURES: dict[str, tuple[Callable[[Profile], float], str]] = {
    "parameters": (lambda p: p.cost.params, ",d"),
    "parameters, fused": (lambda p: p.cost.params_fused, ",d"),
    "GFLOPs": (lambda p: p.cost.gflops, ".2f"),
    "GFLOPs, fused": (lambda p: p.cost.gflops_fused, ".2f"),
    "GMACs": (lambda p: p.cost.gmacs, ".2f"),
    "weight file, bytes": (lambda p: p.cost.size_bytes, ",d"),
    "activations, MB": (lambda p: p.cost.memory_mb, ".1f"),
    "activations at once, MB": (lambda p: p.cost.peak_mb, ".1f"),
}


def model_table(profiles: Sequence[Profile]) -> str:
    """Return the figures of models side by side, those behind the first with what they save."""
    first = profiles[0]
    rows = [[f"{size_text(first.imgsz)} pixels", *(p.name for p in profiles)], ["task, classes"]]
    rows[1] += [f"{p.task or '-'}, {p.nc}" for p in profiles]
    for what, (figure, form) in _FIGURES.items():
        texts = [format(figure(p), form) for p in profiles]
        shares = [
            f" ({figure(p) / figure(first) - 1:+.0%})" if p is not first and figure(first) else "" for p in profiles
        ]
        rows.append([what, *(text + share for text, share in zip(texts, shares))])
    return "\n".join(_aligned(rows, left=1, rules=(1,)))


def unknown_text(found: Profile) -> str:
    """Return a sentence on the operators that were not counted, each with its layers."""
    if not found.unknown:
        return f"{found.name}: every operator was counted or holds no multiply-accumulates."
    where: dict[str, list[str]] = {}
    for row in found.layers:
        for name in row.unknown:
            where.setdefault(name, []).append(row.index)
    names = ", ".join(
        f"{name} ({calls} call{'s' * (calls > 1)}, layer {' '.join(where[name])})"
        for name, calls in found.unknown.most_common()
    )
    return f"{found.name}: not counted, for PyTorch's counter has no formula: {names}. The true FLOPs are higher."


# CSV ------------------------------------------------------------------------------------------------------------------


def write_csv(profiles: Sequence[Profile], latencies: Sequence[Latency], file: str | Path) -> list[Path]:
    """Write the layers of models to a CSV file, and the whole models with their latencies to NAME_models.csv."""
    file = Path(file)
    models = file.with_name(f"{file.stem}_models{file.suffix}")
    layers = [_layer_row(p, row) for p in profiles for row in p.layers]
    runtimes = list(dict.fromkeys(r.runtime for r in latencies))
    timed = [f"{runtime}_{which}_ms" for runtime in runtimes for which in ("median", "p90")]
    conditions = ["threads", "device", "batch", "rounds"] * bool(latencies)
    _write(file, LAYER_FIELDS.split(), layers)
    rows = [{**_model_row(p), **_latency_row(r for r in latencies if r.model == p.name)} for p in profiles]
    _write(models, [*MODEL_FIELDS.split(), *timed, *conditions], rows)
    return [file, models]


def _layer_row(found: Profile, row: LayerCost) -> dict[str, Any]:
    return {
        "model": found.name,
        "layer": row.index,
        "line": row.line,
        "from": row.source,
        "module": row.module,
        "yaml": row.text,
        "output": " ".join("x".join(map(str, shape)) for shape in row.shapes),
        "params": row.params,
        "params_fused": row.params_fused,
        "gflops": row.gflops,
        "gflops_fused": row.gflops_fused,
        "memory_mb": row.memory / MB,
        "peak_mb": row.peak / MB,
        "not_counted": _counted(row.unknown),
    }


def _model_row(p: Profile) -> dict[str, Any]:
    known = {"model": p.name, "task": p.task, "nc": p.nc, "imgsz": size_text(p.imgsz)}
    figures = {key: getattr(p.cost, key) for key in MODEL_FIELDS.split() if hasattr(p.cost, key)}
    return {**known, **figures, "not_counted": _counted(p.unknown)}


def _latency_row(rows: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for r in rows:
        out |= {f"{r.runtime}_median_ms": f"{r.median_ms:.3f}", f"{r.runtime}_p90_ms": f"{r.p90_ms:.3f}"}
        out |= {"threads": r.threads, "device": r.device, "batch": r.batch, "rounds": r.rounds}
    return out


def _counted(unknown: Counter[str]) -> str:
    return " ".join(f"{name}:{calls}" for name, calls in unknown.items())


def _write(file: Path, fields: Sequence[str], rows: Sequence[dict]) -> None:
    with atomic_write(file, "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, fields)
        writer.writeheader()
        writer.writerows(rows)


# Image --------------------------------------------------------------------------------------------------------------


def plot_layers(profiles: Sequence[Profile], file: str | Path) -> Path:
    """Draw fused GFLOPs and parameters by layer, a row of two panels for each model, on scales that all share."""
    from ultralytics.utils.drawing.curves import new_figure, save_figure

    longest = max(len(p.layers) for p in profiles)
    figure, axes = new_figure(11, (0.22 * longest + 1.3) * len(profiles), rows=len(profiles), cols=2)
    panels = (
        ("GFLOPs", FLOPS_COLOR, lambda row: row.gflops_fused, ".2f"),
        ("Parameters, thousands", PARAMS_COLOR, lambda row: row.params_fused / 1e3, ",.1f"),
    )
    for k, panel in enumerate(panels):
        top = max(panel[2](row) for p in profiles for row in p.layers) or 1
        for ax, p in zip(axes[k::2], profiles):
            _bars(ax, p, panel, top, named=k == 0)
    return save_figure(figure, file, dpi=150)


def _bars(ax: Any, found: Profile, panel: tuple, top: float, named: bool) -> None:
    """Draw one panel: a bar for each layer, its figure behind it, and the sum in the title."""
    from ultralytics.utils.drawing.curves import GRID, INK, drawable

    what, color, figure, form = panel
    values = [figure(row) for row in found.layers]
    ax.barh(range(len(values)), values, color=color, height=0.72)
    for at, value in enumerate(values):
        if value > 0:
            ax.text(value + top * 0.01, at, format(value, form), va="center", fontsize=7.5, color=INK)
    labels, font = drawable([f"{row.module}  {row.index}" for row in found.layers])
    extra = {"fontproperties": font} if font else {}
    ax.set_yticks(range(len(values)), labels if named else [""] * len(values), fontsize=8, **extra)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, top * 1.12), ylim=(len(values) - 0.4, -0.6))
    ax.grid(axis="x", **GRID)
    title = f"{what}: {format(sum(values), form)}"
    if named:
        title = f"{found.name}, {size_text(found.imgsz)} pixels, fused\n{title}"
    title, font = drawable([title])
    extra = {"fontproperties": font} if font else {"fontweight": "bold"}
    ax.set_title(title[0], color=INK, fontsize=11, loc="left", **extra)
