"""Whatever cannot work: one sentence that names it and says what to do, exit code 2, nothing half-done."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tiny import FAST, LAYERS, tiny_model

from ultralytics.cli import main

Yolo = Callable[..., tuple[int, str]]


@pytest.fixture
def yolo(work_dir: Path, tiny_data: Path, capsys: pytest.CaptureFixture) -> Yolo:
    """Run `yolo detect MODE key=value ...` in this process; return the exit code and what stands on standard error."""
    defaults = {**FAST, "model": tiny_model(work_dir), "data": tiny_data, "epochs": 1, "project": "runs", "name": "a"}

    def run(mode: str = "train", **settings) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["detect", mode, *(f"{k}={v}" for k, v in {**defaults, **settings}.items())])
        return code, capsys.readouterr().err

    return run


def refused(answer: tuple[int, str], *words: object) -> None:
    """Check for exit code 2, a sentence with all the words, no traceback and no run folder."""
    code, error = answer
    assert code == 2, error
    assert not [w for w in words if str(w) not in error], error
    assert "Traceback" not in error and error.count("\n") < 8
    assert not Path("runs").exists()


# The data YAML --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": None}, ["data.yaml", "`train:`", "Add it"]),
        ({"train": "images/none"}, ["data.yaml", "images/none", "Put the images there"]),
        ({"nc": 3}, ["data.yaml", "nc: 3", "2 names", "Make them agree"]),
        ({"names": None}, ["data.yaml", "names"]),
        ({"val": "empty"}, ["empty", "no images", "Put images there"]),
    ],
)
def test_data_yaml(yolo: Yolo, tiny_data_copy: Path, change: dict, words: list[str]):
    (tiny_data_copy.parent / "empty").mkdir()
    data = {k: v for k, v in {**yaml.safe_load(tiny_data_copy.read_text()), **change}.items() if v is not None}
    tiny_data_copy.write_text(yaml.safe_dump(data))
    refused(yolo(data=tiny_data_copy), *words)


def test_data_yaml_that_is_not_there(yolo: Yolo):
    refused(yolo(data="nowhere.yaml"), "nowhere.yaml")


# Images and labels at fault -----------------------------------------------------------------------------------------

FAULTY_LABELS = {
    "four columns": ("0 0.5 0.5 0.2", "4 columns"),
    "negative": ("0 -0.5 0.5 0.2 0.2", "-0.5"),
    "above one": ("0 0.5 1.5 0.2 0.2", "1.5"),
    "class": ("2 0.5 0.5 0.2 0.2", "class 2"),
    "nan": ("0 nan 0.5 0.2 0.2", "NaN"),
}


def test_faulty_images_and_labels_are_left_out(yolo: Yolo, tiny_data_copy: Path, log: list[str]):
    """Each is listed with its fault; training goes on with the rest, odd but sound images among them."""
    folder = tiny_data_copy.parent
    images, labels = folder / "images" / "train", folder / "labels" / "train"
    image = cv2.imread(str(images / "train_0.jpg"))
    faults = {}
    for i, (text, fault) in enumerate(FAULTY_LABELS.values()):
        if i < 3:  # of the log's five lines, two are for images
            cv2.imwrite(str(images / f"a_{i}.jpg"), image)
            (labels / f"a_{i}.txt").write_text(text + "\n")
            faults[f"a_{i}.jpg"] = fault
    whole = (images / "train_0.jpg").read_bytes()
    (images / "a_3.jpg").write_bytes(whole[: len(whole) // 2])
    (images / "a_4.jpg").write_bytes(b"")
    faults |= {"a_3.jpg": "", "a_4.jpg": ""}
    odd = {
        "alpha.png": np.dstack([image, np.full(image.shape[:2], 128, np.uint8)]),
        "grey.png": image[..., 0],
        "deep.png": image.astype(np.uint16) * 256,
        "ein Bild 火.png": image,
    }
    for name, array in odd.items():
        (images / name).write_bytes(cv2.imencode(".png", array)[1].tobytes())
        (labels / name).with_suffix(".txt").write_text("0 0.5 0.5 0.4 0.4\n")
    code, error = yolo(data=tiny_data_copy)
    assert code == 0, error
    for name, fault in faults.items():
        assert any(name in line and fault in line for line in log), name
    assert any("12 images" in line and "5 left out" in line for line in log)
    assert Path("runs/a/weights/best.pt").exists()


@pytest.mark.parametrize("kind", FAULTY_LABELS)
def test_nothing_but_faulty_labels(yolo: Yolo, tiny_data_copy: Path, kind: str):
    text, fault = FAULTY_LABELS[kind]
    labels = tiny_data_copy.parent / "labels" / "train"
    for file in labels.iterdir():
        file.write_text(text + "\n")
    refused(yolo(data=tiny_data_copy), labels, "train_0.jpg", fault, "Fix")


def test_a_path_with_spaces_and_chinese(yolo: Yolo, tiny_data_copy: Path):
    folder = tiny_data_copy.parent.with_name("我的 数据")
    tiny_data_copy.parent.rename(folder)
    code, error = yolo(data=folder / "data.yaml", name="运行 1")
    assert code == 0, error
    assert Path("runs/运行 1/weights/best.pt").exists()
    code, error = yolo("predict", model="runs/运行 1/weights/best.pt", source=folder / "images" / "val", name="预测")
    assert code == 0, error
    assert len(list(Path("runs/预测").glob("*.jpg"))) == 4


# Models ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("GhostConv", "GohstConv", ["bad.yaml", "GohstConv", "Did you mean", "GhostConv"]),
        ("[[2, 3, 4], 1, Detect", "[[2, 3, 9], 1, Detect", ["bad.yaml", "layer 9"]),
        (
            "  - [-1, 1, Conv, [16, 3, 2]]\nhead",
            "  - [[0, 3], 1, Concat, [1]]\nhead",
            ["bad.yaml", "the shapes do not fit"],
        ),
        ("GhostConv, [8, 3, 2]", "GhostConv, [8, x, 2]", ["bad.yaml", "GhostConv", "cannot be built"]),
    ],
)
def test_model_yaml(yolo: Yolo, old: str, new: str, words: list[str]):
    Path("bad.yaml").write_text(LAYERS.replace(old, new))
    refused(yolo(model="bad.yaml"), *words)


class RunsCode:
    """Writes a file where it is unpickled carelessly."""

    def __reduce__(self):
        return (os.system, ("touch ran",))


def broken_weights(kind: str) -> Path:
    from ultralytics import YOLO

    YOLO("tiny.yaml").save("bad.pt")
    file = Path("bad.pt")
    whole = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(whole[: len(whole) // 2])
    elif kind == "foreign":
        file.write_text("these are no weights")
    elif kind == "other pickle":
        torch.save({"hello": torch.zeros(1)}, file)
    else:
        torch.save({"model": RunsCode()}, file) if kind == "code" else file.write_bytes(pickle.dumps(RunsCode()))
    return file


@pytest.mark.parametrize("mode", ["val", "predict", "train"])
@pytest.mark.parametrize("kind", ["truncated", "foreign", "other pickle", "code", "bare code"])
def test_weight_files(yolo: Yolo, kind: str, mode: str):
    refused(yolo(mode, model=broken_weights(kind), source="x.jpg"), "bad.pt")
    assert not Path("ran").exists()


def test_pretrained_and_resume_from_what_is_none(yolo: Yolo):
    broken_weights("truncated")
    refused(yolo(pretrained="bad.pt"), "bad.pt")
    refused(yolo(resume="bad.pt"), "bad.pt")
    refused(yolo(resume="nowhere.pt"), "nowhere.pt")


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"imgsz": 0}, ["imgsz=0", "1"]),
        ({"batch": 0}, ["batch=0", "at least 1"]),
        ({"device": 7}, ["device=7", "cpu"]),
        ({"epoch": 3}, ["'epoch'", "Did you mean 'epochs'"]),
        ({"optimizer": "SDG"}, ["SDG", "SGD"]),
        ({"epochs": "many"}, ["epochs", "many"]),
        ({"freeze": 6}, ["freeze=6", "nothing is left to train"]),
    ],
)
def test_settings(yolo: Yolo, settings: dict, words: list[str]):
    refused(yolo(**settings), *words)


def test_as_a_process(work_dir: Path, tiny_data: Path):
    """One sentence on standard error, nothing else there, exit code 2."""
    settings = [f"model={tiny_model(work_dir)}", f"data={tiny_data}", "device=7"]
    command = [sys.executable, "-m", "ultralytics", "train", *settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "names GPU 7" in done.stderr
    assert not Path("runs").exists()


# Disks ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function from whose call on nothing can be written any more."""

    def fill() -> None:
        def fail(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        monkeypatch.setattr(os, "replace", fail)

    return fill


def test_disk_that_fills_during_training(work_dir: Path, tiny_data: Path, full_disk: Callable, log: list[str]):
    """Training goes on, and the weights of the epochs before stay whole."""
    from ultralytics import YOLO

    model, saved = YOLO(tiny_model(work_dir)), {}

    def after(trainer) -> None:
        if trainer.epoch == 0:
            saved.update({f: f.read_bytes() for f in (trainer.last, trainer.best)})
            full_disk()

    model.add_callback("on_model_save", after)
    model.train(data=str(tiny_data), project="runs", name="a", **{**FAST, "epochs": 2})
    assert sum("disk is full" in line for line in log) >= 2
    for file, content in saved.items():
        assert file.read_bytes() == content
        assert torch.load(file, weights_only=True)["epoch"] == 0
    assert Path("runs/a/results.csv").read_text().count("\n") == 2  # whole, of the epochs before as well
    assert not list(Path("runs").rglob("*.tmp"))


def test_run_folder_that_cannot_be_made(yolo: Yolo, monkeypatch: pytest.MonkeyPatch):
    Path("file").write_text("")
    refused(yolo(project="file"), "file", "cannot be written", "project=FOLDER")


def test_run_folder_that_cannot_be_written(yolo: Yolo, monkeypatch: pytest.MonkeyPatch):
    """What was made of it is removed; what an earlier run left in it is not."""
    from ultralytics.engine import trainer

    def fail(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(trainer, "yaml_save", fail)
    code, error = yolo(project="other")
    assert code == 2 and "Read-only file system" in error and "project=FOLDER" in error
    assert not Path("other/a").exists()
    old = Path("other/a/weights/best.pt")
    old.parent.mkdir(parents=True)
    old.write_text("old")
    code, error = yolo(project="other", exist_ok=True)
    assert code == 2 and old.read_text() == "old"
