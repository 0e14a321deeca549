"""Measure how the steps before and around a training grow with the number of images.

`python benchmarks/growth.py [1000 20000 200000] [--steps ...] [--images FOLDER] [--rounds 3] [--peer PYTHON]` prints
time and memory per image of each step for sets of so many images: hard links to a few, which are drawn, or those of a
folder `images/...` with its labels. A step whose figures per image grow with the number of images is worse than linear.
With `--peer`, an interpreter that has another ultralytics, both read the labels in turn, and ratios are printed.

Each step runs in a process of its own, after the same step on 16 images, so that imports are not counted. Memory is by
how much the peak of resident memory rises; `val` loads the first 1,000 images of the set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

from machine import machine

from ultralytics.data.image_files import list_images
from ultralytics.data.labels import img2label_paths
from ultralytics.utils.system.console import say

STEPS = {
    "read": "reading the labels for the first time",
    "cache": "reading them from the cache",
    "epoch": "loader with one process, first batches of two epochs",
    "val": "validation's batches, first 1,000 images",
    "source": "listing a folder to predict",
    "check": "yolo data check",
}
WORK = """
import contextlib, io, itertools, json, os, resource, sys, time
from pathlib import Path
from types import SimpleNamespace

step, warm, folder, caches = sys.argv[1:]
names = {i: str(i) for i in range(80)}

def dataset(root, **options):
    from ultralytics.data.dataset import YOLODataset
    return YOLODataset(img_path=f"{root}/images/train", data={"names": names, "nc": 80}, task="detect", **options)

def loaded(root, mode):
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_yolo_dataset
    args = get_cfg(overrides={"imgsz": 320, "task": "detect"})
    return build_yolo_dataset(args, f"{root}/images/train", 16, {"names": names}, mode=mode, rect=mode == "val")

def epochs(train):
    from ultralytics.data.build import build_dataloader
    for _ in range(2):
        loader = build_dataloader(train, 16, 1, True)
        next(iter(loader))
        loader.close()

def val(data):
    for i in range(0, min(len(data), 1000), 16):
        data.__getitems__([(0, j) for j in range(i, min(i + 16, len(data)))])

def source(root):
    from ultralytics.data.loaders import load_inference_source
    return load_inference_source(f"{root}/images/train")

def check(root):
    from ultralytics.data.tools import check_dataset
    return check_dataset(f"{root}/data.yaml")

