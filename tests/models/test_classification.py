"""Classes of whole images, from folders to results: training, validation, prediction, weight files."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import FAST

from ultralytics import YOLO
from ultralytics.data.augment import classify_transforms
from ultralytics.models.yolo.classify import ClassificationPredictor, ClassificationTrainer, ClassificationValidator
from ultralytics.nn.tasks import ClassificationModel
from ultralytics.utils.errors import DataError, MissingFileError

SHAPES = ("circle", "cross", "square")  # in this order, as folders are
LAYERS = """nc: 80
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def paint(shape: str, seed: int, size: tuple[int, int] = (72, 80)) -> np.ndarray:
    """Return an image of one shape in a random colour, somewhere near the middle."""
    (h, w), rng = size, np.random.default_rng([seed, SHAPES.index(shape)])
    img = rng.integers(90, 130, (h, w, 3), np.uint8)
    x, y, r = int(w / 2 + rng.integers(-6, 7)), int(h / 2 + rng.integers(-6, 7)), int(rng.integers(16, 24))
    colour = rng.choice([0, 30, 220, 255], 3).tolist()
    if shape == "circle":
        cv2.circle(img, (x, y), r, colour, -1)
    elif shape == "square":
        cv2.rectangle(img, (x - r, y - r), (x + r, y + r), colour, -1)
    else:
        cv2.rectangle(img, (x - r, y - 4), (x + r, y + 4), colour, -1)
        cv2.rectangle(img, (x - 4, y - r), (x + 4, y + r), colour, -1)
    return img


def make_data(folder: Path, train: int = 4, val: int = 2) -> Path:
    """Write images of each shape into folders of their names."""
    for part, count, first in (("train", train, 0), ("val", val, 10_000)):
        for shape in SHAPES:
            (folder / part / shape).mkdir(parents=True)
            for i in range(count):
                cv2.imwrite(str(folder / part / shape / f"{i}.png"), paint(shape, first + i))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("shapes"))


@pytest.fixture
def tiny(work_dir: Path) -> str:
    """The YAML of a tiny classifier."""
    (work_dir / "tiny-cls.yaml").write_text(LAYERS, encoding="utf-8")
    return "tiny-cls.yaml"


def short(cls: type = ClassificationTrainer, **overrides) -> ClassificationTrainer:
    """Return a trainer that leaves out the validation at the end."""
    trainer = cls(overrides=overrides)
    trainer.final_eval = lambda: None
    return trainer


# The whole way --------------------------------------------------------------------------------------------------------


def test_train_validate_predict(tiny, data, work_dir):
    model = YOLO(tiny)
    assert model.task == "classify"
    metrics = model.train(data=str(data), epochs=2, **{**FAST, "plots": True}, project="runs", name="a")
    folder = Path(model.trainer.save_dir)
    assert isinstance(model.trainer, ClassificationTrainer)
    assert isinstance(model.trainer.validator, ClassificationValidator)
    assert {f.name for f in folder.iterdir()} >= {
        "args.yaml", "results.csv", "results.png", "confusion_matrix.png", "confusion_matrix_normalized.png",
        "train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg",
    }  # fmt: skip
    with open(folder / "results.csv", encoding="utf-8") as f:
        rows = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    assert [*rows[0]][:5] == ["epoch", "train/loss", "metrics/accuracy_top1", "metrics/accuracy_top5", "val/loss"]
    assert len(rows) == 2 and all(math.isfinite(v) for row in rows for v in row.values())
    assert metrics.top5 == 1  # there are three classes

    again = YOLO(folder / "weights" / "best.pt")
    assert again.task == "classify" and list(again.names.values()) == list(SHAPES)
    assert again.overrides["imgsz"] == 64
    found = again.val(data=str(data), workers=0, device="cpu", plots=False, batch=4)
    assert found.top1 == metrics.top1
    assert found.confusion_matrix.matrix.shape == (3, 3) and found.confusion_matrix.matrix.sum() == 6
    assert found.confusion_matrix.matrix.trace() == pytest.approx(found.top1 * 6)
    # the same by prediction, image by image
    right = 0
    for i, shape in enumerate(SHAPES):
        for result in again.predict(data / "val" / shape, verbose=False, save_txt=True, project="runs", name="p"):
            assert result.boxes is None and result.probs.data.shape == (3,)
            assert float(result.probs.data.sum()) == pytest.approx(1, abs=1e-5)
            right += result.probs.top1 == i
    assert isinstance(again.predictor, ClassificationPredictor)
    assert right == round(found.top1 * 6)
    lines = next(work_dir.glob("runs/p/labels/0.txt")).read_text().splitlines()
    assert sorted(line.split()[1] for line in lines) == list(SHAPES)


