"""What `gpu.py function` tries, one line each: OK or FAILED, its seconds, and what was found or went wrong.

`python function.py JSON NAME ...` runs checks in this process. Each check is a function that returns what it found, and
raises where something is wrong.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the package of this clone, installed or not

CHECKS: dict[str, Callable[[dict], str]] = {}
MOST_MEMORY = 4 * 2**30  # bytes that the process may have whose memory is to run out


class Wrong(Exception):
    """Says what a check found instead of what it should."""


def check(name: str) -> Callable:
    """Add a check under a name (decorator)."""

    def add(function: Callable[[dict], str]) -> Callable[[dict], str]:
        CHECKS[name] = function
        return function

    return add


def must(condition: object, said: str) -> None:
    """Raise Wrong, with what was found, unless a condition is met."""
    if not condition:
        raise Wrong(said)


def settings(job: dict, task: str = "detect", **more: Any) -> dict[str, Any]:
    """Return the settings of a training of one epoch."""
    base = {"model": job["models"][task], "data": job["data"][task], "imgsz": job["imgsz"], "device": job["device"]}
    fixed = {"epochs": 1, "batch": job["batch"], "workers": job["workers"], "plots": False, "verbose": False}
    fixed |= {"compile": "auto", "exist_ok": True}
    return {**base, **fixed, "project": str(Path(job["folder"]) / "runs"), **more}


def trained(job: dict, task: str = "detect", events: dict | None = None, **more: Any) -> Any:
    """Train and return the trainer."""
    from ultralytics.cfg.tasks import TASKS, load

    trainer = load(TASKS[task].trainer)(overrides=settings(job, task, **more))
    for event, function in (events or {}).items():
        trainer.add_callback(event, function)
    trainer.train()
    return trainer


def logged() -> list[str]:
    """Return a list that gets all lines logged from now on."""
    import logging

    from ultralytics.utils import LOGGER

    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    LOGGER.addHandler(handler)
    return lines


def rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of results.csv, whose columns are padded with spaces."""
    with open(file) as f:
        return [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(f)]


