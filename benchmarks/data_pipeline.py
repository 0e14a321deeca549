"""Measure how fast training samples are made: mosaic, perspective, colors, flips and formatting at 640 pixels.

`python benchmarks/data_pipeline.py [--peer PYTHON] [--stages] [--workers 4] [--data DATA.yaml] [--rounds 3]` prints
samples a second and core, of images that are decoded already, and processor milliseconds a sample of `--workers` loader
processes with batches of 16: in the first epoch and in the third. With `--peer`, an interpreter that has another
ultralytics, both take their turn in each round, and ratios are printed. All times are of the processor, so that other
processes disturb them less; figures are medians of the rounds. `--stages` prints where a sample's time goes here.

The images are 256 drawn ones, or those of the data YAML.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from in_turn import compare, measure, write

IMAGES, BATCH = 256, 16


# What is measured, by the public API of 8.3.0 alone -------------------------------------------------------------------


def dataset(data: str):
    """Build the training set as a trainer does, for one thread in this process."""
    import cv2
    import torch

    from ultralytics.cfg import get_cfg
    from ultralytics.data import build_yolo_dataset
    from ultralytics.data.utils import check_det_dataset

    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    description = check_det_dataset(data)
    settings = get_cfg(overrides={"imgsz": 640, "task": "detect"})
    return build_yolo_dataset(settings, description["train"], BATCH, description, mode="train", stride=32)


def samples(work: dict) -> dict[str, float]:
    """Samples a second of one process, which has loaded all images before if they are not too many."""
    made = dataset(work["data"])
    rates = []
    for _ in range(4):
        start = time.process_time()
        for i in range(len(made)):
            made[i]
        rates.append(len(made) / (time.process_time() - start))
    return {"samples a second and core": statistics.median(rates[1:])}


def loader(work: dict) -> dict[str, float]:
    """Processor time of the loader processes, by epoch."""
    from ultralytics.data import build_dataloader

    workers = work["workers"]
    if hasattr(os, "sched_getaffinity"):  # the processes may take turns on fewer cores; their time is what counts
        os.sched_getaffinity = lambda _: set(range(workers))
    os.cpu_count = lambda: workers
    made = dataset(work["data"])
    batches, taken = build_dataloader(made, BATCH, workers, True), []
    for _ in range(3):
        before = busy()
        for _batch in batches:
            pass
        taken.append(1e3 * (busy() - before) / len(made))
    return {f"ms a sample, {workers} processes, epoch 1": taken[0], "the same, epoch 3": taken[2]}


def busy() -> float:
    """Return the seconds of processor time of this process's children (Linux)."""
    stats = (Path(f"/proc/{child.pid}/stat").read_text() for child in multiprocessing.active_children())
    return sum(int(t) for s in stats for t in s.rpartition(")")[2].split()[11:13]) / os.sysconf("SC_CLK_TCK")


def stages(work: dict) -> dict[str, float]:
    """Return milliseconds a sample by stage, each without those within it."""
    from ultralytics.data import augment, base, image_cache, image_files

    spent: Counter[str] = Counter()
    inner: list[float] = [0.0]

    def timed(owner: object, name: str, stage: str) -> None:
        function = getattr(owner, name)

        def run(*args: object, **options: object) -> object:
            start = time.process_time()
            inner.append(0.0)
            try:
                return function(*args, **options)
            finally:
                taken = time.process_time() - start
                spent[stage] += taken - inner.pop()
                inner[-1] += taken

        setattr(owner, name, staticmethod(run) if isinstance(vars(owner).get(name), staticmethod) else run)

    timed(image_files.cv2, "imdecode", "decoding")
    timed(image_cache.ImageCache, "_load", "reading and checking the file")
    timed(base.BaseDataset, "get_image_and_label", "labels of four images")
    timed(augment.Mosaic, "__call__", "mosaic: layout and labels")
    timed(augment, "scale", "mosaic and perspective: pixels")
    timed(augment.RandomPerspective, "__call__", "perspective: matrix and labels")
    timed(augment.RandomHSV, "__call__", "colors")
    timed(augment.RandomFlip, "__call__", "flips")
    timed(augment.Format, "__call__", "tensors")
    timed(base.BaseDataset, "collate_fn", "batch of 16")
    made = dataset(work["data"])
    for i in range(len(made)):
        made[i]
    loading = {name: spent.pop(name) / len(made) for name in ("decoding", "reading and checking the file")}
    spent.clear()
    start = time.process_time()
    for i in range(0, len(made), BATCH):
        made.collate_fn([made[j] for j in range(i, min(i + BATCH, len(made)))])
    whole = time.process_time() - start
    named = {name: seconds / len(made) for name, seconds in spent.items()}
    named["all else"] = whole / len(made) - sum(named.values())
    return {name: 1e3 * seconds for name, seconds in {**loading, **named}.items()}


FIGURES: dict[str, Callable[[dict], dict[str, float]]] = {f.__name__: f for f in (samples, loader, stages)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python that imports the other package")
    parser.add_argument("--data", help="a data YAML instead of drawn images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4, help="loader processes; 0 leaves them out")
    parser.add_argument("--stages", action="store_true")
    args = parser.parse_args()
    from growth import draw, link
    from machine import machine

    from ultralytics.utils.system.console import say

    say(machine())
    with tempfile.TemporaryDirectory() as name:
        data, folder = args.data, Path(name)
        if data is None:
            (folder / "drawn").mkdir()
            images, data = link(folder / "set", draw(folder / "drawn"), IMAGES), str(folder / "data.yaml")
            names = [str(i) for i in range(80)]
            content = {"path": str(images), "train": "images/train", "val": "images/train", "names": names}
            Path(data).write_text(json.dumps(content), encoding="utf-8")
        work = {"data": str(Path(data).resolve()), "workers": args.workers}

        def of(python: str, figure: str) -> dict[str, float]:
            return measure(python, __file__, figure, work, OMP_NUM_THREADS="1")

        compare(("samples", "loader") if args.workers else ["samples"], of, args.peer, args.rounds)
        if args.stages:
            say("\nms a sample, here; decoding and reading happen once an image")
            for stage, ms in of(sys.executable, "stages").items():
                say(f"{stage:38}{ms:10.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        write(FIGURES[sys.argv[2]], json.loads(sys.argv[3]))
    else:
        main()
