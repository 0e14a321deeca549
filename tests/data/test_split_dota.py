"""Tiling of aerial images with rotated boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scenes import write_image

from ultralytics.data.image_files import read_image
from ultralytics.data.split_dota import (
    bbox_iof,
    crop_and_save,
    get_window_obj,
    get_windows,
    load_yolo_dota,
    split_test,
    split_trainval,
)
from ultralytics.utils.errors import DataError, MissingFileError


def make(root: Path, splits=("train", "val")) -> Path:
    """Write one image of 300 x 200 a split, with a white square and a rotated box around it."""
    for split in splits:
        image = np.zeros((200, 300, 3), np.uint8)
        image[100:120, 230:260] = 255
        write_image(root / "images" / split / "p.png", image)
        label = root / "labels" / split / "p.txt"
        label.parent.mkdir(parents=True)
        corners = np.array([230, 100, 260, 100, 260, 120, 230, 120]).reshape(4, 2) / (300, 200)
        label.write_text(f"3 {' '.join(map(str, corners.ravel()))}\n")
    return root


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((100, 120), [[0, 0, 128, 128]]),
        ((128, 200), [[0, 0, 128, 128], [72, 0, 200, 128]]),
        ((130, 128), [[0, 0, 128, 128], [0, 2, 128, 130]]),
        ((30, 30), [[0, 0, 128, 128]]),  # hardly a quarter of it, but there is no fuller one
    ],
)
def test_windows_cover_an_image_and_end_with_it(size, wanted):
    assert get_windows(size, (128,), (32,)).tolist() == wanted


def test_windows_of_two_sizes():
    windows = get_windows((500, 500), (128, 256), (0, 0))
    assert {int(w[2] - w[0]) for w in windows} == {128, 256} and windows.max() == 500
    with pytest.raises(DataError, match="cannot overlap by 200"):
        get_windows((500, 500), (128,), (200,))


def test_the_share_of_a_polygon_in_a_box():
    diamond = np.array([[5, 0, 10, 5, 5, 10, 0, 5]], float)
    boxes = np.array([[0, 0, 10, 10], [0, 0, 5, 10], [0, 0, 5, 5], [20, 20, 30, 30]], float)
    np.testing.assert_allclose(bbox_iof(diamond, boxes), [[1, 0.5, 0.25, 0]], atol=1e-6)
    assert bbox_iof(np.zeros((0, 8)), boxes).shape == (0, 4)


def test_tiles_show_their_objects(tmp_path):
    split_trainval(make(tmp_path / "set"), tmp_path / "tiles", crop_size=128, gap=32, rates=(1.0, 0.5))
    sizes, labelled = set(), 0
    for split in ("train", "val"):
        for anno in load_yolo_dota(tmp_path / "tiles", split):
            image = read_image(anno["filepath"])
            sizes.add(int(Path(anno["filepath"]).stem.split("__")[1]))
            white = image[..., 0] > 200
            for row in anno["label"]:
                corners = row[1:].reshape(4, 2) * image.shape[1::-1]
                ys, xs = np.nonzero(white)
                assert row[0] == 3
                shown = corners.clip(0, image.shape[1::-1])
                np.testing.assert_allclose(
                    [*shown.min(0), *shown.max(0)], [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2
                )
                labelled += 1
            if not len(anno["label"]):
                assert white.sum() < 0.7 * 600 + 60
    assert sizes == {128, 256} and labelled > 4


def test_a_test_split_needs_no_labels(tmp_path):
    split_test(make(tmp_path / "set", ("test",)), tmp_path / "tiles", crop_size=128, gap=32)
    assert len(list((tmp_path / "tiles" / "images" / "test").iterdir())) == len(get_windows((200, 300), (128,), (32,)))
    with pytest.raises(MissingFileError, match="no images"):
        split_test(tmp_path, tmp_path / "x")


def test_sets_that_are_none(tmp_path):
    with pytest.raises(MissingFileError, match="no images"):
        load_yolo_dota(tmp_path)
    root = make(tmp_path / "set", ("train",))
    (root / "labels" / "train" / "p.txt").write_text("0 0.1 0.1 0.2 0.1 0.2 0.2 0.15 0.3 0.1 0.2")
    with pytest.raises(DataError, match="not four corners"):
        load_yolo_dota(root)
    anno = {"ori_size": (200, 300), "label": np.zeros((0, 9)), "filepath": str(root / "images" / "train" / "p.png")}
    windows = get_windows((200, 300), (512,), (0,))
    crop_and_save(anno, windows, get_window_obj(anno, windows), tmp_path, tmp_path)
    assert read_image(tmp_path / "p__512__0___0.jpg").shape == (200, 300, 3)
