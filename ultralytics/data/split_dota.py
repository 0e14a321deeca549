"""Tiling of large aerial images, as those of DOTA, with their rotated boxes.

A set has images/SPLIT and labels/SPLIT with rows `class x1 y1 x2 y2 x3 y3 x4 y4`, fractions of the image, which
`converter.convert_dota_to_yolo_obb` writes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from ultralytics.data.image_files import list_images, read_image, verify_image
from ultralytics.data.instances import clip_polygon
from ultralytics.data.labels import img2label_paths, layout_of, progress, verify_image_label
from ultralytics.data.writing import polygon_row
from ultralytics.utils.errors import DataError, MissingFileError
from ultralytics.utils.files import atomic_write

_CLASSES = 2**24  # without names any class is taken


class Annotation(TypedDict):
    """One image with its objects: (h, w), rows (n, 9) of a class and four corners as fractions, and the file."""

    ori_size: tuple[int, int]
    label: np.ndarray
    filepath: str


def bbox_iof(polygon1: np.ndarray, bbox2: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Return the share (n, m) of each polygon (n, 8) that lies in each box (m, 4) xyxy."""
    shares = np.zeros((len(polygon1), len(bbox2)), np.float32)
    for i, corners in enumerate(np.asarray(polygon1, np.float64).reshape(-1, 4, 2)):
        low, high = corners.min(0), corners.max(0)
        near = (bbox2[:, :2] < high).all(1) & (bbox2[:, 2:] > low).all(1)
        for j in np.flatnonzero(near):
            inside = clip_polygon(corners, bbox2[j, :2], bbox2[j, 2:])
            shares[i, j] = _area(inside) / max(_area(corners), eps)
    return shares


