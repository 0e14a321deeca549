"""Losses as a GPU computes them: the same numbers, and no step that waits for values.

There is no GPU: numbers are compared on the CPU, and waits are counted on fake tensors that claim to be on one.
"""

from __future__ import annotations

import pytest
import test_task_losses as tasks
import torch
from test_loss import criterion, maps, objects
from tiny import tiny_of
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ultralytics.utils import DEFAULT_CFG, tal
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, TaskAlignedAssigner, make_anchors

WAITING = {"_local_scalar_dense", "nonzero", "bincount", "_unique2", "masked_select", "equal"}


def scene(rotated: bool, count: int, classes: int = 4) -> dict[str, torch.Tensor]:
    """Return predictions for three images and crowded objects, two of which are equal."""
    g = torch.Generator().manual_seed(count)
    points, strides = make_anchors([torch.zeros(1, 1, s, s) for s in (20, 10, 5)], [8.0, 16.0, 32.0])
    points = points * strides
    centers = points + torch.rand(3, len(points), 2, generator=g) * 20 - 10
    sides = torch.rand(3, len(points), 2, generator=g) * 60 + 5
    middle, size = torch.rand(count, 2, generator=g) * 160, torch.rand(count, 2, generator=g) * 80 + 3
    pairs = [(centers, sides), (middle, size)]
    if rotated:
        boxes = [torch.cat((c, s, torch.rand(*c.shape[:-1], 1, generator=g) * 3), -1) for c, s in pairs]
    else:
        boxes = [torch.cat((c - s / 2, c + s / 2), -1) for c, s in pairs]
    image, label = (torch.randint(n, (count,), generator=g) for n in (3, classes))
    for x in (boxes[1], image, label):
        x[1:2] = x[:1]
    logits = torch.randn(3, len(points), classes, generator=g)
    return {"logits": logits, "boxes": boxes[0], "points": points, "image": image, "label": label, "gt": boxes[1]}


@pytest.mark.parametrize("topk", [1, 10])
@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("cls", [TaskAlignedAssigner, RotatedTaskAlignedAssigner])
def test_the_assignment_is_the_same(cls, count, topk, monkeypatch):
    monkeypatch.setattr(tal, "_MOST_PAIRS", 2000)  # so that there are several parts
    s, assigner = scene(cls is RotatedTaskAlignedAssigner, count), cls(topk=topk, num_classes=4, alpha=0.5, beta=6.0)

    def predict(image, anchor, label):
        return s["logits"][image, anchor, label].sigmoid(), s["boxes"][image, anchor]

    pairs = assigner.assign(predict, s["points"], 3, s["image"], s["label"], s["gt"])
    found = assigner.assign_on_gpu(s["logits"], s["boxes"], s["points"], s["image"], s["label"], s["gt"])
    assert len(found.score) == count * topk and not found.score[~found.taken].any()
    assert int(found.number()) == len(pairs.score) == pairs.number()
    mine, theirs = (
        {(i, a): (g, v) for i, a, g, v in zip(*(x[keep].tolist() for x in (h.image, h.anchor, h.gt, h.score)))}
        for h, keep in ((found, found.taken), (pairs, slice(None)))
    )
    assert {k: v[0] for k, v in mine.items()} == {k: v[0] for k, v in theirs.items()}
    assert all(v[1] == pytest.approx(theirs[k][1], abs=1e-6) for k, v in mine.items())


def both(make, preds, batch):
    """Return loss, parts and gradients of both ways."""
    results = []
    for on_gpu in (False, True):
        loss = make()
        loss.on_gpu = on_gpu
        total, parts = loss(preds, batch)
        leaves = [x for p in preds for x in (p if isinstance(p, list) else [p])]
        results.append([total, parts, *torch.autograd.grad(total, leaves)])
    return results


