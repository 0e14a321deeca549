"""The figures of `yolo profile` as text and CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ultralytics.lab.latency import Latency
from ultralytics.lab.profile import MB, LayerCost, Profile
from ultralytics.lab.tables import aligned, csv_text
from ultralytics.utils.files import atomic_write

# What is compared of models: the name of a figure, the attribute of its cost, and the form of its text.
FIGURES = (
    ("parameters", "params", ",d"),
    ("parameters, fused", "params_fused", ",d"),
    ("GFLOPs", "gflops", ".2f"),
    ("GFLOPs, fused", "gflops_fused", ".2f"),
    ("GMACs", "gmacs", ".2f"),
    ("weight file, bytes", "size_bytes", ",d"),
    ("activations, MB", "memory_mb", ".1f"),
    ("activations at once, MB", "peak_mb", ".1f"),
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
    return f"{title}\n{aligned(table, left=5, rules=(1, len(table) - 1))}"


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    """Return the shapes without the batch, the first three of them."""
    texts = ["x".join(map(str, shape[1:])) for shape in shapes]
    return " ".join(texts[:3]) + (f" +{len(texts) - 3}" if len(texts) > 3 else "")


def model_table(profiles: Sequence[Profile]) -> str:
    """Return the figures of models side by side, with their change from the first model."""
    first = profiles[0]
    rows = [
        [f"{size_text(first.imgsz)} pixels", *(p.name for p in profiles)],
        ["task, classes", *(f"{p.task or '-'}, {p.nc}" for p in profiles)],
    ]
    for title, key, form in FIGURES:
        base, *others = (getattr(p.cost, key) for p in profiles)
        changed = (format(v, form) + (f" ({v / base - 1:+.0%})" if base else "") for v in others)
        rows.append([title, format(base, form), *changed])
    return aligned(rows)


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


def write_csv(profiles: Sequence[Profile], latencies: Sequence[Latency], file: str | Path) -> list[Path]:
    """Write the layers of models to a CSV file, and the whole models with their latencies to NAME_models.csv."""
    file = Path(file)
    models = file.with_name(f"{file.stem}_models{file.suffix}")
    layers = [_layer_row(p, row) for p in profiles for row in p.layers]
    wholes = [_model_row(p, [r for r in latencies if r.model == p.name]) for p in profiles]
    for path, rows in ((file, layers), (models, wholes)):
        with atomic_write(path, "w", newline="", encoding="utf-8") as f:
            f.write(csv_text(rows))
    return [file, models]


def _layer_row(found: Profile, row: LayerCost) -> dict[str, object]:
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


def _model_row(p: Profile, latencies: Sequence[Latency]) -> dict[str, object]:
    known = {"model": p.name, "task": p.task, "nc": p.nc, "imgsz": size_text(p.imgsz)}
    row = {**known, **{key: getattr(p.cost, key) for _, key, _ in FIGURES}, "not_counted": _counted(p.unknown)}
    for r in latencies:
        row |= {f"{r.runtime}_median_ms": r.median_ms, f"{r.runtime}_p90_ms": r.p90_ms}
        row |= {"threads": r.threads, "device": r.device, "batch": r.batch, "rounds": r.rounds}
    return row


def _counted(unknown: Counter[str]) -> str:
    return " ".join(f"{name}:{calls}" for name, calls in unknown.items())
