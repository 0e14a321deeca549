"""The fire set that is committed, and the generator that draws it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

HOME = Path(__file__).resolve().parents[1]
FIRE = HOME / "datasets" / "fire"
SPLITS = {"train": range(1, 81), "val": range(81, 101)}
sys.path.insert(0, str(HOME / "tools"))

from firegen import draw  # noqa: E402
from firegen.image import box_of, plan  # noqa: E402
from generate_fire import strangers  # noqa: E402


def boxes_of(label: Path) -> np.ndarray:
    """Rows of a label file, (n, 5)."""
    rows = [[float(v) for v in line.split()] for line in label.read_text(encoding="utf-8").splitlines()]
    return np.array(rows).reshape(-1, 5)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two xywh boxes."""
    low, high = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2), np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = np.prod(np.clip(high - low, 0, None))
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


@pytest.mark.parametrize("split", SPLITS)
def test_layout(split: str) -> None:
    images, labels = FIRE / split / "images", FIRE / split / "labels"
    names = {f"firc_pic_{n}" for n in SPLITS[split]}
    assert {p.name for p in images.iterdir() if p.suffix != ".npy"} == {f"{n}.jpg" for n in names}
    assert {p.name for p in labels.glob("*.txt")} == {f"{n}.txt" for n in names} | {"classes.txt"}
    assert (labels / "classes.txt").read_text(encoding="utf-8") == "fire\n"


def test_images_are_small_and_of_many_shapes() -> None:
    files = sorted(FIRE.rglob("*.jpg"))
    sizes = {cv2.imread(str(p)).shape[:2] for p in files}
    assert all(320 <= max(s) <= 640 for s in sizes)
    assert len({round(w / h, 1) for h, w in sizes}) >= 4
    assert sum(p.stat().st_size for p in FIRE.rglob("*") if p.suffix in {".jpg", ".txt"}) < 4_000_000


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_valid(split: str) -> None:
    counts = []
    for label in sorted((FIRE / split / "labels").glob("firc_pic_*.txt")):
        rows = boxes_of(label)
        counts.append(len(rows))
        h, w = cv2.imread(str(FIRE / split / "images" / f"{label.stem}.jpg")).shape[:2]
        assert (rows[:, 0] == 0).all()
        assert (rows[:, 1:3] - rows[:, 3:] / 2 > -1e-5).all() and (rows[:, 1:3] + rows[:, 3:] / 2 < 1 + 1e-5).all()
        assert (rows[:, 3:] * [w, h] > 7.9).all()
        assert all(iou(a[1:], b[1:]) < 0.2 for i, a in enumerate(rows) for b in rows[:i])
    empty = counts.count(0) / len(counts)
    assert 0.08 <= empty <= 0.17  # one in eight
    assert max(counts) <= 4 and min(c for c in counts if c) == 1


def test_committed_labels_are_what_the_generator_draws() -> None:
    for n in (1, 81):
        split = "train" if n <= 80 else "val"
        rows, image = boxes_of(FIRE / split / "labels" / f"firc_pic_{n}.txt"), draw(n, seed=0)
        now = np.array([[float(v) for v in line.split()] for line in image.labels()]).reshape(-1, 5)
        assert rows.shape == now.shape
        assert np.abs(rows - now).max(initial=0) < 0.02  # another OpenCV may round a noise pixel otherwise
        kept = cv2.imread(str(FIRE / split / "images" / f"firc_pic_{n}.jpg"))
        assert kept.shape == image.image.shape
        assert np.abs(kept.astype(int) - image.image).mean() < 12  # the same image, but for JPEG's losses


def test_an_image_depends_on_number_and_seed_only() -> None:
    first = draw(5, seed=3)
    draw(6, seed=3)
    again = draw(5, seed=3)
    assert np.array_equal(first.image, again.image) and np.array_equal(first.boxes, again.boxes)
    other = draw(5, seed=4)
    assert other.image.shape != first.image.shape or not np.array_equal(other.image, first.image)


