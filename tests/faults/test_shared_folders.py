"""Runs that start at once: each has a run folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import FAST, tiny_model

from ultralytics import YOLO

AT_ONCE = 4
JOB = """
import sys, time
from pathlib import Path
from ultralytics import YOLO
from ultralytics.lab.compare.command import compare

mode, data, ready, start, said = sys.argv[1:]
fast = dict(imgsz=32, batch=4, workers=0, device="cpu", plots=False, verbose=False, project="runs", name="x")
model = YOLO("tiny.yaml" if mode == "train" else "m.pt")
Path(ready).touch()
while not Path(start).exists():
    time.sleep(0.001)
if mode == "train":
    model.train(data=data, epochs=1, **fast)
    folder = model.trainer.save_dir
elif mode == "val":
    folder = model.val(data=data, **{**fast, "save_json": True, "conf": 0.0, "max_det": 5}).save_dir
elif mode == "predict":
    folder = model.predict(Path(data).parent / "images" / "val", save=True, **fast)[0].save_dir
else:
    fast = {k: v for k, v in fast.items() if k not in ("device", "verbose")}
    compare(["tiny.yaml"], seeds=1, runtimes=(), data=data, epochs=1, device="cpu", **fast)
    folder = ""
Path(said).write_text(str(folder))
"""


def start_at_once(mode: str, data: Path, trial: int) -> list[str]:
    """Start a job four times, let all begin in the same moment, and return the folders that they name."""
    start, files = Path(f"start{trial}"), [Path(f"{mode}{trial}-{k}") for k in range(AT_ONCE)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command, errors = [sys.executable, "-c", JOB, mode, str(data)], {"stderr": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen([*command, f"{f}.ready", str(start), str(f)], env=environment, **errors) for f in files]
    while not all(Path(f"{f}.ready").exists() or job.poll() is not None for f, job in zip(files, jobs)):
        time.sleep(0.05)
    start.touch()
    said = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * AT_ONCE, said
    return [f.read_text() for f in files]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "proof"),
    [
        ("train", "weights/last.pt"),
        ("val", "predictions.json"),
        ("predict", "val_0.jpg"),
        ("compare", "cells/tiny/seed0/result.json"),
    ],
)
def test_runs_that_start_at_once_have_folders_of_their_own(work_dir: Path, tiny_data_copy: Path, mode: str, proof: str):
    """`TRIALS=20` in the environment repeats it as often."""
    YOLO(tiny_model(work_dir)).save("m.pt")
    YOLO("m.pt").val(data=str(tiny_data_copy), **FAST)  # writes the caches
    trials = int(os.getenv("TRIALS", "2"))
    for trial in range(trials):
        said = start_at_once(mode, tiny_data_copy, trial)
        assert mode == "compare" or len({*said}) == AT_ONCE, said
    folders = sorted(Path("runs").iterdir(), key=lambda f: int(f.name[1:] or 1))
    # a comparison goes on in the first folder that nobody works in, so that later trials meet finished ones
    least = trials * AT_ONCE if mode != "compare" else trials * (AT_ONCE - 1) + 1
    assert len(folders) == least and all((folder / proof).is_file() for folder in folders)
