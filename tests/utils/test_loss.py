"""The detection loss: reference figures of three models, empty images, precision, and gradients."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fill import fill, image
from ultralytics.utils.loss import BboxLoss, DFLoss, v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner, dist2bbox, make_anchors

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = json.loads((REFERENCE / "loss.json").read_text())


def targets():
    with np.load(REFERENCE / "loss_targets.npz") as data:
        return {k.split("/")[1]: torch.from_numpy(data[k]) for k in data if k.startswith("detect/")}


@pytest.mark.parametrize("name", ["yolo11n", "yolo11m", "yolo11n-GhostConv"])
def test_reference(name):
    from ultralytics.nn.tasks import DetectionModel

    model = fill(DetectionModel(f"{name}.yaml", verbose=False)).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    loss, items = v8DetectionLoss(model)(model(image(3, 128, 96, seed=3)), targets())
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    wanted = FIGURES[name]
    np.testing.assert_allclose(loss.item(), wanted["loss"], rtol=1e-4)
    np.testing.assert_allclose(items.numpy(), wanted["items"], rtol=1e-4)
    np.testing.assert_allclose(norm.item(), wanted["grad_norm"], rtol=1e-4)


def criterion(nc=3, reg_max=16):
    head = SimpleNamespace(nc=nc, reg_max=reg_max, no=nc + 4 * reg_max, stride=torch.tensor([8.0, 16.0]))
    return v8DetectionLoss(SimpleNamespace(args=SimpleNamespace(box=7.5, cls=0.5, dfl=1.5), model=[head]))


def maps(batch=2, nc=3, reg_max=16, seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = ((8, 6), (4, 3))
    return [torch.randn(batch, nc + 4 * reg_max, *s, generator=rng).requires_grad_() for s in shapes]


def objects(*rows):
    """Make a batch of rows (image, class, x, y, w, h)."""
    rows = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    return {"batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}


TWO = objects((0, 2, 0.5, 0.5, 0.5, 0.4), (0, 0, 0.3, 0.3, 0.4, 0.5))


def test_equals_dense_form():
    """The class loss is binary cross-entropy with target scores for all anchors and classes."""
    loss, preds = criterion(), maps()
    _, items = loss(preds, TWO)
    dist, logits = torch.cat([p.flatten(2) for p in preds], 2).split((64, 3), 1)
    points, strides = make_anchors(preds, [8, 16])
    steps = torch.arange(16.0).view(1, 1, 16, 1)
    boxes = dist2bbox((dist.view(2, 4, 16, -1).softmax(2) * steps).sum(2), points.T[None], xywh=False, dim=1)
    gt = torch.zeros(2, 2, 4)
    gt[0] = torch.tensor([[0.25, 0.3, 0.75, 0.7], [0.1, 0.05, 0.5, 0.55]]) * torch.tensor([48.0, 64, 48, 64])
    labels, mask = torch.tensor([[[2], [0]], [[0], [0]]]), torch.tensor([[[1], [1]], [[0], [0]]])
    assigner = TaskAlignedAssigner(topk=10, num_classes=3, alpha=0.5, beta=6.0)
    scores, boxes = logits.sigmoid().mT, boxes.mT * strides
    target = assigner(scores.detach(), boxes.detach(), points * strides, labels, gt, mask)[2]
    assert target.any()
    wanted = F.binary_cross_entropy_with_logits(logits.mT, target, reduction="sum") / max(target.sum(), 1) * 0.5
    torch.testing.assert_close(items[1], wanted.detach())


def test_tuple_of_eval_mode_and_flat_classes():
    loss, preds = criterion(), maps()
    flat = {**TWO, "cls": TWO["cls"].view(-1)}
    assert torch.equal(loss(preds, TWO)[1], loss((torch.zeros(1), preds), flat)[1])


def test_memory_format_does_not_matter():
    loss, preds = criterion(), maps()
    last = [p.contiguous(memory_format=torch.channels_last) for p in preds]
    torch.testing.assert_close(loss(preds, TWO)[1], loss(last, TWO)[1])


def test_order_of_labels_does_not_matter():
    batch = objects((1, 1, 0.6, 0.4, 0.3, 0.3), (0, 2, 0.5, 0.5, 0.5, 0.4), (1, 0, 0.3, 0.7, 0.4, 0.5))
    turned = {k: v.flip(0) for k, v in batch.items()}
    loss, preds = criterion(), maps()
    torch.testing.assert_close(loss(preds, batch)[1], loss(preds, turned)[1])


def test_batch_without_objects():
    loss, preds = criterion(), maps()
    total, items = loss(preds, objects())
    total.backward()
    assert items[0] == items[2] == 0
    assert items[1] > 0
    for p in preds:  # classes learn that nothing is there; boxes get a gradient, and it is 0
        assert (p.grad[:, 64:] > 0).all()
        assert not p.grad[:, :64].any()


def test_image_without_objects_adds_its_classes_alone():
    loss, preds = criterion(), maps()
    loss(preds, TWO)[0].backward()
    assert all(p.grad[0, :64].any() for p in preds)
    assert not any(p.grad[1, :64].any() for p in preds)
    assert all((p.grad[1, 64:] > 0).all() for p in preds)


def test_objects_that_no_anchor_can_learn():
    total, items = criterion()(maps(), objects((0, 1, 0.5, 0.5, 0.0, 0.0), (1, 0, 0.5, 0.5, 1e-4, 1e-4)))
    assert torch.isfinite(total)
    assert items[0] == 0


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_low_precision_maps(dtype):
    preds = maps()
    low = [p.detach().to(dtype).requires_grad_() for p in preds]
    loss = criterion()
    total, items = loss(low, TWO)
    torch.testing.assert_close(items, loss([p.detach().float() for p in low], TWO)[1])
    assert items.dtype == torch.float32
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in low)


def test_autocast_changes_nothing():
    loss, preds = criterion(), maps()
    _, wanted = loss(preds, TWO)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, items = loss(preds, TWO)
    torch.testing.assert_close(items, wanted)


def test_wide_logits_stay_finite():
    preds = [(p.detach() * 1000).requires_grad_() for p in maps()]
    total, _ = criterion()(preds, TWO)
    total.backward()
    assert torch.isfinite(total)
    assert all(torch.isfinite(p.grad).all() for p in preds)


def test_without_distribution():
    """A head with reg_max 1 tells distances outright and has no distribution loss."""
    total, items = criterion(reg_max=1)([p.detach().abs() * 3 for p in maps(reg_max=1)], TWO)
    assert torch.isfinite(total)
    assert items[0] > 0
    assert items[2] == 0


def test_dfl_is_least_at_the_target():
    target = torch.tensor([[3.25, 0.0, 14.99, 7.5]])
    sure = torch.full((1, 4, 16), -20.0)
    for side, d in enumerate(target[0].tolist()):
        sure[0, side, int(d)] = np.log(1 - d % 1 + 1e-9)
        sure[0, side, int(d) + 1] = np.log(d % 1 + 1e-9)
    dfl = DFLoss(16)
    entropy = dfl(sure.view(1, 64), target)
    assert entropy < dfl(torch.zeros(1, 64), target)
    assert entropy < dfl(sure.view(1, 64), target + torch.tensor([[1.0, 1, 0, 0]]))
    shares = [0.25, 0.0, 0.99, 0.5]
    wanted = -sum(w * np.log(w) for s in shares for w in (s, 1 - s) if w) / 4
    assert entropy.item() == pytest.approx(wanted, abs=1e-3)


def test_box_loss_of_a_perfect_box_is_zero():
    points, box = torch.tensor([[5.0, 5.0]]), torch.tensor([[3.0, 3.0, 7.0, 7.0]])
    iou, _ = BboxLoss(16).of_positives(torch.zeros(1, 64), box, points, box, torch.ones(1, 1))
    assert iou.item() == pytest.approx(0, abs=1e-6)


def test_training_on_one_batch_lowers_the_loss():
    loss, preds = criterion(), maps()
    optimizer = torch.optim.Adam(preds, lr=0.1)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        total, items = loss(preds, TWO)
        total.backward()
        optimizer.step()
        history.append(items)
    assert history[-1][0] < history[0][0] / 2
    assert history[-1][1] < history[0][1] / 2