def test_one_in_eight_is_planned_without_fire() -> None:
    fires = [plan(0, n, np.random.default_rng([0, n, 0])).fires for n in range(1, 801)]
    assert fires.count(0) == 100
    assert set(fires) == {0, 1, 2, 3, 4}
    assert all(fires[i : i + 8].count(0) == 1 for i in range(0, 800, 8))


@pytest.mark.parametrize("number", [4, 12, 21])
def test_boxes_are_tight_around_the_flame(number: int) -> None:
    image = draw(number, seed=0)
    assert len(image.boxes)
    for mask, (x0, y0, x1, y1) in zip(image.masks, image.boxes):
        assert box_of(mask) == (x0, y0, x1, y1)
        inside = mask[y0:y1, x0:x1]
        assert inside.sum() == mask.sum()  # nothing outside
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()  # each side touches
        blue, green, red = image.image[mask].mean(0)
        assert red > green > blue and red > 150  # what is boxed looks like a flame


def test_command_line(tmp_path: Path) -> None:
    script = HOME / "tools" / "generate_fire.py"
    out = tmp_path / "火 set"
    command = [sys.executable, str(script), "--out", str(out), "--train", "2", "--val", "1", "--seed", "0"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert sorted(p.name for p in out.rglob("*.jpg")) == ["firc_pic_1.jpg", "firc_pic_2.jpg", "firc_pic_3.jpg"]
    assert (out / "val" / "labels" / "firc_pic_3.txt").exists()
    lines = (out / "train" / "labels" / "firc_pic_1.txt").read_text(encoding="utf-8").splitlines()
    assert lines == draw(1, seed=0).labels()
    wrong = subprocess.run([*command[:-1], "-1"], capture_output=True, text=True, timeout=600)
    assert wrong.returncode == 2 and "0 or more" in wrong.stderr


def test_another_drawing_does_not_mix_with_an_earlier_one(tmp_path: Path) -> None:
    for n, split in ((1, "train"), (2, "val")):
        labels = tmp_path / split / "labels"
        labels.mkdir(parents=True)
        (labels / f"firc_pic_{n}.txt").write_text("")
        (labels / "mine.txt").write_text("")
    assert [p.name for p in strangers(tmp_path, 2, 0)] == ["firc_pic_2.txt"]  # it would be in train and in val
    assert strangers(tmp_path, 1, 1) == []
    command = [sys.executable, str(HOME / "tools" / "generate_fire.py"), "--out", str(tmp_path)]
    refused = subprocess.run([*command, "--train", "0", "--val", "0"], capture_output=True, text=True, timeout=600)
    assert refused.returncode == 2 and "--clean" in refused.stderr
    assert (tmp_path / "val" / "labels" / "firc_pic_2.txt").exists()
    subprocess.run([*command, "--train", "0", "--val", "0", "--clean"], check=True, timeout=600)
    assert {p.name for p in tmp_path.rglob("*.txt")} == {"mine.txt", "classes.txt"}


def test_data_yamls_point_at_it() -> None:
    near = HOME / "train" / "coco128.yaml"
    data = yaml.safe_load(near.read_text(encoding="utf-8"))
    root = (near.parent / data["path"]).resolve()
    assert root == FIRE and data["names"] == {0: "fire"}
    assert (root / data["train"]).is_dir() and (root / data["val"]).is_dir()
    by_name = yaml.safe_load((HOME / "ultralytics/cfg/datasets/fire.yaml").read_text(encoding="utf-8"))
    assert by_name == {**data, "path": "fire"}


def test_assets_are_small_images() -> None:
    files = sorted((HOME / "ultralytics" / "assets").glob("*.jpg"))
    assert {"fire_day.jpg", "fire_night.jpg"} <= {p.name for p in files}
    assert all(p.stat().st_size < 60_000 and cv2.imread(str(p)) is not None for p in files)
