"""The benchmark of exported formats under its name of 8.3.0; it lives some floors above, in `lab.benchmark`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics.utils.errors import ModelError

if TYPE_CHECKING:
    import torch
    from pandas import DataFrame


def benchmark(
    model="yolo11n.pt",
    data: str | None = None,
    imgsz: int = 160,
    half: bool = False,
    int8: bool = False,
    device: str | int | torch.device = "cpu",
    verbose: bool | float = False,
    **settings: object,
) -> DataFrame:
    """Export a model to each format, measure size, accuracy and latency, and return them as a table.

    Args:
        model: a YOLO, or its weight file or YAML.
        data: dataset to validate on; without it there is no metric.
        imgsz, half, int8, device: as in `yolo benchmark`.
        verbose: raise ModelError if a format failed or, given as a number, has a lower metric.
        settings: more of `yolo benchmark`.
    """
    if isinstance(model, (str, Path)):
        model = importlib.import_module("ultralytics.models.yolo.model").YOLO(model)
    table = model.benchmark(data=data, imgsz=imgsz, half=half, int8=int8, device=device, **settings)
    least = float(verbose) if not isinstance(verbose, bool) else None
    tried = table[~table["note"].str.startswith("pip install")]
    failed = tried[tried["median_ms"].isna()]
    if verbose and len(failed):
        raise ModelError(f"These formats failed: {'; '.join(failed['format'] + ': ' + failed['note'])}.")
    if least and (low := tried[tried["metric"].astype(float) < least]) is not None and len(low):
        raise ModelError(f"The metric of {', '.join(low['format'])} is below {least}.")
    return table
