"""The validator by itself: what it is given, and what it writes where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import FAST, tiny_model
from zoo import CLASSES

from ultralytics import YOLO
from ultralytics.cfg import get_cfg
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import files
from ultralytics.utils.errors import ConfigError, DataError

SEEN = {"conf": 0.0, "max_det": 5, **FAST}


@pytest.fixture
def model(work_dir: Path) -> YOLO:
    torch.manual_seed(0)
    model = YOLO(tiny_model(work_dir))
    model.save("m.pt")
    return model


def rows(folder: Path) -> dict[str, int]:
    return {f.name: len(f.read_text().splitlines()) for f in sorted(folder.iterdir())}


# What it is given -----------------------------------------------------------------------------------------------------


def test_model_and_data_of_the_settings(model: YOLO, tiny_data: Path):
    """As tutorials write it: DetectionValidator(args=dict(model=..., data=...))()."""
    found = DetectionValidator(args={"model": "m.pt", "data": str(tiny_data), **SEEN})()
    assert found == model.val(data=str(tiny_data), rect=False, **SEEN).results_dict
    as_settings = get_cfg(overrides={"mode": "val", "model": "m.pt", "data": str(tiny_data), **SEEN})
    assert DetectionValidator(args=as_settings)() == found
    assert DetectionValidator(args={"data": str(tiny_data), **SEEN})(model=model.model) == found
    assert DetectionValidator(args={"model": "no.pt", "data": str(tiny_data), **SEEN})(model="m.pt") == found


def test_a_loader_of_ones_own(model: YOLO, tiny_data: Path):
    first = DetectionValidator(args={"model": "m.pt", "data": str(tiny_data), **SEEN})
    wanted = first()
    assert DetectionValidator(first.dataloader, args={"model": "m.pt", **SEEN})() == wanted


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_every_task_takes_the_model_of_its_settings(work_dir: Path, task: str, monkeypatch: pytest.MonkeyPatch):
    """Up to the data, which this has none of."""
    given = []
    validator = load(TASKS[task].validator)
    monkeypatch.setattr(validator, "get_dataset", lambda self: given.append(self.args.model) or 1 / 0)
    yaml = f"yolo11n-{ {'segment': 'seg', 'classify': 'cls'}.get(task, task) }.yaml"
    CLASSES[yaml[8:-5]](yaml, verbose=False).eval()
    YOLO(yaml).save("w.pt")
    with pytest.raises(ZeroDivisionError):
        validator(args={"model": "w.pt", "data": "none", "imgsz": 32, "device": "cpu"})()
    assert given == ["w.pt"]


def test_nothing_is_said_to_be_nothing(tiny_data: Path):
    with pytest.raises(ConfigError, match="There is nothing to validate: give model=WEIGHTS"):
        DetectionValidator(args={"data": str(tiny_data), **FAST})()


# What it writes -------------------------------------------------------------------------------------------------------


def test_labels_of_two_runs_in_one_folder_are_those_of_the_second(model: YOLO, tiny_data: Path):
    where = {"data": str(tiny_data), "save_txt": True, "project": "runs", "name": "v", "exist_ok": True, **SEEN}
    model.val(**where)
    assert rows(Path("runs/v/labels")) == {f"val_{i}.txt": 5 for i in range(4)}
    model.val(**{**where, "max_det": 3})
    assert rows(Path("runs/v/labels")) == {f"val_{i}.txt": 3 for i in range(4)}
    model.val(**{**where, "conf": 1.0})
    assert rows(Path("runs/v/labels")) == {}


def test_a_training_that_saves_labels_has_those_of_its_last_epoch(model: YOLO, tiny_data: Path):
    model.train(data=str(tiny_data), epochs=2, save_txt=True, conf=0.0, max_det=5, project="runs", name="t", **FAST)
    assert set(rows(Path("runs/t/labels")).values()) == {5}


def test_images_of_one_name_have_labels_of_their_own(model: YOLO, tiny_data_copy: Path):
    folder = tiny_data_copy.parent
    for part in ("images", "labels"):
        (folder / part / "val" / "more").mkdir()
        source = next((folder / part / "val").glob("val_0.*"))
        (folder / part / "val" / "more" / source.name).write_bytes(source.read_bytes())
    model.val(data=str(tiny_data_copy), save_txt=True, project="runs", name="v", **SEEN)
    assert rows(Path("runs/v/labels")) == {f"val_{n}.txt": 5 for n in ("0", "0_2", "1", "2", "3")}


def test_labels_of_the_dataset_are_never_written_over(model: YOLO, tiny_data_copy: Path, log: list[str]):
    """The run folder is one whose `labels` are those of the data set."""
    folder = tiny_data_copy.parent
    for part in ("images", "labels"):
        (folder / part / "val").rename(folder / f"{part}_")
        (folder / part / "train").rename(folder / f"{part}-")
        (folder / part).rmdir()
        (folder / f"{part}_").rename(folder / part)
    tiny_data_copy.write_text("train: images\nval: images\nnames: [red, green]\n")
    before = {f: f.read_bytes() for f in (folder / "labels").glob("*.txt")}
    where = {"project": str(folder.parent), "name": folder.name, "exist_ok": True}
    model.val(data=str(tiny_data_copy), save_txt=True, **where, **SEEN)
    assert {f: f.read_bytes() for f in before} == before and len(before) == 4
    assert rows(folder / "labels").keys() >= {f"val_{i}_2.txt" for i in range(4)}
    assert any("keeps sources and results apart" in line for line in log)


@pytest.mark.parametrize("given", [{"save_json": True}, {"save_txt": True}])
def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    model: YOLO, tiny_data: Path, given: dict, monkeypatch: pytest.MonkeyPatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    validator = DetectionValidator(args={"model": "m.pt", "data": str(tiny_data), "project": "runs", **SEEN, **given})
    validator.add_callback("on_val_start", lambda v: monkeypatch.setattr(files.os, "replace", full))
    validator.add_callback("on_val_start", lambda v: monkeypatch.setattr(files, "open", full, raising=False))
    with pytest.raises(DataError, match=r"cannot be written: No space left on device\. Make room"):
        validator()
    monkeypatch.undo()
    assert [f for f in Path("runs").rglob("*") if f.is_file()] == []


def test_json_is_whole(model: YOLO, tiny_data: Path):
    model.val(data=str(tiny_data), save_json=True, project="runs", name="v", **SEEN)
    assert len(json.loads(Path("runs/v/predictions.json").read_text())) == 4 * 5


def test_what_writes_nothing_makes_no_folder_and_what_fails_leaves_none(model: YOLO, tiny_data: Path):
    model.val(data=str(tiny_data), project="runs", **SEEN)
    validator = DetectionValidator(
        args={"model": "m.pt", "data": str(tiny_data), "project": "runs", **SEEN, "plots": True}
    )
    assert validator.save_dir == Path("runs/val")
    validator.add_callback("on_val_start", lambda v: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        validator()
    assert not Path("runs").exists()


def test_a_folder_that_another_run_took_meanwhile_is_left_to_it(model: YOLO, tiny_data: Path):
    args = {"model": "m.pt", "data": str(tiny_data), "project": "runs", **SEEN, "save_json": True}
    validator = DetectionValidator(args=args)
    Path("runs/val").mkdir(parents=True)
    validator()
    assert validator.save_dir == validator.metrics.save_dir == Path("runs/val2")
    assert Path("runs/val2/predictions.json").is_file() and not any(Path("runs/val").iterdir())
