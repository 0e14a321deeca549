"""A data set of drawn fires for each task, made in seconds from nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("detect", "segment", "pose", "obb")


def draw_fires(folder: Path, count: int) -> None:
    """Draw images 1 to `count` with labels into folder/images and folder/labels, with a process for each core."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(partial(_draw_one, folder), range(1, count + 1)))


def _draw_one(folder: Path, number: int) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    sys.path.insert(0, str(ROOT))
    from firegen import draw
    from generate_fire import save

    save(draw(number, 0), folder / "images", folder / "labels", f"fire{number}")


def _polygon(cls: str, x: float, y: float, w: float, h: float) -> str:
    corners = [(x - w / 2, y - h / 2), (x + w / 2, y - h / 2), (x + w / 2, y + h / 2), (x - w / 2, y + h / 2)]
    return " ".join([cls, *(f"{min(max(v, 0), 1):.6f}" for point in corners for v in point)])


def _with_center(cls: str, x: float, y: float, w: float, h: float) -> str:
    return f"{cls} {x:.6f} {y:.6f} {w:.6f} {h:.6f} {x:.6f} {y:.6f} 2"


ROWS: dict[str, Callable[..., str]] = {"segment": _polygon, "obb": _polygon, "pose": _with_center}


def make_set(folder: Path, fires: Path, task: str, times: int = 1) -> Path:
    """Link the fires `times` times for training and once for validation; return the data YAML of a task."""
    images = sorted((fires / "images").glob("*.jpg"))
    for split, n in (("train", times), ("val", 1)):
        for name in ("images", "labels"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            for image in images:
                link(image, folder / split / "images" / f"{i}_{image.name}")
                rows = (fires / "labels" / f"{image.stem}.txt").read_text().splitlines()
                if task in ROWS:
                    rows = [ROWS[task](cls, *map(float, box)) for cls, *box in map(str.split, rows)]
                label = folder / split / "labels" / f"{i}_{image.stem}.txt"
                label.write_text("".join(f"{row}\n" for row in rows))
    lines = [f"path: {folder}", "train: train/images", "val: val/images", "names: {0: fire}"]
    lines += ["kpt_shape: [1, 3]", "flip_idx: [0]"] if task == "pose" else []
    file = folder / "data.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


def make_folders(folder: Path, fires: Path) -> Path:
    """Link the fires into folders of images with and without fire, for classification; return the folder."""
    for split in ("train", "val"):
        for i, image in enumerate(sorted((fires / "images").glob("*.jpg"))):
            has_fire = bool((fires / "labels" / f"{image.stem}.txt").read_text().strip())
            home = folder / split / ("fire" if has_fire or i == 0 else "none")
            home.mkdir(parents=True, exist_ok=True)
            link(image, home / image.name)
        (folder / split / "none").mkdir(exist_ok=True)
        if not any((folder / split / "none").iterdir()):
            link(image, folder / split / "none" / image.name)
    return folder


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
