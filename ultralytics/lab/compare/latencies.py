"""Latency of all compared models, measured in turn in one session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ultralytics.lab.compare.cell import Cell
from ultralytics.lab.latency import RUNTIMES, Latency, measure
from ultralytics.nn.tasks import attempt_load_weights
from ultralytics.utils import LOGGER
from ultralytics.utils.system.threads import get_cpu_info


def latencies(
    cells: Mapping[str, Cell], imgsz: int, runtimes: Sequence[str], threads: int
) -> tuple[list[Latency], list[str]]:
    """Return a row for each model and runtime, and sentences on how and what was measured.

    Args:
        cells: a finished cell by model, whose weights are taken.
        imgsz: side of the image in pixels.
        runtimes: of RUNTIMES; none measures nothing.
        threads: threads of each runtime.
    """
    if not runtimes or not cells:
        return [], ["Latency was not measured." if cells else "No model was trained, so there is no latency."]
    LOGGER.info(f"Measuring the latency of {len(cells)} models in turn...")
    try:
        models = {
            label: attempt_load_weights(cell.best, trusted=cell.settings.get("trust_modules", False))
            for label, cell in cells.items()
        }
        rows = measure(models, imgsz=imgsz, runtimes=tuple(runtimes), threads=threads)
    except Exception as e:  # hours of training are not to be lost for it
        LOGGER.warning(f"Latency could not be measured: {e}")
        return [], [f"Latency could not be measured ({type(e).__name__}: {e})."]
    return rows, notes_on(rows, imgsz, runtimes)


def notes_on(rows: Sequence[Latency], imgsz: int, runtimes: Sequence[str]) -> list[str]:
    """Return sentences on how latency was measured and which runtimes are missing."""
    if not rows:
        return ["Latency was requested, but no model could be run in any of these runtimes."]
    row, seen = rows[0], {r.runtime for r in rows}
    on = get_cpu_info() if row.device == "cpu" else row.device
    only = " Only eager PyTorch was measured, which says little about deployed models." if seen == {"eager"} else ""
    return [
        f"Latency: milliseconds an image of {imgsz} x {imgsz} pixels, batch 1, {row.threads} "
        f"thread{'s' * (row.threads != 1)}, {on}; median (and 90th percentile) of {row.rounds} rounds in which "
        f"the models took turns; without reading the image and without NMS.{only}",
        *(
            f"{RUNTIMES[r]} was not measured: it failed, or is not installed here (pip install onnx onnxscript "
            "onnxruntime openvino)."
            for r in runtimes
            if r not in seen
        ),
    ]
