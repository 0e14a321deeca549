"""Losses changed as tutorials for 8.3.0 do: each change takes effect, and gives the loss that 8.3.0 gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from overrides import CASES, MODELS, figures, predictions
from torch import nn

from ultralytics.utils.loss import (
    BboxLoss,
    FocalLoss,
    VarifocalLoss,
    v8DetectionLoss,
    v8OBBLoss,
    v8PoseLoss,
    v8SegmentationLoss,
)
from ultralytics.utils.metrics import smooth_BCE
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, TaskAlignedAssigner

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = json.loads((REFERENCE / "overrides.json").read_text())


@pytest.fixture(scope="module")
def made():
    return {task: predictions(task) for task in MODELS}


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_8_3_0(made, name):
    task = CASES[name][0]
    model, preds, batch = made[task]
    got = figures(name, made[task])
    np.testing.assert_allclose(got, FIGURES[name], rtol=1e-4)
    stock = MODELS[task][2](model)(preds, batch)[1]
    assert not np.allclose(got[1:3], stock[:2], rtol=2e-3), "the change has an effect"


@pytest.mark.parametrize("task", MODELS)
def test_the_way_of_tutorials_gives_what_the_faster_way_does(made, task):
    kind = MODELS[task][2]
    model, preds, batch = made[task]

    class Other(kind):  # replaces a step by itself
        def preprocess(self, *args, **kwargs):
            return super().preprocess(*args, **kwargs)

    assert kind(model).is_stock() and not Other(model).is_stock()
    torch.testing.assert_close(Other(model)(preds, batch)[1], kind(model)(preds, batch)[1], rtol=1e-5, atol=1e-5)
    empty = {k: v[:0] for k, v in batch.items() if k != "masks"} | {k: v for k, v in batch.items() if k == "masks"}
    torch.testing.assert_close(Other(model)(preds, empty)[1], kind(model)(preds, empty)[1])


def test_gradients_of_both_ways_are_the_same(made):
    model, preds, batch = made["detect"]

    class Other(v8DetectionLoss):
        def bbox_decode(self, *args):
            return super().bbox_decode(*args)

    grads = []
    for kind in (v8DetectionLoss, Other):
        maps = [p.clone().requires_grad_() for p in preds]
        kind(model)(maps, batch)[0].backward()
        grads.append([p.grad for p in maps])
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    maps = [p.clone().requires_grad_() for p in preds]
    Other(model)(maps, {k: v[:0] for k, v in batch.items()})[0].backward()
    assert all(p.grad is not None and not p.grad[:, :64].any() for p in maps)


def test_a_hook_counts_as_a_change(made):
    model, preds, batch = made["detect"]
    seen = []
    criterion = v8DetectionLoss(model)
    criterion.assigner.register_forward_hook(lambda m, args, out: seen.append(out[3].sum()))
    criterion(preds, batch)
    assert seen and seen[0] > 0


def test_attributes_of_8_3_0(made):
    model, *_ = made["detect"]
    loss = v8DetectionLoss(model)
    assert isinstance(loss.bce, nn.BCEWithLogitsLoss) and loss.bce.reduction == "none"
    assert loss.use_dfl and loss.proj.tolist() == [*range(16)] and loss.device == torch.device("cpu")
    assert loss.stride.tolist() == [8, 16, 32] and isinstance(loss.bbox_loss, BboxLoss)
    loss.proj = loss.proj * 0.5
    dist, points = torch.randn(1, 5, 64), torch.rand(5, 2) * 8
    torch.testing.assert_close(
        loss.bbox_decode(points, dist) - points.repeat(1, 2),
        (v8DetectionLoss(model).bbox_decode(points, dist) - points.repeat(1, 2)) / 2,
    )
    assert isinstance(v8OBBLoss(made["obb"][0]).assigner, RotatedTaskAlignedAssigner)
    assert isinstance(v8PoseLoss(made["pose"][0]).bce_pose, nn.BCEWithLogitsLoss)
    assert v8SegmentationLoss(made["segment"][0]).overlap is True


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [TaskAlignedAssigner, RotatedTaskAlignedAssigner])
def test_steps_of_the_assigner_equal_pairs(kind, seed):
    class Stepwise(kind):
        def get_targets(self, *args):
            return super().get_targets(*args)

    rng = torch.Generator().manual_seed(seed)
    n, points = (
        6,
        torch.stack(torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij"), -1).view(-1, 2) + 0.5,
    )
    low = torch.rand(2, n, 2, generator=rng) * 6
    size = 1 + torch.rand(2, n, 2, generator=rng) * 6
    gts = torch.cat((low, low + size), 2)
    if kind is RotatedTaskAlignedAssigner:
        gts = torch.cat((low + size / 2, size, torch.rand(2, n, 1, generator=rng)), 2)
    labels, mask = torch.randint(0, 3, (2, n, 1), generator=rng), torch.ones(2, n, 1)
    mask[1, 4:] = 0
    boxes = gts[:, torch.randint(0, n, (len(points),), generator=rng)] + 0.3 * torch.rand(1, generator=rng)
    scores = torch.rand(2, len(points), 3, generator=rng)
    args = scores, boxes, points, labels, gts, mask
    for a, b in zip(kind(7, 3, 0.5, 6.0)(*args), Stepwise(7, 3, 0.5, 6.0)(*args)):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b)


def test_focal_losses():
    """At gamma 0 and alpha 0 the focal loss is cross-entropy; a sure right answer counts for nothing."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 7, 4, generator=rng), torch.rand(3, 7, 4, generator=rng)
    plain = nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none")
    torch.testing.assert_close(FocalLoss()(x, y, gamma=0.0, alpha=0.0), plain.mean(1).sum())
    assert FocalLoss()(torch.tensor([[9.0]]), torch.tensor([[1.0]])) < 1e-6
    half = FocalLoss()(torch.zeros(1, 1), torch.ones(1, 1), gamma=2.0, alpha=0.25)
    assert half.item() == pytest.approx(0.25 * 0.25 * np.log(2), rel=1e-5)
    label = (y > 0.5).float()
    torch.testing.assert_close(VarifocalLoss()(x, label, label, alpha=0.0), (plain_of(x, label) * label).mean(1).sum())
    one = VarifocalLoss()(torch.zeros(1, 1), torch.full((1, 1), 0.6), torch.ones(1, 1))
    assert one.item() == pytest.approx(0.6 * np.log(2), rel=1e-5)
    assert smooth_BCE(0.2) == (0.9, 0.1) and smooth_BCE() == (0.95, 0.05)


def plain_of(x, y):
    return nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none")