def _area(polygon: np.ndarray) -> float:
    """Return the area of a polygon (m, 2)."""
    x, y = np.asarray(polygon, np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def load_yolo_dota(data_root: str | Path, split: str = "train") -> list[Annotation]:
    """Read a split of a set.

    Raises:
        MissingFileError: it has no images.
        DataError: a label file is not of rotated boxes, or an image cannot be read.
    """
    files, found = list_images(Path(data_root) / "images" / split), []
    if not files:
        raise MissingFileError(f"There are no images in '{Path(data_root) / 'images' / split}'.")
    for image, label in zip(files, img2label_paths(files)):
        entry = verify_image_label(image, label, _CLASSES, layout=layout_of("obb"))
        if entry.fault:
            raise DataError(f"'{image}' cannot be used: {entry.fault}.")
        if any(len(s) != 4 for s in entry.segments or ()):
            raise DataError(f"'{label}' holds polygons that have not four corners, as rotated boxes have.")
        rows = [np.concatenate([row[:1], s.ravel()]) for row, s in zip(entry.rows, entry.segments or ())]
        found.append(Annotation(ori_size=entry.shape, label=np.array(rows).reshape(-1, 9), filepath=image))
    return found


def get_windows(
    im_size: tuple[int, int],
    crop_sizes: Sequence[int] = (1024,),
    gaps: Sequence[int] = (200,),
    im_rate_thr: float = 0.6,
    eps: float = 0.01,
) -> np.ndarray:
    """Return the windows (n, 4) xyxy that cover an image; the last of a row or column ends with the image.

    Args:
        im_size: (h, w).
        crop_sizes: sides of square windows, each tiled by itself.
        gaps: pixels by which neighbours overlap, one number a size.
        im_rate_thr: least share of a window that must be image; if none has that, the fullest are taken.
        eps: how much emptier than the fullest these may be.
    """
    (h, w), windows = im_size, []
    for size, gap in zip(crop_sizes, gaps):
        if size <= gap:
            raise DataError(f"Windows of {size} pixels cannot overlap by {gap}; give a smaller gap.")
        starts = list(itertools.product(_starts(w, size, size - gap), _starts(h, size, size - gap)))
        windows += [(x, y, x + size, y + size) for x, y in starts]
    found = np.array(windows, np.int64).reshape(-1, 4)
    seen = found.clip(0, np.array((w, h, w, h)))
    shares = np.prod(seen[:, 2:] - seen[:, :2], 1) / np.prod(found[:, 2:] - found[:, :2], 1)
    full = shares > im_rate_thr
    return found[full if full.any() else shares > shares.max() - eps]


def _starts(length: int, size: int, step: int) -> list[int]:
    """Return where windows begin along a side."""
    n = 1 if length <= size else math.ceil((length - size) / step) + 1
    return [min(step * i, max(length - size, 0)) for i in range(n)]


def get_window_obj(anno: Annotation, windows: np.ndarray, iof_thr: float = 0.7) -> list[np.ndarray]:
    """Return the rows of each window, in pixels of the image: the objects of which at least this share lies in it."""
    h, w = anno["ori_size"]
    rows = anno["label"].copy()
    rows[:, 1::2] *= w
    rows[:, 2::2] *= h
    inside = bbox_iof(rows[:, 1:], windows) >= iof_thr
    return [rows[inside[:, i]] for i in range(len(windows))]


def crop_and_save(
    anno: Annotation, windows: np.ndarray, window_objs: Sequence[np.ndarray], im_dir: str | Path, lb_dir: str | Path
) -> None:
    """Write the tiles of an image as JPEG, and the label files of those that have objects."""
    image, stem = read_image(anno["filepath"]), Path(anno["filepath"]).stem
    for (x1, y1, x2, y2), rows in zip(windows.tolist(), window_objs):
        name, tile = f"{stem}__{x2 - x1}__{x1}___{y1}", image[y1:y2, x1:x2]
        with atomic_write(Path(im_dir) / f"{name}.jpg", sync=False) as f:
            f.write(cv2.imencode(".jpg", tile)[1])
        h, w = tile.shape[:2]
        lines = [polygon_row(int(row[0]), row[1:].reshape(4, 2) - (x1, y1), w, h, whole=True) for row in rows]
        if text := "".join(f"{line}\n" for line in lines if line):
            with atomic_write(Path(lb_dir) / f"{name}.txt", "w", sync=False, encoding="utf-8") as f:
                f.write(text)


def split_images_and_labels(
    data_root: str | Path,
    save_dir: str | Path,
    split: str = "train",
    crop_sizes: Sequence[int] = (1024,),
    gaps: Sequence[int] = (200,),
) -> None:
    """Tile a split with its labels into images/SPLIT and labels/SPLIT of another folder."""
    im_dir, lb_dir = (Path(save_dir) / kind / split for kind in ("images", "labels"))
    im_dir.mkdir(parents=True, exist_ok=True)
    lb_dir.mkdir(parents=True, exist_ok=True)
    annotations = load_yolo_dota(data_root, split)
    for anno in progress(annotations, len(annotations), f"Tiling {split}"):
        windows = get_windows(anno["ori_size"], crop_sizes, gaps)
        crop_and_save(anno, windows, get_window_obj(anno, windows), im_dir, lb_dir)


def split_trainval(
    data_root: str | Path, save_dir: str | Path, crop_size: int = 1024, gap: int = 200, rates: Sequence[float] = (1.0,)
) -> None:
    """Tile train and val; at each rate windows and overlaps are as many times smaller."""
    for split in ("train", "val"):
        split_images_and_labels(data_root, save_dir, split, *_sizes(crop_size, gap, rates))


def split_test(
    data_root: str | Path, save_dir: str | Path, crop_size: int = 1024, gap: int = 200, rates: Sequence[float] = (1.0,)
) -> None:
    """Tile test, which has no labels."""
    save, files = Path(save_dir) / "images" / "test", list_images(Path(data_root) / "images" / "test")
    if not files:
        raise MissingFileError(f"There are no images in '{Path(data_root) / 'images' / 'test'}'.")
    save.mkdir(parents=True, exist_ok=True)
    for file in progress(files, len(files), "Tiling test"):
        size = verify_image(file)
        windows = get_windows(size, *_sizes(crop_size, gap, rates))
        none = Annotation(ori_size=size, label=np.zeros((0, 9)), filepath=file)
        crop_and_save(none, windows, get_window_obj(none, windows), save, save)


def _sizes(crop_size: int, gap: int, rates: Sequence[float]) -> tuple[list[int], list[int]]:
    return [int(crop_size / rate) for rate in rates], [int(gap / rate) for rate in rates]