prepare, work = {
    "read": (lambda root: [f.unlink() for f in Path(root).glob(f"labels/{caches}")] and root or root, dataset),
    "cache": (lambda root: root, dataset),
    "epoch": (lambda root: loaded(root, "train"), epochs),
    "val": (lambda root: loaded(root, "val"), val),
    "source": (lambda root: root, source),
    "check": (lambda root: root, check),
}[step]
with contextlib.redirect_stdout(io.StringIO()):
    work(prepare(warm))
    given = prepare(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, busy = time.perf_counter(), time.process_time()
    kept = work(given)
    taken = time.perf_counter() - start, time.process_time() - busy
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([*taken, 1024 * grown]))
"""


def measure(python: str, step: str, warm: Path, folder: Path) -> np.ndarray:
    """Return seconds, seconds of processor time, and bytes that a step takes."""
    own = python == sys.executable
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]) if own else "", "OMP_NUM_THREADS": "1"}
    run = [python, "-c", WORK, step, str(warm), str(folder), "*.cache.npz" if own else "*.cache"]
    done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=folder)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return np.array(json.loads(done.stdout.splitlines()[-1]))


def draw(folder: Path, n: int = 64) -> list[tuple[Path, Path]]:
    """Draw n images (480, 640) with 7 objects each, and return them with their label files."""
    rng, pairs = np.random.default_rng(0), []
    for i in range(n):
        image = cv2.resize(rng.integers(0, 255, (15, 20, 3), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
        boxes = np.concatenate([rng.uniform(0.3, 0.7, (7, 2)), rng.uniform(0.1, 0.6, (7, 2))], 1)
        for x, y, w, h in boxes * (640, 480, 640, 480):
            corners = (int(x - w / 2), int(y - h / 2)), (int(x + w / 2), int(y + h / 2))
            cv2.rectangle(image, *corners, rng.integers(0, 255, 3).tolist(), 2)
        pairs.append((folder / f"{i}.jpg", folder / f"{i}.txt"))
        cv2.imwrite(str(pairs[-1][0]), image)
        rows = [f"{rng.integers(80)} {' '.join(f'{v:.6f}' for v in box)}\n" for box in boxes]
        pairs[-1][1].write_text("".join(rows), encoding="utf-8")
    return pairs


def link(root: Path, pairs: list[tuple[Path, Path]], n: int) -> Path:
    """Make a set of n images of links to a few, and return its folder."""
    for kind in ("images", "labels"):
        (root / kind / "train").mkdir(parents=True)
    for i in range(n):
        image, label = pairs[i % len(pairs)]
        os.link(image, root / "images/train" / f"{i:06d}{image.suffix}")
        os.link(label, root / "labels/train" / f"{i:06d}.txt")
    names = ", ".join(f"'{i}'" for i in range(80))
    (root / "data.yaml").write_text(f"path: {root}\ntrain:\nval: images/train\nnames: [{names}]\n", encoding="utf-8")
    return root


def table(steps: list[str], sizes: list[int], sets: dict[int, Path], rounds: int) -> None:
    """Print each step's time and memory per image."""
    say(f"{'':<55}{'images':>8}{'seconds':>9}{'us/image':>10}{'processor':>11}{'bytes/image':>13}")
    for step in steps:
        for n in sizes:
            runs = [measure(sys.executable, step, sets[0], sets[n]) for _ in range(rounds)]
            seconds, busy, grown = np.median(runs, 0)
            some = min(n, 1000) if step == "val" else n
            figures = f"{seconds:>9.2f}{seconds / some * 1e6:>10.1f}{busy / some * 1e6:>11.1f}{grown / some:>13.0f}"
            say(f"{STEPS[step] if n == sizes[0] else '':<55}{n:>8,}{figures}")


def compare(peer: str, sizes: list[int], sets: dict[int, Path], rounds: int) -> None:
    """Print how many times as long, and as much memory, another package takes to read labels."""
    say(f"\n{'other / this':<42}{'images':>8}{'seconds':>24}{'processor':>24}{'MB':>24}")
    for n in sizes:
        for step in ("read", "cache"):
            runs = [
                [measure(python, step, sets[0], sets[n]) for python in (peer, sys.executable)] for _ in range(rounds)
            ]
            other, own = np.median(runs, 0) / (1, 1, 2**20)
            both = [f"{a:.2f} / {b:.2f} = {a / max(b, 0.01):.2f}" for a, b in zip(other, own)]
            say(f"{STEPS[step]:<42}{n:>8,}{both[0]:>24}{both[1]:>24}{both[2]:>24}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[1000, 20_000])
    parser.add_argument("--images", type=Path, help="folder of images to link to, instead of drawn ones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="python with another ultralytics")
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=[*STEPS, []], help="all if not given")
    args = parser.parse_args()
    say(machine())
    base = args.images.resolve().parent if args.images else None
    with tempfile.TemporaryDirectory(dir=base) as folder:  # links work within a disk
        top = Path(folder)
        if args.images:
            files = list_images(args.images)
            pairs = [(Path(a), Path(b)) for a, b in zip(files, img2label_paths(files)) if Path(b).is_file()]
        else:
            pairs = draw(top)
        if not pairs:
            parser.error(f"'{args.images}' has no images with labels in the folder beside it.")
        sets = {n: link(top / f"set{n}", pairs, n or 16) for n in (0, *args.sizes)}
        if args.steps:
            table(args.steps, args.sizes, sets, args.rounds)
        if args.peer:
            compare(args.peer, args.sizes, sets, args.rounds)
        say(f"At the end: {machine()}")


if __name__ == "__main__":
    main()
