"""Pose estimation from end to end on tiny generated sets: training, validation, prediction, resuming, what is saved."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from shapes import FAST, PLAIN, write_data, write_model

from ultralytics import YOLO
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.pose import PosePredictor, PoseTrainer, PoseValidator
from ultralytics.models.yolo.pose.predict import keypoints_of
from ultralytics.utils.errors import DataError
from ultralytics.utils.metrics import OKS_SIGMA

KEYS = [f"metrics/{name}({part})" for part in "BP" for name in ("precision", "recall", "mAP50", "mAP50-95")]
HEAD, SHAPE = "Pose, [nc, kpt_shape]", "kpt_shape: [17, 3]"  # the data have 3 keypoints


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_data(tmp_path_factory.mktemp("pose"), pose=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """The folder of a run of two epochs, started from the YOLO class."""
    folder = tmp_path_factory.mktemp("run")
    model = YOLO(write_model(folder, HEAD, SHAPE))
    assert model.task == "pose" and model.model.kpt_shape == (17, 3)
    model.train(data=str(data), epochs=2, save_period=1, **{**FAST, "project": str(folder), "name": "a", "plots": True})
    return folder / "a"


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Work in an empty folder, and leave out the last validation."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PoseTrainer, "final_eval", lambda self: None)
    return {**FAST, "model": write_model(tmp_path, HEAD, SHAPE)}


def test_training_leaves_what_a_run_leaves(trained):
    rows = [*csv.DictReader(line.replace(" ", "") for line in (trained / "results.csv").open())]
    losses = [f"{part}/{n}_loss" for part in ("train", "val") for n in ("box", "pose", "kobj", "cls", "dfl")]
    assert len(rows) == 2 and {*losses, *KEYS} <= {*rows[0]}
    assert all(np.isfinite(float(row[name])) for row in rows for name in losses)
    images = ("train_batch0.jpg", "val_batch0_labels.jpg", "val_batch0_pred.jpg", "PosePR_curve.png", "results.png")
    assert all((trained / name).is_file() for name in (*images, "BoxF1_curve.png", "weights/best.pt"))


def test_weights_predict_and_validate(trained, data, tmp_path):
    model = YOLO(trained / "weights/best.pt")
    assert (model.task, model.names, model.model.kpt_shape) == ("pose", {0: "red", 1: "green"}, (3, 3))
    source = data.parent / "images/val/1.png"
    (result,) = model.predict(source, conf=0.0001, imgsz=96, verbose=False)
    assert len(result.boxes) > 0 and result.keypoints.shape == (len(result.boxes), 3, 3)
    result.keypoints.data[:] = 0  # the user's own
    (nothing,) = model.predict(source, conf=1.0, imgsz=96, verbose=False)
    assert len(nothing) == 0 and nothing.keypoints.shape == (0, 3, 3)

    settings = {"data": str(data), "imgsz": 96, "workers": 0, "device": "cpu", "plots": False}
    metrics = model.val(**settings, save_json=True, save_txt=True, conf=0.0001, max_det=5, project=tmp_path, name="v")
    assert [*metrics.results_dict] == [*KEYS, "fitness"]
    rows = json.loads((tmp_path / "v/predictions.json").read_text())
    assert rows and all(len(row["keypoints"]) == 9 for row in rows)
    assert all(len(line.split()) == 14 for line in (tmp_path / "v/labels/1.txt").read_text().splitlines())


def test_resuming_gives_what_going_on_gives(data, quick):
    """One run of two epochs, and one that goes on from the first epoch's checkpoint."""
    whole = PoseTrainer(overrides={**quick, "data": str(data), "epochs": 2, "save_period": 1, "name": "whole"})
    whole.train()
    resumed = PoseTrainer(overrides={"resume": str(whole.wdir / "epoch1.pt"), "device": "cpu"})
    resumed.train()
    assert resumed.start_epoch == 1 and resumed.args.task == "pose"
    for a, b in zip(whole.ema.ema.state_dict().values(), resumed.ema.ema.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_loss_falls_on_a_few_images(data, quick):
    losses = []
    trainer = PoseTrainer(
        overrides={
            **quick, **PLAIN, "data": str(data), "epochs": 15, "val": False, "optimizer": "AdamW", "lr0": 0.01,
            "warmup_epochs": 0, "nbs": 4, "save": False,
        }
    )  # fmt: skip
    trainer.add_callback("on_train_epoch_end", lambda t: losses.append(t.tloss.cpu().numpy()))
    trainer.train()
    first, last = np.mean(losses[:2], 0), np.mean(losses[-2:], 0)
    assert (last[:4] < 0.85 * first[:4]).all(), (first, last)  # box, keypoints, visibility and class


def test_key_points_without_visibility(tmp_path, quick):
    """Data and model of x, y alone: trained, validated, predicted."""
    data = write_data(tmp_path / "data", pose=True)
    content = yaml.safe_load(data.read_text()) | {"kpt_shape": [3, 2]}
    data.write_text(yaml.safe_dump(content))
    for label in (tmp_path / "data/labels").rglob("*.txt"):
        rows = np.loadtxt(label, ndmin=2) if label.read_text() else np.zeros((0, 14))
        np.savetxt(label, np.delete(rows, (7, 10, 13), 1), fmt="%.6g")
    trainer = PoseTrainer(overrides={**quick, "data": str(data), "epochs": 1})
    trainer.train()
    assert trainer.ema.ema.kpt_shape == (3, 2)
    (result,) = YOLO(trainer.last).predict(data.parent / "images/val/1.png", conf=0.0001, verbose=False)
    assert result.keypoints.shape[1:] == (3, 2)


def test_data_without_kpt_shape_are_refused(tmp_path, quick):
    data = write_data(tmp_path / "data", pose=True)
    content = yaml.safe_load(data.read_text())
    data.write_text(yaml.safe_dump({k: v for k, v in content.items() if k not in {"kpt_shape", "flip_idx"}}))
    with pytest.raises(DataError, match="kpt_shape"):
        PoseTrainer(overrides={**quick, "data": str(data), "epochs": 1}).train()
    assert not (tmp_path / "runs").exists()


def perfect(batch: dict) -> torch.Tensor:
    """Return what a pose estimator without fault would give for a batch."""
    b, _, h, w = batch["img"].shape
    preds = torch.zeros(b, 4 + 2 + 9, 40)
    for i in range(b):
        for j, at in enumerate((batch["batch_idx"] == i).nonzero()[:, 0]):
            preds[i, :4, j] = batch["bboxes"][at] * torch.tensor([w, h, w, h])
            preds[i, 4 + int(batch["cls"][at]), j] = 0.9
            preds[i, 6:, j] = (batch["keypoints"][at] * torch.tensor([w, h, 0.5])).flatten()
    return preds


def make_validator(data: Path, folder: Path, **args) -> PoseValidator:
    v = PoseValidator(save_dir=folder, args={"data": str(data), "imgsz": 96, "plots": False, "batch": 5, **args})
    v.data, v.device, v.half, v.stride = check_det_dataset(str(data)), torch.device("cpu"), False, 32
    v.dataloader = v.get_dataloader(v.data["val"], 5)
    return v


@pytest.mark.parametrize("spoil", [False, True])
def test_key_points_are_judged_by_themselves(data, tmp_path, spoil):
    """Without fault all is right; with keypoints far away the boxes still are, and the keypoints are not."""
    v = make_validator(data, tmp_path, save_json=True)
    v.init_metrics(SimpleNamespace(names={0: "red", 1: "green"}, kpt_shape=(3, 3)))
    for batch in v.dataloader:
        batch = v.preprocess(batch)
        preds = perfect(batch)
        preds[:, 6:] += 500.0 * spoil
        v.update_metrics(v.postprocess((preds, None)), batch)
    stats = v.get_stats()
    assert stats["metrics/mAP50-95(B)"] > 0.95
    assert stats["metrics/mAP50-95(P)"] == pytest.approx(0.0 if spoil else 0.995, abs=0.001)
    for row in v.jdict if not spoil else ():  # keypoints lie where they are, on the original images
        labels = np.loadtxt(data.parent / f"labels/val/{row['image_id']}.txt", ndmin=2)[:, 5:].reshape(-1, 3, 3)
        h, w = ((96, 128), (128, 96), (64, 80))[row["image_id"] % 3]
        points = np.reshape(row["keypoints"], (3, 3))[:, :2]
        assert min(np.abs(true[:, :2] * (w, h) - points).max() for true in labels) < 0.2  # sides round to pixels


def test_sigmas_and_the_number_of_key_points(data, tmp_path):
    v = make_validator(data, tmp_path)
    model = SimpleNamespace(names={0: "red", 1: "green"}, kpt_shape=(3, 3))
    v.init_metrics(model)
    assert v.sigma.tolist() == pytest.approx([1 / 3] * 3)
    model.kpt_shape = (17, 3)
    with pytest.raises(DataError, match="have 3 keypoints, but the model finds 17"):
        v.init_metrics(model)
    v.data = {}
    v.init_metrics(model)
    assert (v.sigma == OKS_SIGMA).all()


def test_predictor_and_validator_share_the_decoding():
    pred = torch.tensor([[0.0, 0, 8, 16, 0.9, 0, 10, 22, 0.7, 200, 24, 0.1]])
    points = keypoints_of(pred, (2, 3), (64, 64), (32, 64))  # 16 pixels of border above and below
    assert torch.allclose(points, torch.tensor([[[10.0, 6, 0.7], [64, 8, 0.1]]]))
    assert pred[0, 6] == 10 and PosePredictor.task == "pose"
