"""Latency of all compared models, measured in turn in one go, and kept until models or circumstances change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ultralytics import __build__
from ultralytics.lab.compare.plan import Cell, file_hash, read_json, write_json
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import installed_version
from ultralytics.utils.system.threads import get_cpu_info

RUNTIMES = {"eager": "PyTorch eager", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


def latencies(
    cells: Mapping[str, Cell], imgsz: int, runtimes: Sequence[str], threads: int, file: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each model and runtime, and sentences on how and what was measured.

    Args:
        cells: a finished cell by model, whose weights are taken.
        imgsz: side of the image in pixels.
        runtimes: of RUNTIMES; none measures nothing.
        threads: threads of each runtime.
        file: JSON file in which the figures are kept.
    """
    if not runtimes or not cells:
        return [], ["Latency was not measured." if cells else "No model was trained, so there is no latency."]
    from ultralytics.lab.latency import available_runtimes

    key = {
        "installed": {r: installed_version(r) for r in runtimes if r in available_runtimes()},
        "torch": torch.__version__, "package": __build__,  # which rewrites the graphs that it exports
        "models": {label: file_hash(cell.best) for label, cell in cells.items()},
        "imgsz": imgsz, "runtimes": list(runtimes), "threads": threads, "cpu": get_cpu_info(),
    }  # fmt: skip
    kept = read_json(file, rows=list) or {}
    if kept.get("key") != key:
        try:
            kept = {"key": key, "rows": _measure(cells, imgsz, runtimes, threads)}
        except Exception as e:  # hours of training are not to be lost for it
            LOGGER.warning(f"Latency could not be measured: {e}")
            return [], [f"Latency could not be measured ({type(e).__name__}: {e})."]
        write_json(file, kept)
    return kept["rows"], notes_on(kept["rows"], imgsz, runtimes, key["cpu"])


def _measure(cells: Mapping[str, Cell], imgsz: int, runtimes: Sequence[str], threads: int) -> list[dict[str, Any]]:
    """Measure all models in turn."""
    from ultralytics.lab.latency import measure
    from ultralytics.nn.tasks import attempt_load_weights, trust_modules

    LOGGER.info(f"Measuring the latency of {len(cells)} models in turn...")
    for cell in cells.values():
        trust_modules(cell.model if cell.train else cell.best, cell.settings.get("trust_modules", False))
    models = {label: attempt_load_weights(str(cell.best)) for label, cell in cells.items()}
    found = measure(models, imgsz=imgsz, runtimes=tuple(runtimes), threads=threads)
    names = ("model", "runtime", "median_ms", "p90_ms", "threads", "device", "rounds")
    return [{name: getattr(row, name) for name in names} for row in found]


def notes_on(rows: Sequence[Mapping[str, Any]], imgsz: int, runtimes: Sequence[str], cpu: str) -> list[str]:
    """Return sentences on how latency was measured and which runtime is not there."""
    if not rows:
        return ["Latency was asked for, but no runtime of those asked for is installed."]
    row, seen = rows[0], {r["runtime"] for r in rows}
    on = cpu if str(row["device"]) == "cpu" else row["device"]
    said = [
        f"Latency: milliseconds an image of {imgsz} x {imgsz} pixels, batch 1, {row['threads']} "
        f"thread{'s' * (row['threads'] != 1)}, {on}; median (and 90th percentile) of {row['rounds']} rounds in which "
        "the models took turns; without reading the image and without NMS."
    ]
    missing = [r for r in runtimes if r not in seen]
    only = " Only eager PyTorch was measured, which says little about deployed models." if seen == {"eager"} else ""
    said += [
        f"{RUNTIMES[r]} was not measured: it failed, or is not installed here (pip install onnx onnxscript onnxruntime "
        "openvino)."
        for r in missing
    ]
    return [*said[:-1], said[-1] + only]
