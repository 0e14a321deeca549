"""One seed gives the same batches and the same weights, bit for bit, for every task and every family of models."""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import FAST, write_data
from test_classification import make_data as make_folders
from test_obb import make_data as make_rotated

from ultralytics.cfg import get_cfg, model_yamls
from ultralytics.cfg.tasks import TASKS, load
from ultralytics.data import ClassificationDataset, build_dataloader, build_yolo_dataset
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import yaml_load

STRONG = {"mosaic": 1.0, "mixup": 0.5, "copy_paste": 0.5, "degrees": 20.0, "flipud": 0.5, "bgr": 0.5, "erasing": 0.5}
SUFFIXES = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}
ZOO = sorted(re.sub(r"^([a-z]+\d+)(?=-|$)", r"\1n", name) for name in model_yamls())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each task is trained on: eight images or a few more."""
    folder = {task: tmp_path_factory.mktemp(task) for task in TASKS}
    triangles = write_data(folder["segment"], train=8, val=2)
    found = {
        "detect": triangles,
        "segment": triangles,
        "pose": write_data(folder["pose"], pose=True, train=8, val=2),
        "obb": make_rotated(folder["obb"], train=8, val=2),
        "classify": make_folders(folder["classify"], train=4, val=1),
    }
    return {task: str(path) for task, path in found.items()}


def task_of(model: str) -> str:
    return next((task for task, suffix in SUFFIXES.items() if suffix[1:] in model.split("-")), "detect")


# Batches --------------------------------------------------------------------------------------------------------------


def dataset_of(task: str, data: dict[str, str], seed: int = 0):
    args = get_cfg(overrides={"imgsz": 64, "task": task, "seed": seed, **STRONG})
    if task == "classify":
        return ClassificationDataset(Path(data[task]) / "train", args, augment=True)
    described = yaml_load(data[task])
    described["names"] = dict(enumerate(described["names"]))
    return build_yolo_dataset(args, str(Path(data[task]).parent / "images" / "train"), 3, described)


def marks(loader) -> list[dict]:
    """Return a short mark of all that is in the batches of two epochs."""

    def mark(value):
        if torch.is_tensor(value):
            return zlib.crc32(value.contiguous().numpy().tobytes()), str(value.dtype), tuple(value.shape)
        return str(value)

    found = [{key: mark(value) for key, value in batch.items()} for _ in range(2) for batch in loader]
    loader.close()
    return found


@pytest.mark.parametrize("task", TASKS)
def test_worker_processes_and_batch_contents(task: str, data: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    np.random.seed(1)  # of which batches shall not depend
    loaders = [build_dataloader(dataset_of(task, data), 3, workers) for workers in (0, 1, 2)]
    assert [loader.num_workers for loader in loaders] == [0, 1, 2]
    first, *others = [marks(loader) for loader in loaders]
    assert first == others[0] == others[1]
    epochs = first[: len(first) // 2], first[len(first) // 2 :]
    assert epochs[0] != epochs[1]
    np.random.seed(2)
    torch.manual_seed(2)
    assert marks(build_dataloader(dataset_of(task, data), 3, 0)) == first
    assert marks(build_dataloader(dataset_of(task, data, seed=1), 3, 0)) != first


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def train(data: dict[str, str], work_dir: Path, monkeypatch: pytest.MonkeyPatch):
    """Train a model for two epochs with a seed; return its weights and their average."""
    for name, stand_in in (("validate", ({}, 0.0)), ("save_model", None), ("final_eval", None)):
        monkeypatch.setattr(BaseTrainer, name, lambda self, stand_in=stand_in: stand_in)  # no part of the question
    monkeypatch.setattr(BaseModel, "info", lambda self, **_: None)  # counts for as long as the training takes

    def run(model: str, seed: int, **settings) -> dict[str, torch.Tensor]:
        task = task_of(model)
        args = {**FAST, "imgsz": 64, "epochs": 2, "nbs": 4, "seed": seed, "model": f"{model}.yaml", "data": data[task]}
        trainer = load(TASKS[task].trainer)(overrides={**args, **STRONG, "close_mosaic": 1, **settings})
        trainer.train()
        average = {f"average of {k}": v for k, v in trainer.ema.ema.state_dict().items()}
        return trainer.model.state_dict() | average

    return run


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def check_seeds(train, model: str) -> None:
    start, again, other = train(model, seed=3), train(model, seed=3), train(model, seed=4)
    assert all(torch.isfinite(value).all() for value in start.values())
    assert differing(start, again) == []
    assert len(differing(start, other)) > len(start) / 2


@pytest.mark.parametrize("model", ["yolo11n", "yolo11n-cls"])
def test_one_seed_repeats_and_two_differ(model: str, train):
    check_seeds(train, model)


@pytest.mark.slow
@pytest.mark.parametrize("model", ZOO)
def test_one_seed_repeats_for_the_whole_zoo(model: str, train):
    check_seeds(train, model)
