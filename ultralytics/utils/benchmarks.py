"""The benchmark of exported formats under its names of 8.3.0; it lives some floors above, in `lab.benchmark`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
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


class ProfileModels:
    """Measures models side by side: parameters, GFLOPs, and the latency in ONNX Runtime and TensorRT.

    Args:
        paths: weight files or model YAMLs.
        num_timed_runs: of each model.
        num_warmup_runs, min_time: accepted for scripts written for 8.3.0, without effect: each timed run comes right
            after an untimed one, and the number of runs is that given.
        imgsz: side of the images in pixels.
        half: half precision in TensorRT.
        trt: measure TensorRT, too, on a GPU.
        device: to run on; None for the first GPU or else the CPU.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        num_timed_runs: int = 100,
        num_warmup_runs: int = 10,
        min_time: float = 60,
        imgsz: int = 640,
        half: bool = True,
        trt: bool = True,
        device: str | int | torch.device | None = None,
    ):
        self.paths, self.num_timed_runs, self.imgsz, self.half, self.trt = paths, num_timed_runs, imgsz, half, trt
        self.device = importlib.import_module("ultralytics.utils.torch_utils").select_device(device or "")

    def profile(self) -> list[dict[str, object]]:
        """Measure and log the models; return for each its figures under the names of 8.3.0, None where there is none.

        The keys are model/name, model/parameters, model/GFLOPs, model/speed_ONNX(ms) and model/speed_TensorRT(ms).
        """
        return [self._profile(str(path)) for path in self.paths]

    def _profile(self, path: str) -> dict[str, object]:
        model = importlib.import_module("ultralytics.models.yolo.model").YOLO(path)
        _, parameters, _, flops = model.info()
        speeds = {"onnx": None, "engine": None}
        for name in ("onnx", "engine") if self.trt and self.device.type == "cuda" else ("onnx",):
            table = model.benchmark(
                format=name, imgsz=self.imgsz, half=self.half and name == "engine", device=str(self.device),
                rounds=max(self.num_timed_runs // 2, 1),  # a round times each format twice
            )  # fmt: skip
            speeds[name] = table["median_ms"].iloc[-1]
        return {
            "model/name": Path(path).stem,
            "model/parameters": parameters,
            "model/GFLOPs": round(flops, 3),
            "model/speed_ONNX(ms)": speeds["onnx"],
            "model/speed_TensorRT(ms)": speeds["engine"],
        }
