"""A head that needs no suppression: what it gives, learns, and predicts, and how the tools take it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import FAST, LAYERS

from fill import fill, image
from ultralytics import YOLO
from ultralytics.engine.exporter import Exporter, export
from ultralytics.lab.explain import Explainer
from ultralytics.nn.modules import Detect, v10Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import E2EDetectLoss
from ultralytics.utils.metrics import box_iou
from ultralytics.utils.ops import non_max_suppression


@pytest.fixture
def yaml(tmp_path: Path) -> str:
    """The tiny detector of the tests with YOLOv10's head."""
    file = tmp_path / "tiny10.yaml"
    file.write_text(LAYERS.replace("Detect", "v10Detect"), encoding="utf-8")
    return str(file)


@pytest.fixture
def model(yaml: str) -> DetectionModel:
    torch.manual_seed(0)
    return fill(DetectionModel(yaml, verbose=False)).eval()


def test_rows_are_the_highest_scores_of_all_boxes_and_classes():
    preds = torch.rand(2, 50, 4 + 3, generator=torch.Generator().manual_seed(0))
    rows = Detect.postprocess(preds, 20, 3)
    for each, found in zip(preds, rows):
        scores, index = each[:, 4:].flatten().topk(20)
        torch.testing.assert_close(found[:, 4], scores)
        torch.testing.assert_close(found[:, 5], (index % 3).float())
        torch.testing.assert_close(found[:, :4], each[index // 3, :4])
    assert Detect.postprocess(preds, 300, 3).shape == (2, 50, 6)


def test_outputs(model):
    x = image(2, 64, 96)
    with torch.no_grad():
        rows, maps = model(x)
        raw = model.train()(x)
    assert model.end2end and model.stride.tolist() == [8, 16, 32]
    assert rows.shape == (2, 126, 6) and (rows[:, 1:, 4] <= rows[:, :-1, 4]).all()
    assert (rows[..., 2:4] > rows[..., :2]).all()
    assert maps.keys() == raw.keys() == {"one2many", "one2one"}
    assert [m.shape for m in raw["one2one"]] == [m.shape for m in raw["one2many"]] == [m.shape for m in maps["one2one"]]


def test_one_branch_alone_teaches_the_backbone(model):
    raw = model.train()(image(2, 64, 96))
    sum(m.sum() for m in raw["one2one"]).backward()
    assert all(p.grad is None for m in model.model[:-1] for p in m.parameters())
    assert all(p.grad is not None for p in model.model[-1].one2one_cv2.parameters())


def test_a_head_of_ones_own():
    class Own(Detect):
        end2end, max_det = True, 7

    head = Own(2, (8, 16), legacy=True).eval()
    head.stride.copy_(torch.tensor([8.0, 16.0]))
    head.bias_init()
    assert head.one2one_cv3[0][-1].bias[0] == head.cv3[0][-1].bias[0] < -5
    assert head([torch.rand(1, 8, 4, 4), torch.rand(1, 16, 2, 2)])[0].shape == (1, 7, 6)


def scene() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Two gray images with coloured rectangles, and their labels."""
    objects = torch.tensor([[0, 0, 0.3, 0.4, 0.3, 0.4], [0, 1, 0.7, 0.6, 0.4, 0.3], [1, 1, 0.5, 0.5, 0.6, 0.5]])
    images = torch.full((2, 3, 64, 64), 0.45)
    for i, cls, x, y, w, h in objects.tolist():
        left, top, right, bottom = (round(64 * v) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        images[int(i), int(cls), top:bottom, left:right] = 1.0
    return images, {"img": images, "batch_idx": objects[:, 0], "cls": objects[:, 1:2], "bboxes": objects[:, 2:]}


@pytest.mark.slow
def test_learns_one_box_for_each_object(yaml):
    torch.manual_seed(0)
    model = DetectionModel(yaml, verbose=False).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    images, batch = scene()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(150):
        loss, items = model(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert isinstance(model.criterion, E2EDetectLoss) and items.shape == (3,)
    with torch.no_grad():
        found = non_max_suppression(model.eval()(images), 0.25, end2end=True)
    for i, rows in enumerate(found):
        mine = batch["batch_idx"] == i
        assert len(rows) == mine.sum()  # of many positions in each object one alone speaks
        xywh = batch["bboxes"][mine] * 64
        true = torch.cat((xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2), 1)
        overlap, which = box_iou(true, rows[:, :4]).max(1)
        assert (overlap > 0.7).all() and torch.equal(rows[which, 5], batch["cls"][mine, 0])


def test_trains_validates_and_predicts(yaml, tiny_data, work_dir):
    model = YOLO(yaml)
    model.train(data=str(tiny_data), epochs=1, **FAST)
    metrics = model.val(data=str(tiny_data), **FAST)
    assert metrics.box.map >= 0
    again = YOLO("runs/detect/train/weights/best.pt")
    assert type(again.model.model[-1]) is v10Detect
    result = again.predict(np.zeros((64, 96, 3), np.uint8), conf=0.0, max_det=5, imgsz=64, verbose=False)[0]
    assert len(result.boxes) == 5
    assert again.predictor.model.end2end


@pytest.mark.parametrize("form", ["torchscript", *(pytest.param(f, marks=pytest.mark.slow) for f in ("onnx", "rknn"))])
def test_a_file_finds_the_same(model, form, tmp_path):
    pytest.importorskip("onnx" if form != "torchscript" else "torch")
    pytest.importorskip("onnxruntime" if form != "torchscript" else "torch")
    suffix = {"torchscript": ".torchscript", "onnx": ".onnx", "rknn": "_rknn_model"}[form]
    file, parity = export(model, form, tmp_path / f"m{suffix}", [64, 96])
    assert parity.holds
    pixels = np.ascontiguousarray((image(1, 64, 96, seed=1)[0].permute(1, 2, 0) * 255).byte().numpy())
    wanted, got = (
        YOLO(m, task="detect").predict(pixels, imgsz=[64, 96], conf=0.001, verbose=False)[0].boxes.data
        for m in (save(model, tmp_path), str(file))
    )
    assert len(wanted) > 10
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-2)


def save(model: DetectionModel, folder: Path) -> str:
    from ultralytics.nn.checkpoint import save_checkpoint
    from ultralytics.nn.tasks import describe

    save_checkpoint(folder / "m.pt", describe(model))
    return str(folder / "m.pt")


def test_nms_is_refused(model):
    with pytest.raises(ConfigError, match="gives each object once"):
        Exporter(overrides={"format": "onnx", "nms": True, "imgsz": 64})(model)


def test_augmented_prediction_is_a_plain_one(model, log):
    x = image(1, 64, 64)
    assert torch.equal(model(x, augment=True)[0], model(x)[0])
    assert "models with NMS" in log[0]


def test_what_a_box_was_seen_by(model, tmp_path):
    pixels = np.ascontiguousarray((image(1, 64, 64)[0].permute(1, 2, 0) * 255).byte().numpy())
    found = Explainer(save(model, tmp_path), "layercam", imgsz=64, conf=0.001).explain("a.jpg", [pixels])
    assert len(found.result.boxes) and any(heat.any() for heat in found.heat.values())


def test_classes_are_transferred_by_name_in_both_branches(yaml):
    a, b = (DetectionModel(yaml, nc=n, verbose=False) for n in (2, 3))
    a.names, b.names = {0: "cat", 1: "dog"}, {0: "dog", 1: "bird", 2: "cat"}
    before = b.model[-1].one2one_cv3[0][-1].bias[1].item()
    b.load(fill(a), verbose=False)
    for branch in ("cv3", "one2one_cv3"):
        mine, theirs = (getattr(m.model[-1], branch)[0][-1].bias for m in (b, a))
        assert mine[0] == theirs[1] and mine[2] == theirs[0]
    assert b.model[-1].one2one_cv3[0][-1].bias[1].item() == before
