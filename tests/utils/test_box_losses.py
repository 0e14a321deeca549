"""Box losses by name: values by hand, limits, gradients, and losses of users' own."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import FAST, tiny_model

from ultralytics import YOLO
from ultralytics.nn import own_modules
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import BOX_LOSSES, BboxLoss, register_box_loss, v8DetectionLoss, v8OBBLoss
from ultralytics.utils.losses.boxes import find_box_loss

IMGSZ = (100.0, 50.0)
TARGET = torch.tensor([[10.0, 10.0, 30.0, 20.0]])  # 20 x 10, center 20, 15
MOVED = TARGET + torch.tensor([[6.0, 2.0, 6.0, 2.0]])  # overlap 14 x 8 = 112 of 288, in a box of 26 x 12
WIDE = torch.tensor([[5.0, 10.0, 35.0, 20.0]])  # 30 x 10 around the same center
FAR = TARGET + torch.tensor([[60.0, 20.0, 60.0, 20.0]])
IOU = 112 / 288
ANGLE = 2 * 6 * 2 / (6**2 + 2**2)
DISTANCE = sum(1 - math.exp(-(2 - ANGLE) * r**2) for r in (6 / 26, 2 / 12))
ASPECT = 4 / math.pi**2 * (math.atan(2) - math.atan(3)) ** 2
INNER = 9 * 5.5 / (2 * 15 * 7.5 - 9 * 5.5)  # boxes of 15 x 7.5, as far apart

BY_HAND = {
    ("giou", "moved"): 1 - IOU + (26 * 12 - 288) / (26 * 12),
    ("diou", "moved"): 1 - IOU + (6**2 + 2**2) / (26**2 + 12**2),
    ("ciou", "moved"): 1 - IOU + (6**2 + 2**2) / (26**2 + 12**2),
    ("ciou", "wide"): 1 - 2 / 3 + ASPECT**2 / (ASPECT + 1 - 2 / 3),
    ("siou", "moved"): 1 - IOU + DISTANCE / 2,
    ("siou", "wide"): 1 - 2 / 3 + (1 - math.exp(-10 / 30)) ** 4 / 2,
    ("wiou", "moved"): math.exp((6**2 + 2**2) / (26**2 + 12**2)) * (1 - IOU),
    ("wiou", "wide"): 1 - 2 / 3,
    ("mpdiou", "moved"): 1 - IOU + 2 * (6**2 + 2**2) / (100**2 + 50**2),
    ("mpdiou", "wide"): 1 - 2 / 3 + 2 * 5**2 / (100**2 + 50**2),
    ("inner-ciou", "moved"): 1 - IOU + (6**2 + 2**2) / (26**2 + 12**2) + IOU - INNER,
    ("nwd", "moved"): 1 - math.exp(-math.sqrt(6**2 + 2**2) / 12.8),
    ("nwd", "wide"): 1 - math.exp(-5 / 12.8),
}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_modules, "LOADED", {})
    before = dict(BOX_LOSSES)
    yield
    BOX_LOSSES.clear()
    BOX_LOSSES.update(before)


@pytest.mark.parametrize("case", BY_HAND, ids="-".join)
def test_by_hand(case):
    pred = {"moved": MOVED, "wide": WIDE}[case[1]]
    assert BOX_LOSSES[case[0]](pred, TARGET, IMGSZ).item() == pytest.approx(BY_HAND[case], rel=1e-5)


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_limits_and_gradients(name):
    """0 where boxes are equal, greater the farther they are, with a gradient to the target also without overlap."""
    loss = BOX_LOSSES[name]
    boxes = torch.cat((TARGET, MOVED, WIDE, FAR)).requires_grad_()
    values = loss(boxes, TARGET.expand(4, 4), IMGSZ)
    assert values.numel() == 4
    equal, moved, wide, far = values.view(-1).tolist()
    assert equal == pytest.approx(0, abs=1e-4) and 0 < moved < far and wide > 0
    values.sum().backward()
    assert boxes.grad.isfinite().all() and all(g.any() for g in boxes.grad[1:])
    box = FAR.clone().requires_grad_()
    optimizer = torch.optim.SGD([box], lr=50.0)
    for _ in range(3):
        optimizer.zero_grad()
        before = loss(box, TARGET, IMGSZ).sum()
        before.backward()
        box.grad *= 0.5 / box.grad.abs().max().clamp(1e-12) / 50
        optimizer.step()
    assert loss(box, TARGET, IMGSZ).sum() < before
    empty = loss(boxes[:0], TARGET[:0], IMGSZ)
    assert empty.sum() == 0


@pytest.mark.parametrize("name", ["giou", "siou", "mpdiou", "nwd"])
def test_degenerate_boxes_stay_finite(name):
    flat = torch.tensor([[10.0, 10.0, 10.0, 20.0], [5.0, 5.0, 5.0, 5.0]]).requires_grad_()
    BOX_LOSSES[name](flat, TARGET.expand(2, 4), IMGSZ).sum().backward()
    assert flat.grad.isfinite().all()


def criterion(kind=v8DetectionLoss, **settings):
    head = SimpleNamespace(nc=3, reg_max=16, no=67, stride=torch.tensor([8.0, 16.0]))
    args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, **settings)
    return kind(SimpleNamespace(args=args, model=[head]))


def batch():
    rng = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 67, *s, generator=rng) for s in ((8, 6), (4, 3))]
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.4], [0.3, 0.3, 0.4, 0.5]])
    return maps, {"batch_idx": torch.tensor([0.0, 1.0]), "cls": torch.tensor([2.0, 0.0]), "bboxes": boxes}


def test_the_setting_chooses_and_the_default_is_as_ever():
    preds, objects = batch()
    items = {name: criterion(box_loss=name)(preds, objects)[1] for name in BOX_LOSSES}
    assert torch.equal(items["ciou"], criterion()(preds, objects)[1])
    nested = {"inner-ciou"}  # equals CIoU where one box lies inside the other
    assert len({float(v[0]) for name, v in items.items() if name not in nested}) == len(BOX_LOSSES) - 1
    assert all(torch.equal(v[1:], items["ciou"][1:]) for v in items.values())


def test_pixels_and_not_strides_count():
    """Boxes of both maps, and the images' size, come in pixels; the way of tutorials gives the same."""
    seen = []

    def spy(pred, target, imgsz):
        seen.append((target, imgsz))
        return BOX_LOSSES["mpdiou"](pred, target, imgsz)

    class Other(v8DetectionLoss):
        def preprocess(self, *args, **kwargs):
            return super().preprocess(*args, **kwargs)

    preds, objects = batch()
    BOX_LOSSES["spy"] = spy
    try:
        fast, slow = (criterion(kind, box_loss="spy")(preds, objects)[1] for kind in (v8DetectionLoss, Other))
    finally:
        del BOX_LOSSES["spy"]
    torch.testing.assert_close(fast, slow)
    target, imgsz = seen[0]
    assert imgsz == (48.0, 64.0)
    wanted = {(12.0, 19.2, 36.0, 44.8), (4.8, 3.2, 24.0, 35.2)}
    assert {tuple(round(x, 3) for x in row) for row in target.tolist()} <= wanted
    with pytest.raises(ConfigError, match="box_loss=nwd counts in pixels"):
        BboxLoss(16, "nwd").each(TARGET, TARGET, None)


