"""`yolo benchmark`: one model in all formats that are installed, their size, accuracy and latency side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ultralytics.cfg import get_cfg, run_folder
from ultralytics.cfg.tasks import TASKS
from ultralytics.engine import exporter
from ultralytics.lab.latency import eager, run_in_turn, torch_threads
from ultralytics.lab.tables import csv_text, markdown
from ultralytics.nn.formats import FORMATS, Format, format_named, missing_packages
from ultralytics.utils import LOGGER, IterableSimpleNamespace
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
    """The results of one format; figures are None where they could not be measured, and `note` says why."""

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
SHOWN = {  # in the table: the column's title, and the form of its values
    "format": ("format", ""),
    "size_mb": ("size MB", ".1f"),
    "metric": ("metric", ".4f"),
    "median_ms": ("median ms", ".1f"),
    "p90_ms": ("p90 ms", ".1f"),
    "ratio": ("ratio", ".2f"),
    "pixels": ("boxes differ by px", ".2g"),
    "scores": ("scores by", ".2g"),
    "note": ("note", ""),
}


def benchmark(model: Model, rounds: int = ROUNDS, **kwargs) -> pd.DataFrame:
    """Export to each format, check parity, validate if `data` is given, time all in turn, and return the table.

    It is also written as CSV and Markdown into a new run folder, with the files.

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
    assert isinstance(imgsz, list)
    if args.data and imgsz[0] != imgsz[1]:
        raise ConfigError(f"Validation needs square images, not {imgsz}: give imgsz=SIDE, or leave data= out.")
    device = select_device(args.device, verbose=False)
    folder = run_folder(args).make()
    x = exporter.image_batch(model.model, imgsz, int(args.batch)).to(device)
    before = torch.get_num_threads()
    with torch_threads(args.threads or before, before):
        file = str(model.ckpt_path or "")
        first = Row("PyTorch", file, file_size(file) if file else None, run=eager(model.model, x))
        rows = [first, *(_exported(model, form, x, folder, args) for form in formats)]
        _time(rows, rounds, device)
    if args.data:
        _validate(rows[0], model, imgsz, args)
        for row in (row for row in rows[1:] if row.file):
            _validate(row, type(model)(row.file, task=model.task), imgsz, args)
    place = f"CPU ({get_cpu_info()}), {args.threads} threads" if device.type == "cpu" else str(device)
    title = f"{Path(str(args.model)).name}, {imgsz[1]} x {imgsz[0]} pixels, batch {args.batch}, {place}"
    text = f"{title}; {rounds} rounds, all in turn\n\n{table(rows, TASKS[model.task].metric)}"
    figures = [{key: getattr(row, key) for key in COLUMNS} for row in rows]
    for name, content in (("benchmark.csv", csv_text(figures)), ("benchmark.md", f"{text}\n")):
        with atomic_write(folder / name, "w", newline="", encoding="utf-8") as f:
            f.write(content)
    LOGGER.info(f"\n{text}\nWrote benchmark.csv and benchmark.md into '{folder}'.")
    return pd.DataFrame(figures)


def _formats(wanted: str | Sequence[str] | None) -> list[Format]:
    """Return the requested formats, or all."""
    if not wanted:
        return list(FORMATS.values())
    names = wanted.split(",") if isinstance(wanted, str) else wanted
    return [format_named(name.strip()) for name in names]


def _exported(model: Model, form: Format, x: torch.Tensor, folder: Path, args: IterableSimpleNamespace) -> Row:
    """Export to one format; what prevents it becomes the note."""
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
    """Fill in the latencies of the rows that can run."""
    ready = [(row, row.run) for row in rows if row.run]
    times = run_in_turn([run for _, run in ready], rounds, device)
    first = float(np.median(times[0]))
    for (row, _), seconds in zip(ready, times):
        row.median_ms, row.p90_ms = (float(np.percentile(seconds, q)) * 1e3 for q in (50, 90))
        row.ratio = float(np.median(seconds)) / first
        row.run = None


def _validate(row: Row, model: Model, imgsz: list[int], args: IterableSimpleNamespace) -> None:
    """Fill in the metric, measured on the same square images for all formats."""
    more = {} if args.batch == 1 else {"batch": args.batch}
    found = model.val(
        data=args.data, imgsz=imgsz[0], device=args.device, threads=args.threads, rect=False, plots=False,
        verbose=False, split=args.split, workers=args.workers, project=args.project, name=args.name, **more,
    )  # fmt: skip
    row.metric = float(found.results_dict[TASKS[model.task].metric])


def table(rows: Sequence[Row], metric: str) -> str:
    """Return the rows as a Markdown table."""
    found = [[title if title != "metric" else metric for title, _ in SHOWN.values()]]
    for row in rows:
        values = [(getattr(row, key), form) for key, (_, form) in SHOWN.items()]
        found.append(["" if value is None else format(value, form).replace("|", "/") for value, form in values])
    return markdown(found)
