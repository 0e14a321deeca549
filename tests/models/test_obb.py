"""Rotated boxes from images to results: training, validation, prediction, weight files."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from tiny import FAST, LAYERS

from ultralytics import YOLO
from ultralytics.models.yolo.obb import OBBPredictor, OBBTrainer, OBBValidator
from ultralytics.models.yolo.obb.predict import to_original, to_rows
from ultralytics.utils.geometry.overlap import batch_probiou
from ultralytics.utils.ops import xywhr2xyxyxyxy

COLOURS = {"red": (40, 40, 220), "green": (60, 200, 40)}  # BGR
SIZE = (96, 128)


def paint(seed: int, objects: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image with rotated rectangles side by side, their classes (n,) and their boxes (n, 5) in pixels."""
    (h, w), rng = SIZE, np.random.default_rng(seed)
    img, cls = rng.integers(90, 130, (h, w, 3), np.uint8), rng.integers(2, size=objects)
    place = (np.arange(objects) + 0.5) * w / max(objects, 1)
    sides = np.stack([rng.uniform(34, 50, objects), rng.uniform(14, 24, objects)], 1)
    y = rng.uniform(0.4, 0.6, objects) * h
    boxes = np.stack([place, y, *sides.T, rng.uniform(0, math.pi, objects)], 1)
    for corners, c in zip(xywhr2xyxyxyxy(boxes), cls):
        points = ((corners - 0.5) * 16).round().astype(np.int32)
        cv2.fillPoly(img, [points], list(COLOURS.values())[c], lineType=cv2.LINE_AA, shift=4)
    return img, cls, boxes


def make_data(folder: Path, train: int = 8, val: int = 4) -> Path:
    """Write images with up to two rotated rectangles and labels of their corners; return the data YAML."""
    for part, count, first in (("train", train, 0), ("val", val, 10_000)):
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True)
        for i in range(count):
            img, cls, boxes = paint(first + i, (1, 2, 1, 0)[i % 4])
            shares = (xywhr2xyxyxyxy(boxes) / SIZE[::-1]).reshape(-1, 8)
            rows = [" ".join(f"{v:.6g}" for v in (c, *corners)) for c, corners in zip(cls, shares)]
            cv2.imwrite(str(folder / "images" / part / f"{i}.png"), img)
            (folder / "labels" / part / f"{i}.txt").write_text("\n".join(rows), encoding="utf-8")
    names = dict(enumerate(COLOURS))
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": names}), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("rotated"))


@pytest.fixture
def tiny(work_dir: Path) -> str:
    """The YAML of a tiny model with a head for rotated boxes."""
    (work_dir / "tiny-obb.yaml").write_text(LAYERS.replace("Detect, [nc]", "OBB, [nc, 1]"), encoding="utf-8")
    return "tiny-obb.yaml"


