"""`yolo benchmark`: one model in all formats that are installed, their size, accuracy and latency side by side."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ultralytics.cfg import get_cfg, run_folder
from ultralytics.cfg.tasks import TASKS
from ultralytics.engine import exporter
from ultralytics.lab.latency import run_in_turn
from ultralytics.nn.formats import FORMATS, Format, format_named, missing_packages
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, MissingPackageError, UserError
from ultralytics.utils.files import atomic_write, file_size
from ultralytics.utils.system.threads import get_cpu_info
from ultralytics.utils.torch_utils import select_device

if TYPE_CHECKING:
    import pandas as pd

    from ultralytics.engine.model import Model

ROUNDS = 20


@dataclass
class Row:
    """What one format gave; numbers are None where they could not be had, and `note` says why."""

    format: str
    file: str = ""
    size_mb: float | None = None
    metric: float | None = None
    median_ms: float | None = None
    p90_ms: float | None = None
    ratio: float | None = None  # of the latency, to PyTorch's
    pixels: float | None = None
    scores: float | None = None
    note: str = ""
    run: Callable[[], object] | None = field(default=None, repr=False, compare=False)


COLUMNS = [f.name for f in fields(Row) if f.name != "run"]


def benchmark(model: Model, rounds: int = ROUNDS, **kwargs) -> pd.DataFrame:
    """Export to each format, compare, validate where `data` is given, and time all in turn; return the table.

    It is also written as CSV, Markdown and an image into a new run folder, with the files.

    Args:
        model: trained or not.
        rounds: of the latency; in each one every format runs once untimed and twice timed.
        kwargs: settings of `yolo benchmark`: `format` names the formats, all that are installed if it is not given;
            `data`, `imgsz`, `half`, `int8`, `batch`, `device`, `threads` (1 if not given), `project`, `name`.
    """
    import pandas as pd

    kept = {k: v for k, v in model.overrides.items() if k in {"imgsz", "task", "model"}}
    args = get_cfg(overrides={**kept, "batch": 1, "threads": 1, **kwargs, "mode": "benchmark"})
    formats = _formats(kwargs.get("format"))
    stride = max(int(torch.as_tensor(getattr(model.model, "stride", 32)).max()), 32)
    imgsz = check_imgsz(args.imgsz, stride=stride, min_dim=2)
    if args.data and imgsz[0] != imgsz[1]:
        raise ConfigError(f"Validation needs square images, not {imgsz}: give imgsz=SIDE, or leave data= out.")
    device = select_device(args.device, verbose=False)
    folder = run_folder(args).make()
    x = exporter.image_batch(model.model, imgsz, args.batch).to(device)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads or before)
    try:
        rows = [_eager(model, x), *(_exported(model, form, x, folder, args) for form in formats)]
        _time([row for row in rows if row.run], rounds, device)
    finally:
        torch.set_num_threads(before)
    if args.data:
        _validate(rows[0], model, imgsz, args)
        for row in (row for row in rows[1:] if row.file):
            _validate(row, type(model)(row.file, task=model.task), imgsz, args)
    metric = TASKS[model.task].metric
    place = f"CPU ({get_cpu_info()}), {args.threads} threads" if device.type == "cpu" else str(device)
    title = f"{Path(str(args.model)).name}, {imgsz[1]} x {imgsz[0]} pixels, batch {args.batch}, {place}"
    text = f"{title}; {rounds} rounds, all in turn\n\n{table(rows, metric)}"
    _write(rows, folder, title, metric, text)
    LOGGER.info(f"\n{text}\nWrote benchmark.csv, benchmark.md and benchmark.png into '{folder}'.")
    return pd.DataFrame([{k: getattr(row, k) for k in COLUMNS} for row in rows])


def _formats(wanted: str | Sequence[str] | None) -> list[Format]:
    """Return the formats that were asked for, or all."""
    if not wanted:
        return list(FORMATS.values())
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    return [format_named(name.strip()) for name in names]


def _eager(model: Model, x: torch.Tensor) -> Row:
    layout = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format
    net, images = exporter.Predictions(model.model).to(x.device, memory_format=layout), x.to(memory_format=layout)
    file = str(model.ckpt_path or "")
    run = torch.inference_mode()(lambda: net(images))
    return Row("PyTorch", file, file_size(file) if file else None, run=run)


def _exported(model: Model, form: Format, x: torch.Tensor, folder: Path, args: Any) -> Row:
    """Export to one format; what stands in the way becomes the note."""
    row = Row(form.title)
    half, int8 = (getattr(args, key) and key in form.options for key in ("half", "int8"))
    if missing := missing_packages((*form.writing, *form.running)):
        row.note = f"pip install {' '.join(missing)}"
        return row
    try:
        writer = exporter.Exporter(overrides={
            "format": form.name, "task": model.task, "model": str(args.model), "imgsz": list(x.shape[-2:]),
            "batch": args.batch, "half": half, "int8": int8, "data": args.data if int8 else None,
        })  # fmt: skip
        row.file = writer(model.model, stem=folder / Path(str(args.model)).stem)
        row.size_mb = file_size(row.file)
        if writer.parity:
            row.pixels, row.scores = writer.parity.pixels, writer.parity.scores
        run = form.load().Runner(row.file, x.device, threads=args.threads)
        row.run = lambda: run(x)
    except (MissingPackageError, UserError) as e:
        row.note = str(e)
    for key, done in (("half", half), ("int8", int8)):
        if getattr(args, key) and not done and not row.note:
            row.note = f"has no {key}"
    return row


def _time(rows: Sequence[Row], rounds: int, device: torch.device) -> None:
    """Fill in the latencies."""
    times = run_in_turn([row.run for row in rows], rounds, device)
    first = float(np.median(times[0]))
    for row, seconds in zip(rows, times):
        row.median_ms, row.p90_ms = (float(np.percentile(seconds, q)) * 1e3 for q in (50, 90))
        row.ratio = float(np.median(seconds)) / first
        row.run = None


def _validate(row: Row, model: Model, imgsz: list[int], args: Any) -> None:
    """Fill in the metric; all formats see the same squares."""
    more = {} if args.batch == 1 else {"batch": args.batch}
    found = model.val(
        data=args.data, imgsz=imgsz[0], device=args.device, threads=args.threads, rect=False, plots=False,
        verbose=False, split=args.split, workers=args.workers, project=args.project, name=args.name, **more,
    )  # fmt: skip
    row.metric = float(found.results_dict[TASKS[model.task].metric])


def table(rows: Sequence[Row], metric: str) -> str:
    """Return the rows as a Markdown table."""

    def shown(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    head = ["format", "size MB", metric, "median ms", "p90 ms", "ratio", "boxes differ by px", "scores by", "note"]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * 7 + " --- |"]
    for r in rows:
        parity = ["" if v is None else f"{v:.2g}" for v in (r.pixels, r.scores)]
        cells = [
            r.format, shown(r.size_mb, 1), shown(r.metric, 4), shown(r.median_ms, 1), shown(r.p90_ms, 1),
            shown(r.ratio, 2), *parity, r.note.replace("|", "/"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _write(rows: Sequence[Row], folder: Path, title: str, metric: str, text: str) -> None:
    """Write the table as CSV and Markdown, and the image."""
    with atomic_write(folder / "benchmark.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    with atomic_write(folder / "benchmark.md", "w", encoding="utf-8") as f:
        f.write(text + "\n")
    plot([row for row in rows if row.median_ms is not None], folder / "benchmark.png", title, metric)


def plot(rows: Sequence[Row], file: Path, title: str, metric: str) -> None:
    """Draw latencies as bars, with size and metric beside them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.5 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(places, [row.median_ms for row in rows], color="#1E5FD8", height=0.6)
    axes.barh(places, [row.p90_ms - row.median_ms for row in rows], left=[row.median_ms for row in rows],
              color="#1E5FD8", alpha=0.3, height=0.6)  # fmt: skip
    for i, row in enumerate(rows):
        parts = [f"{row.median_ms:.1f} ms", "" if row.size_mb is None else f"{row.size_mb:.1f} MB"]
        parts.append("" if row.metric is None else f"{row.metric:.3f}")
        axes.text(row.p90_ms, i, "  " + ", ".join(p for p in parts if p), va="center", fontsize=9)
    axes.set_yticks(places, [row.format for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(row.p90_ms for row in rows))
    axes.set_xlabel(f"milliseconds: median and, pale, 90 of 100 (beside it: size, {metric})")
    axes.set_title(title, fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(file, dpi=150)
