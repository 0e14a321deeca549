"""Training and validation go on when images vanish or are replaced, and say what they left out."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All warnings of the test."""
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "warning", lambda text, *args: lines.append(str(text)))
    return lines


@pytest.fixture
def train(work_dir: Path, tiny_data_copy: Path):
    """Train three epochs; after the first, do something to the folder of images."""

    def run(change) -> YOLO:
        def after_first_epoch(trainer) -> None:
            if trainer.epoch == 0:
                change(tiny_data_copy.parent / "images")
            for loader in (trainer.train_loader, trainer.test_loader):  # as if the set were too large to be kept
                loader.dataset.images.recent.clear()

        model = YOLO(tiny_model(work_dir))
        model.add_callback("on_fit_epoch_end", after_first_epoch)
        model.train(**FAST, data=str(tiny_data_copy), epochs=3, project="runs", name="a")
        return model

    return run


def lose(images: Path) -> None:
    import cv2

    (images / "train/train_1.jpg").unlink()
    (images / "train/train_2.jpg").write_bytes(b"no image")
    cv2.imwrite(str(images / "val/val_0.jpg"), np.zeros((64, 200, 3), np.uint8))


def test_a_training_goes_on(train, work_dir, log):
    model = train(lose)
    with open(work_dir / "runs/a/results.csv", encoding="utf-8") as f:
        rows = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    named = [line for line in log if "_" in line and ".jpg" in line]
    assert (
        len(named) == 3 and [sum(name in line for line in named) for name in ("train_1", "train_2", "val_0")] == [1] * 3
    )
    left_out = [line for line in log if line.endswith("are left out of these metrics.")]
    assert len(left_out) == 3 and all("1 of 4 images" in line for line in left_out)  # two epochs, and the best weights
    assert [line for line in log if "2 training images became unusable meanwhile" in line]
    assert model.trainer.validator.seen == 3


@pytest.mark.parametrize(("part", "text"), [("train", "None of the 8 training"), ("val", "None of the 4 images for")])
def test_nothing_left_ends_in_a_sentence(train, part, text, log):
    with pytest.raises(DataError, match=f"^{text} [^\n]*$"):
        train(lambda images: [file.unlink() for file in (images / part).glob("*.jpg")])


def test_the_loss_of_validation_is_the_mean_of_what_is_left(work_dir, tiny_data_copy, log):
    """Two batches of two images: without one of them, the mean is that of the other."""
    found = []

    def validate(trainer) -> None:
        files = [Path(f) for f in trainer.test_loader.dataset.im_files]
        for lost in ((), files[:2], files[2:]):
            away = [file.rename(file.with_suffix(".away")) for file in lost]
            trainer.test_loader.dataset.images.recent.clear()
            found.append(trainer.validator(trainer)["val/cls_loss"])
            for file in away:
                file.rename(file.with_suffix(".jpg"))

    model = YOLO(tiny_model(work_dir))
    model.add_callback("on_train_end", validate)
    model.train(**{**FAST, "batch": 1}, data=str(tiny_data_copy), epochs=1, project="runs", name="a")
    whole, second, first = found
    assert whole == pytest.approx((first + second) / 2, rel=1e-3) and first != second