def test_images_are_not_letterboxed(tiny):
    predictor = ClassificationPredictor(overrides={"imgsz": 64, "device": "cpu", "verbose": False, "save": False})
    predictor.setup_model(YOLO(tiny).model, verbose=False)
    wide, high = paint("cross", 0, (60, 100)), paint("circle", 0, (90, 50))
    seen = []
    predictor.add_callback("on_predict_postprocess_end", lambda p: None)
    inference = predictor.inference
    predictor.inference = lambda im: seen.append(im.clone()) or inference(im)
    results = predictor([wide, high])
    assert [r.orig_shape for r in results] == [(60, 100), (90, 50)]
    batch = torch.cat(seen)
    assert batch.shape == (2, 3, 64, 64)
    for x, image in zip(batch, (wide, high)):
        torch.testing.assert_close(x, classify_transforms(64)(image[..., ::-1].copy()))
    again = predictor(batch)  # a tensor is taken as it is
    torch.testing.assert_close(again[0].probs.data, results[0].probs.data)
    assert again[0].orig_shape == (64, 64)
    assert predictor([wide])[0].plot().shape == wide.shape


def test_images_have_224_pixels_if_nothing_else_is_said(tiny, data):
    assert ClassificationTrainer(overrides={"model": tiny, "data": str(data), "device": "cpu"}).args.imgsz == 224


def test_the_cut_of_training_is_that_of_prediction(tiny, data):
    model = YOLO(tiny)
    model.train(data=str(data), epochs=1, **FAST, crop_fraction=0.5, project="runs", name="a")
    assert model.predict(paint("cross", 1), verbose=False) and model.predictor.args.crop_fraction == 0.5


def test_resume_goes_on_where_it_stopped(tiny, data):
    class Interrupted(Exception):
        pass

    def interrupt(trainer):
        raise Interrupted

    args = {**FAST, "model": tiny, "data": str(data), "epochs": 2, "project": "runs", "name": "a", "dropout": 0.3}
    whole = short(**args)
    whole.train()
    cut = short(**{**args, "name": "b"})
    cut.add_callback("on_fit_epoch_end", interrupt)
    with pytest.raises(Interrupted):
        cut.train()
    rest = short(resume=str(cut.last))
    rest.train()
    assert rest.epoch == 1 and rest.args.imgsz == 64 and rest.model.model[-1].drop.p == 0.3
    for (name, a), b in zip(whole.model.state_dict().items(), rest.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_a_model_in_memory_gets_the_classes_of_the_data(tiny, data):
    trainer = short(**{**FAST, "model": tiny, "data": str(data), "epochs": 1, "project": "runs", "name": "a"})
    trainer.model = ClassificationModel(tiny, nc=7, verbose=False)
    trainer.model.names = {i: str(i) for i in range(7)}
    trainer.train()
    assert trainer.model.model[-1].linear.out_features == 3
    assert list(YOLO(trainer.last).names.values()) == list(SHAPES)


def test_weights_of_other_classes_are_taken_where_they_fit(tiny, data):
    old = YOLO(tiny)
    old.save("old-cls.pt")
    trainer = short(**{**FAST, "model": "old-cls.pt", "data": str(data), "epochs": 1, "project": "runs", "name": "a"})
    trainer.setup_model()
    assert trainer.model.model[-1].linear.out_features == 3
    assert torch.equal(trainer.model.model[0].conv.weight, old.model.model[0].conv.weight)


def test_a_folder_without_parts_is_shared_out(tiny, tmp_path):
    folder = make_data(tmp_path / "whole", train=10, val=1) / "train"
    args = {**FAST, "model": tiny, "data": str(folder), "epochs": 1, "project": "runs", "name": "a"}
    trainer = short(**args)
    trainer.train()
    assert len(trainer.train_loader.dataset) == 24 and len(trainer.test_loader.dataset) == 6


def test_what_is_missing_is_named(tiny, data, tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        ClassificationTrainer(overrides={**FAST, "model": tiny, "data": "nowhere"})
    model = YOLO(tiny)
    with pytest.raises(MissingFileError, match="test"):
        model.val(data=str(data), split="test", **FAST)
    model.model.names = {0: "one", 1: "two"}
    with pytest.raises(DataError, match="has 3 classes, but the model knows 2"):
        model.val(data=str(data), **FAST)


# Learning -------------------------------------------------------------------------------------------------------------


def test_overfits_a_few_images(tiny):
    torch.manual_seed(0)
    transform = classify_transforms(64)
    img = torch.stack([transform(paint(s, i)[..., ::-1].copy()) for s in SHAPES for i in range(3)])
    batch = {"img": img, "cls": torch.arange(3).repeat_interleave(3)}
    model = ClassificationModel(tiny, nc=3, verbose=False).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    first = None
    for _ in range(60):
        loss, items = model(batch)
        first = first or float(items)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(items) < first / 10
    assert model.eval()(img).argmax(1).tolist() == batch["cls"].tolist()