@pytest.mark.parametrize(
    "rows", [(), ((0, 1, 0.4, 0.5, 0.3, 0.4), (0, 2, 0.45, 0.5, 0.3, 0.4), (1, 0, 0.5, 0.5, 1, 1))]
)
def test_the_loss_of_boxes_and_its_gradients_are_the_same(rows):
    for a, b in zip(*both(criterion, [m.requires_grad_() for m in maps()], objects(*rows))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@tasks.TASKS
@pytest.mark.parametrize("rows", [(), tasks.ROWS, tasks.ROWS[::-1]])
def test_the_losses_of_other_tasks_are_the_same(task, rows):
    batch = tasks.objects(task, *rows)
    for a, b in zip(*both(lambda: tasks.criterion(task), tasks.predictions(task), batch)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


class Waits(TorchDispatchMode):
    """Collects the operations that would wait for a GPU: reading values, sizes that depend on them, blocking copies."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        where = kwargs.get("device")
        copies = name == "_to_copy" and where is not None and torch.device(where).type != args[0].device.type
        masks = name in {"index", "index_put_"} and any(x is not None and x.dtype == torch.bool for x in args[1])
        if name in WAITING or masks or (copies and not kwargs.get("non_blocking")):
            self.found.append(name)
        return func(*args, **kwargs)


@pytest.fixture
def fake_gpu() -> None:
    """Skip where fake tensors need a driver, as with torch 2.3."""
    try:
        with FakeTensorMode():
            torch.zeros(1).to("cuda")
    except (RuntimeError, AssertionError) as e:
        pytest.skip(str(e))


def waits_of(task: str, folder, on_gpu: bool = True) -> list[str]:
    """Return what a forward pass and its loss wait for, with tensors that claim to be on a GPU."""
    model = tiny_of(task, folder).train()
    model.args = DEFAULT_CFG
    model.criterion = loss = model.init_criterion()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for m in model.modules():
            m._parameters |= {k: torch.nn.Parameter(p.to("cuda")) for k, p in m._parameters.items() if p is not None}
            m._buffers |= {k: b.to("cuda") for k, b in m._buffers.items() if b is not None}
        if hasattr(loss, "proj"):
            loss.on_gpu, loss.proj = on_gpu, loss.proj.to("cuda")
        if task == "pose":
            loss.keypoint_loss.sigmas = loss.keypoint_loss.sigmas.to("cuda")
        labels = {"batch_idx": torch.zeros(5), "cls": torch.zeros(5, 1), "bboxes": torch.rand(5, 4)}
        labels |= {"keypoints": torch.rand(5, 3, 2)}  # these stay on the CPU, as the loader gives them
        if task == "classify":
            labels = {"cls": torch.zeros(2, dtype=torch.long).to("cuda")}
        with Waits() as waits:
            model.loss({"img": torch.rand(2, 3, 64, 64, device="cuda"), **labels})
    return waits.found


@pytest.mark.parametrize("task", ["detect", *(pytest.param(t, marks=pytest.mark.slow) for t in ("pose", "classify"))])
def test_nothing_waits_for_a_gpu(fake_gpu, task, tmp_path):
    assert waits_of(task, tmp_path) == []


@pytest.mark.slow
def test_the_way_of_the_cpu_would_wait(fake_gpu, tmp_path):
    with pytest.raises(Exception, match="nonzero"):  # a size that depends on values, which fake tensors cannot have
        waits_of("detect", tmp_path, on_gpu=False)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_masks_and_rotated_boxes_read_values_of_the_cpu_alone(task):
    """Fake tensors have none, so that the operations are counted on the CPU: those of the labels are all."""
    loss = tasks.criterion(task)
    loss.on_gpu = True
    with Waits() as waits:
        loss(tasks.predictions(task), tasks.objects(task, *tasks.ROWS))
    assert set(waits.found) <= {"segment": {"bincount", "_local_scalar_dense"}, "obb": {"index"}}[task]
    assert len(waits.found) <= 3


def test_strides_on_a_gpu_are_not_read(fake_gpu):
    with FakeTensorMode(), Waits() as waits:
        points, strides = make_anchors([torch.zeros(1, 1, 4, 4, device="cuda")], torch.full((1,), 8.0, device="cuda"))
    assert waits.found == [] and points.shape == (16, 2) and strides.device.type == "cuda"
