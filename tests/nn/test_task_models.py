"""Models of the tasks beside detection: arguments of their own, weight files, fusing, and the rule for their heads."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from zoo import CLASSES, build

from fill import fill, image
from ultralytics.nn.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    PoseModel,
    SegmentationModel,
    build_from_checkpoint,
    describe,
    guess_model_task,
    yaml_model_load,
)


@pytest.mark.parametrize("suffix", CLASSES)
@pytest.mark.parametrize("family", ["yolo11n", "yolov8n", "yolo11n-GhostConv"])
def test_task_is_known_by_model_yaml_and_name(family, suffix):
    task = CLASSES[suffix].task
    assert guess_model_task(yaml_model_load(f"{family}-{suffix}.yaml")) == task
    assert guess_model_task(f"runs/{family}-{suffix}.pt") == task
    assert guess_model_task(CLASSES[suffix](f"{family}-{suffix}.yaml", nc=2, verbose=False)) == task


def test_task_of_a_ghostnet():
    assert guess_model_task(yaml_model_load("ghostnetv2s-cls.yaml")) == "classify"


@pytest.mark.parametrize("name", ["yolo11n-seg", "yolo11n-pose", "yolov8n-obb", "yolov8n-cls", "ghostnetv1n-cls"])
def test_weight_file_builds_the_same_again(tmp_path, name):
    model = fill(build(name, nc=2)).eval()
    model.names = {0: "a", 1: "b"}
    save_checkpoint(tmp_path / "w.pt", describe(model))
    again = build_from_checkpoint(load_checkpoint(tmp_path / "w.pt")).eval()
    assert type(again) is type(model) and again.names == model.names
    with torch.no_grad():
        a, b = (m(image(1, 64, 64)) for m in (model, again))
    assert torch.equal(*((y if isinstance(y, torch.Tensor) else y[0]) for y in (a, b)))


@pytest.mark.parametrize("name", ["yolo11n-seg", "yolov8n-pose", "yolo11n-obb", "yolo11n-cls"])
def test_import_of_a_pickled_model(tmp_path, name):
    """Files of 8.x hold the model itself, under these class names, and its task at times by its head alone."""
    model = fill(build(name, nc=2)).eval()
    torch.save({"model": model, "train_args": {}}, tmp_path / "8x.pt")
    ckpt = load_checkpoint(tmp_path / "8x.pt")
    assert (ckpt["source"], ckpt["task"], ckpt["nc"]) == ("ultralytics", model.task, 2)
    again = build_from_checkpoint(ckpt).eval()
    with torch.no_grad():
        a, b = (m(image(1, 64, 64)) for m in (model, again))
    assert torch.equal(*((y if isinstance(y, torch.Tensor) else y[0]) for y in (a, b)))


def test_key_points_of_the_data(caplog):
    model = PoseModel("yolo11n-pose.yaml", nc=1, data_kpt_shape=(4, 2), verbose=True)
    assert "kpt_shape=[4, 2]" in caplog.text
    assert model.yaml["kpt_shape"] == [4, 2] and model.model[-1].nk == 8
    assert model.eval()(torch.zeros(1, 3, 64, 64))[0].shape == (1, 4 + 1 + 8, 84)
    again = build_from_checkpoint({**describe(model), "args": {}})
    assert again.model[-1].kpt_shape == [4, 2]
    d = yaml_model_load("yolo11n-pose.yaml")
    assert PoseModel(d, data_kpt_shape=(5, 3), verbose=False).model[-1].nk == 15
    assert d["kpt_shape"] == [17, 3]  # the caller's is not changed


def test_key_points_in_pixels():
    model = build("yolo11n-pose", nc=1, data_kpt_shape=(1, 3)).eval()
    head = model.model[-1]
    for branch in head.cv4:
        nn.init.zeros_(branch[-1].weight)
        nn.init.zeros_(branch[-1].bias)
    y = model(torch.zeros(1, 3, 64, 64))[0]
    assert y[0, 5:, 0].tolist() == [0.0, 0.0, 0.5]  # a cell's corner: anchor 0.5 less 0.5, times its stride
    assert y[0, 5:, 9].tolist() == [8.0, 8.0, 0.5]


@pytest.mark.parametrize(("logit", "angle"), [(-100.0, -math.pi / 4), (0.0, math.pi / 4), (100.0, 3 * math.pi / 4)])
def test_range_of_angles(logit, angle):
    model = build("yolo11n-obb", nc=1).eval()
    for branch in model.model[-1].cv4:
        nn.init.zeros_(branch[-1].weight)
        nn.init.constant_(branch[-1].bias, logit)
    y = model(torch.zeros(1, 3, 64, 64))[0]
    assert y.shape == (1, 6, 84)
    torch.testing.assert_close(y[0, 5], torch.full((84,), angle))


def test_classifier_learns_from_logits_and_is_judged_by_probabilities():
    model = fill(build("yolo11n-cls", nc=3)).eval()
    batch = {"img": image(2, 64, 64), "cls": torch.tensor([0, 2])}
    with torch.no_grad():
        loss, _ = model(batch)
        logits = model.predict(batch["img"]).log()
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, batch["cls"]))
    sure = torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    assert model.loss(batch, sure)[0].isfinite()  # a probability of 0 for the truth


def test_classifier_of_other_classes():
    model = build("yolo11n-cls", nc=3)
    ClassificationModel.reshape_outputs(model, 7)
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    other = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.Flatten())
    ClassificationModel.reshape_outputs(other, 2)
    assert other(torch.zeros(1, 3, 4, 4)).shape == (1, 32)


def test_users_own_blocks_of_yolo8_get_its_head(tmp_path):
    """A head is YOLO11's when a C3k2 stands in the YAML, wherever it stands; nothing else says so."""
    text = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [16, 3, 2]]\n  - [-1, 1, {}, [16]]\n"
    text += "head:\n  - [[1], 1, Segment, [nc, 8, 16]]\n"
    for block, plain in (("C2f", True), ("C3k2", False), ("C3Ghost", True)):
        (tmp_path / "own.yaml").write_text(text.format(block))
        head = SegmentationModel(tmp_path / "own.yaml", verbose=False).model[-1]
        assert (type(head.cv3[0][0]) is Conv) is plain
        assert (head.nm, head.npr) == (8, 16)


@pytest.mark.parametrize("name", ["yolo11n-GhostNetV2-seg", "yolov8n-ghost-p2", "yolov8n-obb"])
def test_one_step_in_bfloat16_reaches_every_weight(name):
    model = build(name, nc=2).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, pose=12.0, kobj=1.0, overlap_mask=True)
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.2]])[:, : 5 if model.task == "obb" else 4]
    batch = {"img": image(2, 64, 64), "batch_idx": torch.zeros(1), "cls": torch.ones(1, 1), "bboxes": boxes}
    batch["masks"] = torch.ones(2, 16, 16, dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = model(batch)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_detection_with_a_head_of_another_task_finds_its_strides():
    assert DetectionModel("yolo11n-seg.yaml", verbose=False).stride.tolist() == [8, 16, 32]
