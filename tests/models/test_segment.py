"""Segmentation from end to end on tiny generated sets: training, validation, prediction, resuming, what is saved."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from shapes import FAST, PLAIN, write_data, write_model

from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.segment import SegmentationPredictor, SegmentationTrainer, SegmentationValidator
from ultralytics.models.yolo.segment.predict import masks_of
from ultralytics.utils.geometry.masks import mask2rle

KEYS = [f"metrics/{name}({part})" for part in "BM" for name in ("precision", "recall", "mAP50", "mAP50-95")]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("segment"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """The folder of a run of two epochs, started from the YOLO class."""
    folder = tmp_path_factory.mktemp("run")
    model = YOLO(write_model(folder, "Segment, [nc, 8, 32]"))
    assert model.task == "segment"
    model.train(data=str(data), epochs=2, save_period=1, **{**FAST, "project": str(folder), "name": "a", "plots": True})
    return folder / "a"


def test_training_leaves_what_a_run_leaves(trained):
    rows = [*csv.DictReader(line.replace(" ", "") for line in (trained / "results.csv").open())]
    losses = [f"{part}/{name}_loss" for part in ("train", "val") for name in ("box", "seg", "cls", "dfl")]
    assert len(rows) == 2 and {*losses, *KEYS} <= {*rows[0]}
    assert all(np.isfinite(float(row[name])) for row in rows for name in losses)
    images = ("train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg", "MaskPR_curve.png", "results.png")
    assert all((trained / name).is_file() for name in (*images, "BoxF1_curve.png", "weights/best.pt"))


def test_weights_predict_and_validate(trained, data, tmp_path):
    model = YOLO(trained / "weights/best.pt")
    assert (model.task, model.names) == ("segment", {0: "red", 1: "green"})
    source = data.parent / "images/val/1.png"
    (result,) = model.predict(source, conf=0.0001, imgsz=96, verbose=False)
    assert len(result.masks) == len(result.boxes) > 0
    assert result.masks.shape[1:] == (96, 96) and set(result.masks.data.unique().tolist()) <= {0.0, 1.0}
    result.masks.data[:] = 0  # the user's own
    (result,) = model.predict(source, conf=0.0001, imgsz=96, retina_masks=True, verbose=False)
    assert result.masks.shape[1:] == result.orig_shape == (128, 96)
    (nothing,) = model.predict(source, conf=1.0, imgsz=96, verbose=False)
    assert len(nothing) == 0 and nothing.masks is None

    settings = {"data": str(data), "imgsz": 96, "workers": 0, "device": "cpu", "plots": False}
    metrics = model.val(**settings, save_json=True, save_txt=True, conf=0.0001, max_det=5, project=tmp_path, name="v")
    assert [*metrics.results_dict] == [*KEYS, "fitness"]
    rows = json.loads((tmp_path / "v/predictions.json").read_text())
    shapes = [[96, 128], [128, 96], [64, 80]]
    assert rows and all(row["segmentation"]["size"] == shapes[row["image_id"] % 3] for row in rows)
    assert len([*(tmp_path / "v/labels").glob("*.txt")]) == 5


@pytest.mark.parametrize("overlap", [True, False])
def test_resuming_gives_what_going_on_gives(trained, data, tmp_path, monkeypatch, overlap):
    """One run of two epochs, and one that goes on from the first epoch's checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SegmentationTrainer, "final_eval", lambda self: None)
    args = {**FAST, "model": write_model(tmp_path, "Segment, [nc, 8, 32]"), "data": str(data), "save_period": 1}
    whole = SegmentationTrainer(overrides={**args, "epochs": 2, "overlap_mask": overlap, "name": "whole"})
    whole.train()
    resumed = SegmentationTrainer(overrides={"resume": str(whole.wdir / "epoch1.pt"), "device": "cpu"})
    resumed.train()
    assert resumed.start_epoch == 1 and resumed.args.task == "segment"
    for a, b in zip(whole.ema.ema.state_dict().values(), resumed.ema.ema.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_loss_falls_on_a_few_images(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SegmentationTrainer, "final_eval", lambda self: None)
    losses = []
    trainer = SegmentationTrainer(
        overrides={
            **FAST, **PLAIN, "model": write_model(tmp_path, "Segment, [nc, 8, 32]"), "data": str(data),
            "epochs": 12, "val": False, "optimizer": "AdamW", "lr0": 0.01, "warmup_epochs": 0, "nbs": 4, "save": False,
        }
    )  # fmt: skip
    trainer.add_callback("on_train_epoch_end", lambda t: losses.append(t.tloss.cpu().numpy()))
    trainer.train()
    first, last = np.mean(losses[:2], 0), np.mean(losses[-2:], 0)
    assert (last[:3] < 0.8 * first[:3]).all(), (first, last)  # box, mask and class


def perfect(batch: dict, k: int = 8) -> tuple[torch.Tensor, tuple]:
    """Return what a segmenter without fault would give for a batch: a prototype for each object of an image."""
    b, _, h, w = batch["img"].shape
    preds, protos = torch.zeros(b, 4 + 2 + k, 40), torch.full((b, k, h // 4, w // 4), -1.0)
    for i in range(b):
        mine = (batch["batch_idx"] == i).nonzero()[:, 0]
        for j, at in enumerate(mine):
            preds[i, :4, j] = batch["bboxes"][at] * torch.tensor([w, h, w, h])
            preds[i, 4 + int(batch["cls"][at]), j] = 0.9
            preds[i, 6 + j, j] = 1.0
            protos[i, j][batch["masks"][i] == j + 1] = 1.0
    return preds, ([], preds[:, 6:], protos)


@pytest.fixture
def validator(data, tmp_path):
    args = {"data": str(data), "imgsz": 96, "plots": False, "batch": 5, "save_json": True, "save_txt": True}
    v = SegmentationValidator(save_dir=tmp_path, args=args)
    v.data, v.device, v.half, v.stride = check_det_dataset(str(data)), torch.device("cpu"), False, 32
    v.dataloader = v.get_dataloader(v.data["val"], 5)
    v.init_metrics(SimpleNamespace(names={0: "red", 1: "green"}))
    return v


@pytest.mark.parametrize("spoil", [False, True])
def test_masks_are_judged_by_themselves(validator, data, spoil):
    """Without fault all is right; with empty masks the boxes still are, and the masks are not."""
    for batch in validator.dataloader:
        batch = validator.preprocess(batch)
        preds, raw = perfect(batch)
        raw[-1][:] *= -1.0 if spoil else 1.0
        validator.update_metrics(validator.postprocess((preds, raw)), batch)
    stats = validator.get_stats()
    assert stats["metrics/mAP50-95(B)"] > 0.95
    if spoil:
        assert stats["metrics/mAP50(M)"] == 0
        return
    assert stats["metrics/mAP50(M)"] > 0.99 and stats["metrics/mAP50-95(M)"] > 0.9  # boxes cut pixels of tiny masks
    for row in validator.jdict:  # masks lie where the objects are, on the original images
        label = np.loadtxt(data.parent / f"labels/val/{row['image_id']}.txt", ndmin=2)
        h, w = row["segmentation"]["size"]
        areas = [_area(points.reshape(3, 2) * (w, h)) for points in label[:, 1:]]
        assert min(abs(_pixels(row["segmentation"]) / area - 1) for area in areas) < 0.15


def _area(p: np.ndarray) -> float:
    (ax, ay), (bx, by) = p[1] - p[0], p[2] - p[0]
    return abs(ax * by - ay * bx) / 2


def _runs(text: str) -> list[int]:
    """Read COCO's compressed run lengths."""
    runs, value, shift = [], 0, 0
    for letter in text:
        group = ord(letter) - 48
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (1 << shift) if group & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _pixels(rle: dict) -> int:
    return sum(_runs(rle["counts"])[1::2])


@pytest.mark.parametrize("fill", [0.0, 0.02, 0.5, 1.0])
def test_run_lengths_read_back(fill):
    mask = np.random.default_rng(0).random((37, 53)) < fill
    rle = mask2rle(mask)
    runs = _runs(rle["counts"])
    pixels = np.repeat(np.arange(len(runs)) % 2, runs).reshape(53, 37).T
    assert rle["size"] == [37, 53] and (pixels == mask).all()


def test_run_lengths_are_those_of_coco():
    mask = np.zeros((3, 4), np.uint8)
    mask[1:, 1:3] = 1
    assert mask2rle(mask) == {"size": [3, 4], "counts": "42102"}  # runs 4 2 1 2 3, the last two as differences


def test_predictor_and_validator_share_the_decoding():
    pred = torch.tensor([[0.0, 0.0, 8.0, 16.0, 0.9, 0.0, 1.0, -1.0]])
    protos = torch.zeros(2, 4, 4)
    protos[0] = 1.0
    small = masks_of(pred, protos, (16, 16))
    assert small.shape == (1, 4, 4) and small[0, :, :2].all() and not small[0, :, 2:].any()
    assert masks_of(pred, protos, (16, 16), upsample=True).shape == (1, 16, 16)
    assert SegmentationPredictor.task == "segment"