def perfect(boxes: torch.Tensor, cls: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return what the head would give for boxes (n, 5) xywhr, and nothing else: (1, 4 + 2 + 1, n)."""
    return torch.cat((boxes[:, :4], torch.nn.functional.one_hot(cls.long(), 2) * 0.9, boxes[:, 4:]), 1).T[None].float()


# Places ---------------------------------------------------------------------------------------------------------------


def test_boxes_come_back_from_the_letterbox():
    boxes = torch.tensor([[70.0, 40, 50, 20, 0.3], [20, 60, 10, 30, 0.4]])
    on_input = boxes.clone()
    on_input[:, :4] /= 2
    on_input[:, 1] += 8  # 128 x 96 shown at half its size in 64 x 64
    pred = torch.cat((on_input[:, :4], torch.tensor([[0.9, 1], [0.8, 0]]), on_input[:, 4:]), 1)
    for ratio_pad in (None, ((0.5, 0.5), (0, 8))):
        rows = to_rows(to_original(pred, (64, 64), (96, 128, 3), ratio_pad))
        torch.testing.assert_close(rows[0], torch.tensor([70, 40, 50, 20, 0.3, 0.9, 1]))
        # the second is higher than wide, so it is named by its other side
        torch.testing.assert_close(rows[1], torch.tensor([20, 60, 30, 10, 0.4 + math.pi / 2, 0.8, 0]))


def test_a_box_beyond_the_border_keeps_its_shape():
    pred = torch.tensor([[1.0, 1, 40, 20, 0.9, 0, 0.5]])
    torch.testing.assert_close(to_original(pred, (64, 64), (64, 64)), pred)


# The whole way --------------------------------------------------------------------------------------------------------


def test_train_validate_predict(tiny, data, work_dir):
    model = YOLO(tiny)
    assert model.task == "obb"
    model.train(data=str(data), epochs=2, **{**FAST, "plots": True}, project="runs", name="a")
    folder = Path(model.trainer.save_dir)
    assert isinstance(model.trainer, OBBTrainer) and isinstance(model.trainer.validator, OBBValidator)
    assert {f.name for f in folder.iterdir()} >= {
        "args.yaml", "results.csv", "results.png", "labels.jpg", "confusion_matrix.png", "train_batch0.jpg",
        "val_batch0_labels.jpg", "val_batch0_pred.jpg",
    }  # fmt: skip
    with open(folder / "results.csv", encoding="utf-8") as f:
        rows = [{k.strip(): float(v) for k, v in row.items()} for row in csv.DictReader(f)]
    assert len(rows) == 2 and {"train/box_loss", "val/dfl_loss", "metrics/mAP50-95(B)"} <= set(rows[0])
    assert all(math.isfinite(v) for row in rows for v in row.values())

    again = YOLO(folder / "weights" / "best.pt")
    assert again.task == "obb" and again.names == {0: "red", 1: "green"}
    metrics = again.val(data=str(data), **FAST, save_json=True, save_txt=True, conf=0.0, max_det=5, name="v")
    assert metrics.task == "obb" and 0 <= metrics.box.map <= 1
    found = json.loads(next(work_dir.glob("runs/**/predictions.json")).read_text())
    assert 0 < len(found) <= 20 and all(len(row["rbox"]) == 5 and len(row["poly"]) == 8 for row in found)
    label = next(work_dir.glob("runs/**/labels/0.txt")).read_text().splitlines()
    assert 0 < len(label) <= 5 and len(label[0].split()) == 9

    image = paint(10_000, 1)[0]
    result = again.predict(image, imgsz=64, conf=0.0, max_det=5, verbose=False)[0]
    assert isinstance(again.predictor, OBBPredictor)
    assert result.boxes is None and 0 < len(result) <= 5
    assert result.obb.data.shape[1] == 7 and result.obb.xyxyxyxy.shape[1:] == (4, 2)
    assert bool((result.obb.xywhr[:, 2] >= result.obb.xywhr[:, 3]).all())
    assert result.plot().shape == image.shape


def test_resume_goes_on_where_it_stopped(tiny, data):
    class Interrupted(Exception):
        pass

    def interrupt(trainer):
        if trainer.epoch == 0:
            raise Interrupted

    args = {**FAST, "model": tiny, "data": str(data), "epochs": 2, "project": "runs", "name": "a"}
    whole = OBBTrainer(overrides=args)
    whole.final_eval = lambda: None
    whole.train()
    cut = OBBTrainer(overrides={**args, "name": "b"})
    cut.add_callback("on_fit_epoch_end", interrupt)
    with pytest.raises(Interrupted):
        cut.train()
    rest = OBBTrainer(overrides={"resume": str(cut.last)})
    rest.final_eval = lambda: None
    rest.train()
    assert rest.epoch == 1 and rest.args.task == "obb"
    for (name, a), b in zip(whole.model.state_dict().items(), rest.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_a_perfect_model_is_told(tiny, data, work_dir, monkeypatch):
    """What the head gives is the labels: all metrics are 1, and predictions lie on the painted rectangles."""
    validator = OBBValidator(args={**FAST, "model": tiny, "data": str(data), "imgsz": 128, "plots": True})
    batches = []
    preprocess = validator.preprocess

    def remember(batch):
        batches.append(preprocess(batch))
        return batches[-1]

    def forward(im, **kwargs):
        h, w = im.shape[2:]
        batch, rows = batches[-1], []
        for i in range(len(im)):
            mine = batch["batch_idx"] == i
            boxes = batch["bboxes"][mine] * torch.tensor((w, h, w, h, 1))
            rows.append(perfect(boxes, batch["cls"][mine][:, 0], (h, w)))
        most = max(r.shape[2] for r in rows)
        return torch.cat([torch.nn.functional.pad(r, (0, most - r.shape[2])) for r in rows])

    model = YOLO(tiny).model
    model.names = dict(enumerate(COLOURS))
    monkeypatch.setattr(validator, "preprocess", remember)
    monkeypatch.setattr("ultralytics.nn.autobackend.AutoBackend.forward", lambda self, im, **k: forward(im))
    stats = validator(model=model)
    assert stats["metrics/mAP50(B)"] == pytest.approx(0.995, abs=0.005)
    assert stats["metrics/mAP50-95(B)"] > 0.9
    assert validator.confusion_matrix.matrix[:2, :2].sum() == 4  # four objects in the four images
    assert not validator.confusion_matrix.matrix[2].any() and not validator.confusion_matrix.matrix[:, 2].any()


# Learning -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_overfits_one_image(tiny):
    """The loss of one batch falls to a small part of what it was, and the box is found."""
    torch.manual_seed(0)
    img, cls, boxes = paint(3, 2)
    model = YOLO(tiny).model.train()
    h, w = SIZE
    batch = {
        "img": torch.from_numpy(img[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255,
        "batch_idx": torch.zeros(2),
        "cls": torch.from_numpy(cls).float()[:, None],
        "bboxes": torch.from_numpy(boxes / (w, h, w, h, 1)).float(),
    }
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.01), []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for _ in range(200):
        loss = model(batch)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    model.names = dict(enumerate(COLOURS))
    predictor = OBBPredictor(overrides={"imgsz": [96, 128], "device": "cpu", "verbose": False, "save": False})
    predictor.setup_model(model, verbose=False)
    found = predictor(img)[0].obb
    iou = batch_probiou(torch.from_numpy(boxes).float(), found.xywhr)
    best, which = iou.max(1)
    assert bool((best > 0.6).all())
    assert found.cls[which].tolist() == cls.tolist()