def test_own_losses(clean, caplog):
    @register_box_loss
    def corner_distance(pred, target, imgsz):
        return (pred - target).abs().mean(1)

    register_box_loss(lambda pred, target, imgsz: (pred - target).abs().mean(), name="mean")
    preds, objects = batch()
    assert criterion(box_loss="corner-distance")(preds, objects)[1][0] > 0
    with pytest.raises(ConfigError, match=r"box_loss=mean gave a tensor of shape \(\).*each pair"):
        criterion(box_loss="mean")(preds, objects)
    with pytest.raises(ConfigError, match=r"box_loss=corner-distanc is not known\. Choose ciou, .*'corner-distance'"):
        find_box_loss("corner-distanc")
    register_box_loss(corner_distance, name="nwd")
    assert "box_loss=nwd is now the function 'corner_distance'" in caplog.text


def test_rotated_boxes_say_that_it_is_not_for_them(caplog):
    criterion(v8OBBLoss, box_loss="nwd")
    assert "box_loss=nwd is for upright boxes" in caplog.text


FILE = """
from ultralytics.utils.loss import register_box_loss


@register_box_loss(name="own")
def own(pred, target, imgsz):
    return (pred - target).abs().sum(1) / sum(imgsz)
"""


def test_training_with_a_loss_of_a_module_file(clean, work_dir: Path, tiny_data: Path):
    Path("losses.py").write_text(FILE)
    yaml = Path(tiny_model(work_dir))
    with pytest.raises(ConfigError, match="box_loss=own is not known"):
        YOLO(yaml).train(data=str(tiny_data), epochs=1, box_loss="own", **FAST)
    yaml.write_text("modules: [losses.py]\n" + yaml.read_text())
    model = YOLO(yaml, trust_modules=True)
    model.train(data=str(tiny_data), epochs=1, box_loss="own", **FAST)
    assert torch.load(model.trainer.best, weights_only=True)["args"]["box_loss"] == "own"
    assert model.trainer.save_dir.name == "train", "the mistake before made no folder"