def started(job: dict, *words: str) -> subprocess.Popen:
    """Start `yolo train` in a process of its own."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ultralytics.cfg import entrypoint; entrypoint()"
    log = open(Path(job["folder"]) / f"log{time.time_ns()}.txt", "w")  # noqa: SIM115  the process writes it
    return subprocess.Popen([sys.executable, "-c", code, "train", *words], stdout=log, stderr=subprocess.STDOUT)


def as_words(given: dict[str, Any]) -> list[str]:
    return [f"{k}={v}" for k, v in given.items()]


# Tasks ----------------------------------------------------------------------------------------------------------------


def _task(task: str) -> Callable[[dict], str]:
    def run(job: dict) -> str:
        trainer = trained(job, task, name=task)
        must(trainer.best.exists() and trainer.csv.exists(), "no best.pt or results.csv")
        row = rows(trainer.csv)[-1]
        loss = sum(float(v) for k, v in row.items() if k.startswith("train/"))
        must(loss == loss and loss > 0, f"its loss is {loss}")
        fast = type(trainer.model).__name__
        return f"{fast}, loss {loss:.3f}, batch {trainer.batch_size}"

    return run


for _name in ("detect", "segment", "pose", "obb", "classify"):
    CHECKS[f"task {_name}"] = _task(_name)


# The step -------------------------------------------------------------------------------------------------------------


@check("graphs give the losses of the network")
def graphs(job: dict) -> str:
    """Train 12 batches both ways; in the second, most of them go through the graphs."""
    import torch

    found: dict[object, list] = {}
    used: list[bool] = []
    lines = logged()
    for how in (False, "auto"):
        losses: list = []
        found[how] = losses

        def keep(trainer: Any, losses: list = losses) -> None:
            losses.append(trainer.loss_items.detach().clone())
            used.append(trainer.learner.runner.fast is not None)

        trained(job, name=f"compile-{how}", compile=how, epochs=3, val=False, events={"on_train_batch_end": keep})
    a, b = (torch.stack(x).float().cpu() for x in found.values())
    off = ((a - b).abs() / a.abs().clamp(min=1e-3)).max(1).values
    fallen = [line for line in lines if "CUDA graphs" in line]
    must(job["device"] == "cpu" or any(used), f"no graph was used. {' '.join(fallen)}")
    must(off[:4].max() < 1e-3 and off.max() < 0.05, f"losses differ, by batch: {[round(float(x), 5) for x in off]}")
    return f"{sum(used)} of {len(b)} batches by graphs, losses differ by {off.max():.2e} at most"


@check("compile=True")
def compiled(job: dict) -> str:
    lines = logged()
    trainer = trained(job, name="compiled", compile=True, epochs=3, val=False)
    fallen = [line for line in lines if "torch.compile cannot" in line]
    names = trainer.model.state_dict().keys()
    must(not any("_orig_mod" in n for n in names), "the state dict has traces of it")
    return f"not possible here, fell back: {fallen[0][:150]}" if fallen else "compiled"


@check("a batch of NaN is undone")
def nan(job: dict) -> str:
    import torch

    def strike(trainer: Any) -> None:
        conv = trainer.model.model[3]
        hook = getattr(trainer, "strike", None)
        if hook:
            hook.remove()
        trainer.strike = None
        if trainer.iteration + 1 == 2:
            trainer.strike = conv.register_forward_hook(lambda m, x, y: y * torch.nan)

    lines = logged()
    trainer = trained(job, name="nan", epochs=2, val=False, events={"on_train_batch_start": strike})
    said = [line for line in lines if "The loss is nan" in line]
    must(len(said) == 1 and "brought back" in said[0], f"said: {said}")
    bad = [k for k, v in trainer.model.state_dict().items() if v.is_floating_point() and not torch.isfinite(v).all()]
    must(not bad, f"not finite: {bad[:3]}")
    return said[0][:90]


@check("frozen layers, multi_scale, a small last batch")
def odd(job: dict) -> str:
    trained(job, name="frozen", freeze=10, epochs=3, val=False, batch=job["batch"] - 1)
    trained(job, name="scales", multi_scale=True, val=False)
    return "trained"


@check("teacher")
def teacher(job: dict) -> str:
    best = trained(job, name="teacher", val=False, epochs=1).last
    trainer = trained(job, name="student", teacher=str(best))
    names = [*rows(trainer.csv)[-1]]
    must(any("kd_" in n for n in names), f"no lessons among {names}")
    return ", ".join(n for n in names if "kd_" in n)


# Memory ---------------------------------------------------------------------------------------------------------------


@check("batch=-1")
def auto_batch(job: dict) -> str:
    trainer = trained(job, name="auto", batch=-1, val=False)
    must(trainer.batch_size > 1, f"it chose {trainer.batch_size}")
    return f"it chose {trainer.batch_size}"


@check("batch=0.7")
def share_batch(job: dict) -> str:
    import torch

    trainer = trained(job, name="share", batch=0.7, val=False)
    if job["device"] == "cpu":
        return f"it chose {trainer.batch_size}"
    peak = torch.cuda.max_memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    return f"it chose {trainer.batch_size}; the images that there are filled {peak:.0%} of the memory"


@check("out of memory")
def out_of_memory(job: dict) -> str:
    import torch

    if job["device"] == "cpu":
        return "needs a GPU"
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(MOST_MEMORY / total, 1.0))
    lines = logged()
    trainer = trained(job, name="memory", batch=32, val=False, epochs=2)
    said = [line for line in lines if "does not fit" in line]
    must(trainer.progress.halved and said, f"batch {trainer.batch_size} fitted into 4 GB")
    return said[0]


# Runs -----------------------------------------------------------------------------------------------------------------


@check("kill and resume")
def kill_and_resume(job: dict) -> str:
    folder = Path(job["folder"]) / "runs" / "killed"
    run = started(job, *as_words(settings(job, name="killed", epochs=40, val=False, autosave=0.01)))
    patience = 600 if job["device"] == "cpu" else 60
    end = time.time() + patience
    while time.time() < end and run.poll() is None and not _has_rows(folder / "results.csv", 1):
        time.sleep(0.2)
    must(run.poll() is None, f"the run ended by itself with {run.returncode} before it could be killed")
    run.send_signal(signal.SIGKILL)
    run.wait()
    must(_has_rows(folder / "results.csv", 1), f"no epoch ended within {patience} s")
    done = len(rows(folder / "results.csv"))
    again = started(job, "resume", f"model={folder / 'weights' / 'last.pt'}", f"epochs={done + 2}")
    must(again.wait(patience + 30) == 0, "it could not be resumed")
    found = [int(r["epoch"]) for r in rows(folder / "results.csv")]
    must(found == list(range(1, done + 3)), f"results.csv has the epochs {found}")
    return f"killed after {done} epochs, ended after {found[-1]}"


def _has_rows(file: Path, count: int) -> bool:
    return file.exists() and len(rows(file)) >= count


@check("two runs at once")
def two_runs(job: dict) -> str:
    given = {**settings(job, name="twin", val=False), "exist_ok": False}
    runs = [started(job, *as_words(given)) for _ in range(2)]
    patience = 600 if job["device"] == "cpu" else 110
    ended = [run.wait(patience) for run in runs]
    must(ended == [0, 0], f"they ended with {ended}")
    folders = sorted(f.name for f in (Path(job["folder"]) / "runs").glob("twin*") if (f / "weights/best.pt").exists())
    must(len(folders) == 2, f"weights are in {folders}")
    return f"in {', '.join(folders)}"


@check("compare")
def compare(job: dict) -> str:
    from ultralytics.lab.compare import compare

    given = settings(job, val=True)
    for key in ("model", "exist_ok", "verbose"):
        del given[key]
    if given["device"] != "cpu":
        given["device"] = str(given["device"])
    found = compare([job["models"]["detect"], job["models"]["other"]], seeds=1, runtimes=(), **given)
    failures = [text for row in found.rows for text in row.failures.values()]
    must(not failures, " ".join(failures))
    return f"{len(found.rows)} models"


# Prediction -----------------------------------------------------------------------------------------------------------


@check("prediction by graphs gives the boxes of the network")
def predict(job: dict) -> str:
    import numpy as np
    import torch

    from ultralytics import YOLO

    image = np.random.default_rng(0).integers(0, 255, (job["imgsz"], job["imgsz"], 3), dtype=np.uint8)
    given = {"device": job["device"], "imgsz": job["imgsz"], "conf": 0.0, "max_det": 20, "verbose": False}
    said = []
    for half in (False, True):
        plain, fast = (YOLO(job["models"]["detect"]) for _ in range(2))
        fast.model.load_state_dict(plain.model.state_dict())
        want = plain.predict(image, half=half, compile=False, **given)[0].boxes.data
        for _ in range(6):
            found = fast.predict(image, half=half, compile="auto", **given)[0].boxes.data
        made = len(getattr(fast.predictor.model.backend.run, "made", ()))
        must(job["device"] == "cpu" or made == 1, f"{made} graphs were made")
        scores = float((want[:, 4] - found[:, 4]).abs().max())
        must(scores < (0.01 if half else 1e-3), f"scores differ by {scores}")
        said.append(f"{'fp16' if half else 'fp32'} scores differ by {scores:.1e}, {made} graph")
    torch.cuda.empty_cache()
    return "; ".join(said)


@check("track")
def track(job: dict) -> str:
    import cv2

    from ultralytics import YOLO

    video = str(Path(job["folder"]) / "video.avi")
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 320))
    image = cv2.imread(next(str(f) for f in (Path(job["fires"]) / "images").glob("*.jpg")))
    for i in range(10):
        writer.write(cv2.resize(image, (320 + i * 4, 320 + i * 4))[:320, :320])
    writer.release()
    model = YOLO(job["models"]["detect"])
    results = model.track(video, device=job["device"], imgsz=job["imgsz"], conf=0.0, max_det=5, verbose=False)
    must(len(results) == 10, f"{len(results)} frames")
    return f"{len(results)} frames, {sum(r.boxes.id is not None for r in results)} of them with tracks"


@check("export with half")
def export(job: dict) -> str:
    import numpy as np

    from ultralytics import YOLO

    said = []
    for form in ("torchscript", "onnx"):
        try:
            file = YOLO(job["models"]["detect"]).export(
                format=form, half=job["device"] != "cpu", device=job["device"], imgsz=job["imgsz"]
            )
        except Exception as e:
            must(form == "onnx" and "onnx" in str(e).lower(), f"{form}: {e}")
            said.append("onnx is not installed")
            continue
        image = np.zeros((job["imgsz"], job["imgsz"], 3), np.uint8)
        YOLO(file, task="detect").predict(image, imgsz=job["imgsz"], device=job["device"], verbose=False)
        said.append(f"{form} {Path(file).stat().st_size / 2**20:.1f} MB")
    return ", ".join(said)


def main() -> None:
    """Run the checks that are named; a line begins with BEGIN, OK or FAILED."""
    job = json.loads(sys.argv[1])
    os.chdir(job["folder"])
    for name in sys.argv[2:]:
        print(f"BEGIN\t{name}", flush=True)
        start = time.perf_counter()
        try:
            found, word = CHECKS[name](job), "OK"
        except BaseException as e:  # whatever it is, the next check is tried
            found, word = f"{type(e).__name__}: {e}", "FAILED"
        text = " ".join(str(found).split())[:300]
        print(f"{word}\t{name}\t{time.perf_counter() - start:.1f}\t{text}", flush=True)


if __name__ == "__main__":
    main()
