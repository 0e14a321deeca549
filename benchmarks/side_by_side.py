"""Compare this package with another `ultralytics` of the same API, both on the same work, in turn.

`python benchmarks/side_by_side.py --peer PYTHON [--only train predict ...] [--rounds 3] [--device cpu]` prints the
figures of this clone and of the package that PYTHON imports, and how many times faster this clone is. Without `--peer`
it prints this clone's alone. Each figure is the median of the rounds, in each of which both packages take their turn in
a process of their own. The images are drawn: 48 of the fire set, or those of `--data DATA.yaml`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from in_turn import ROOT, compare, environment, measure, write

# What is measured, by the public API of 8.3.0 alone -------------------------------------------------------------------


def start(work: dict) -> dict[str, float]:
    """Importing the package, and naming YOLO."""
    lines = {"import ultralytics, s": "import ultralytics", "import YOLO, s": "from ultralytics import YOLO"}
    return {
        name: median_of(lambda line=line: subprocess.run([sys.executable, "-c", line])) for name, line in lines.items()
    }


def train(work: dict) -> dict[str, float]:
    """Epochs but the first: loading, forward, backward and step; a step by itself; and the first batch of a run."""
    begin = time.perf_counter()
    from ultralytics import YOLO

    seen: dict[str, list[float]] = {}
    model = YOLO(work["model"])
    for event in ("train_epoch_start", "train_epoch_end", "train_batch_start", "train_batch_end"):
        model.add_callback(f"on_{event}", lambda _, event=event: seen.setdefault(event, []).append(time.perf_counter()))
    images: list[int] = []
    model.add_callback("on_train_start", lambda trainer: images.append(len(trainer.train_loader.dataset)))
    short = {"epochs": 3, "val": False, "plots": False, "save": False, "close_mosaic": 0, "verbose": False}
    model.train(data=work["data"], optimizer="SGD", project=work["out"], **settings_of(work), **short)
    epochs = [e - s for s, e in zip(seen["train_epoch_start"], seen["train_epoch_end"])][1:]
    steps = [e - s for s, e in zip(seen["train_batch_start"], seen["train_batch_end"])]
    return {
        "train, ms an image": 1e3 * statistics.median(epochs) / images[0],
        "step, ms an image": 1e3 * statistics.median(steps[len(steps) // 3 :]) / work["batch"],
        "first batch, s": seen["train_batch_end"][0] - begin,
    }


def predict(work: dict) -> dict[str, float]:
    """One image of 1080 x 810 at 640 pixels through `model.predict`."""
    import numpy as np

    from ultralytics import YOLO

    image = np.random.default_rng(0).integers(0, 255, (1080, 810, 3), dtype=np.uint8)
    model = YOLO(work["model"])
    run = lambda: model.predict(image, imgsz=640, device=work["device"], verbose=False)  # noqa: E731
    return {"predict, ms": 1e3 * median_of(run, warm_up=5, times=20)}


def val(work: dict) -> dict[str, float]:
    """A whole validation of a loaded model, on the validation images."""
    from ultralytics import YOLO

    model = YOLO(work["model"])
    given = {"data": work["data"], "project": work["out"], **settings_of(work)}
    return {"val, s": median_of(lambda: model.val(plots=False, verbose=False, **given), warm_up=1, times=2)}


def settings_of(work: dict) -> dict:
    """Return the settings that training and validation share."""
    return {key: work[key] for key in ("imgsz", "batch", "workers", "device")}


FIGURES: dict[str, Callable[[dict], dict[str, float]]] = {f.__name__: f for f in (start, train, predict, val)}


def median_of(run: Callable[[], object], warm_up: int = 1, times: int = 5) -> float:
    """Return the median seconds of calls, after some that are not counted."""
    seconds = []
    for _ in range(warm_up + times):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[warm_up:])


def draw_images(folder: Path) -> str:
    """Draw 48 images to train on and 24 to validate on; return the data YAML."""
    script = [sys.executable, str(ROOT / "tools" / "generate_fire.py"), "--out", str(folder)]
    size = ["--train", "48", "--val", "24"]
    subprocess.run([*script, *size], check=True, stdout=subprocess.DEVNULL, env=environment(sys.executable))
    data = folder / "data.yaml"
    content = {"path": str(folder), "train": "train/images", "val": "val/images", "names": {0: "fire"}}
    data.write_text(json.dumps(content), encoding="utf-8")
    return str(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that imports the other package")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=[*FIGURES])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", help="a data YAML instead of drawn images")
    parser.add_argument("--model", default="yolo11n.yaml")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    from machine import machine

    from ultralytics.utils.system.console import say

    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        args.data = str(Path(args.data).resolve()) if args.data else draw_images(Path(folder))
        compare(args.only, lambda python, name: measure(python, __file__, name, vars(args)), args.peer, args.rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        write(FIGURES[sys.argv[2]], json.loads(sys.argv[3]))
    else:
        main()
