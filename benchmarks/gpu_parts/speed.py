"""What `gpu.py speed` measures, in a process of its own; it takes any `ultralytics` of the API of 8.3.0.

`python speed.py PART JSON` prints one line of JSON: milliseconds, images a second, and waits, by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
import warnings
from pathlib import Path


class Enough(Exception):
    """Ends a training once all is measured."""


class SameBatch:
    """Takes the place of a loader and gives one batch again and again, so that only the step is measured."""

    def __init__(self, loader, batch: dict):
        self.loader, self.batch = loader, batch

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        return iter([dict(self.batch) for _ in range(len(self))])

    def __getattr__(self, name: str):
        return getattr(self.loader, name)


def wait(device: str) -> None:
    """Wait for the GPU."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()


def train(job: dict, synthetic: bool, count_waits: bool = False, **settings) -> tuple[float, float]:
    """Return seconds of a batch, median of the epochs but the first ones, and waits for the GPU in it."""
    import torch

    from ultralytics.models.yolo.detect import DetectionTrainer

    starts, ends, waits, length = [], [], [], [1]
    epochs = settings.pop("epochs")

    def begin(trainer) -> None:
        if synthetic and not isinstance(trainer.train_loader, SameBatch):
            trainer.train_loader = SameBatch(trainer.train_loader, next(iter(trainer.train_loader)))
        length[0] = len(trainer.train_loader)

    def epoch_starts(trainer) -> None:
        if count_waits and len(starts) == epochs - 1:
            torch.cuda.set_sync_debug_mode("warn")
        wait(job["device"])
        starts.append(time.perf_counter())

    def epoch_ends(trainer) -> None:
        wait(job["device"])
        ends.append(time.perf_counter())
        if len(ends) == epochs:
            if count_waits:
                torch.cuda.set_sync_debug_mode("default")
            raise Enough

    base = {"model": "yolo11n.yaml", "data": job["data"], "imgsz": job["imgsz"], "device": job["device"]}
    fixed = {"val": False, "plots": False, "save": False, "verbose": False, "close_mosaic": 0, "epochs": epochs + 5}
    trainer = DetectionTrainer(
        overrides={**base, **fixed, "project": job["folder"], "workers": 2, **settings, **job["own"]}
    )
    for event, function in (
        ("on_train_start", begin), ("on_train_epoch_start", epoch_starts), ("on_train_epoch_end", epoch_ends)
    ):  # fmt: skip
        trainer.add_callback(event, function)

    def show(message, *args, **kwargs) -> None:
        if "synchronizing" in str(message):
            waits.append(1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        with contextlib.suppress(Enough):
            trainer.train()
    timed = [e - s for s, e in zip(starts, ends)][job["skip"] : epochs - count_waits] or [ends[0] - starts[0]]
    return statistics.median(timed) / length[0], len(waits) / length[0]


def step(job: dict) -> dict[str, float]:
    """Measure the step alone, on one batch that lies ready."""
    figures = {}
    for batch in job["batches"]:
        seconds, waits = train(job, True, job["device"] != "cpu", batch=batch, epochs=4)
        figures[f"step alone, batch {batch}, ms"] = seconds * 1e3
        if job["device"] != "cpu":
            figures[f"waits for the GPU in a step, batch {batch}"] = waits
    return figures


def whole(job: dict) -> dict[str, float]:
    """Measure whole trainings, images a second."""
    few, many = job["workers"]
    large, small = job["batches"]
    figures = {}
    for batch, workers, cache in ((large, few, False), (large, many, False), (large, few, "ram"), (small, few, False)):
        seconds, _ = train(job, False, batch=batch, workers=workers, cache=cache, epochs=4)
        name = f"whole training, batch {batch}, {workers} workers{', cache=ram' if cache else ''}, images/s"
        figures[name] = batch / seconds
    return figures


def predict(job: dict) -> dict[str, float]:
    """Measure prediction, milliseconds a call, and validation, seconds."""
    import numpy as np

    from ultralytics import YOLO

    image = np.random.default_rng(0).integers(0, 255, (job["imgsz"], job["imgsz"], 3), dtype=np.uint8)
    figures = {}
    for name, source, half in (
        ("predict fp32, ms", image, False), ("predict fp16, ms", image, True),
        ("predict 16 at once, ms", [image] * 16, False), ("predict 16 at once fp16, ms", [image] * 16, True),
    ):  # fmt: skip
        model, times = YOLO(job["weights"]), []
        rounds = job["rounds"] if source is image else max(job["rounds"] // 5, 3)
        for _ in range(rounds):
            start = time.perf_counter()
            model.predict(
                source, half=half, imgsz=job["imgsz"], device=job["device"], batch=16, verbose=False, **job["own"]
            )
            wait(job["device"])
            times.append(time.perf_counter() - start)
        figures[name] = statistics.median(times[rounds // 4 :]) * 1e3
    model = YOLO(job["weights"])
    for _ in range(2):  # labels are in the cache the second time
        start = time.perf_counter()
        model.val(data=job["data"], imgsz=job["imgsz"], device=job["device"], batch=16, plots=False, verbose=False)
        figures["validation of the images, s"] = time.perf_counter() - start
    return figures


def prepare(job: dict) -> None:
    """Make the weights that are predicted with; 8.3.0 also looks for a file to check mixed precision with."""
    from ultralytics import YOLO

    os.chdir(job["folder"])
    job["weights"] = str(Path(job["folder"]) / "random.pt")
    model = YOLO("yolo11n.yaml")
    model.ckpt = model.ckpt or {}  # 8.3.0 saves no new model otherwise
    model.save(job["weights"])
    model.save("yolo11n.pt")
    model.save("yolo26n.pt")


if __name__ == "__main__":
    job = json.loads(sys.argv[2])
    prepare(job)
    print("RESULT " + json.dumps({"step": step, "whole": whole, "predict": predict}[sys.argv[1]](job)), flush=True)
