"""Outputs, loss and gradients equal those of 8.3.0 for weights and images made by the same rule."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from zoo import build

from fill import fill, image

REFERENCE = Path(__file__).parents[1] / "reference"
FORWARD = np.load(REFERENCE / "forward.npz")
LOSS = json.loads((REFERENCE / "loss.json").read_text())
TARGETS = np.load(REFERENCE / "loss_targets.npz")
TASKS = {"yolo11n-seg": "segment", "yolo11n-pose": "pose", "yolo11n-obb": "obb", "yolo11n-cls": "classify"}
GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, pose=12.0, kobj=1.0, overlap_mask=True)


def flat(y):
    return [y] if isinstance(y, torch.Tensor) else [t for part in y for t in flat(part)]


def targets(task):
    found = {k.split("/")[1]: torch.from_numpy(TARGETS[k]) for k in TARGETS.files if k.startswith(f"{task}/")}
    return found or {"cls": torch.tensor([3, 7, 60])}  # classes of whole images


def run(name, mode):
    model = fill(build(name)).train(mode == "train")
    if mode == "fused":
        model.fuse(verbose=False)
    with torch.no_grad():
        return flat(model(image(2, 96, 64)))


@pytest.mark.parametrize("mode", ["eval", "fused", "train"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "yolo11m")) for n in LOSS])
def test_outputs(name, mode):
    outputs, share = run(name, mode), 3e-4 if mode == "train" else 1e-4  # statistics of 12 values magnify rounding
    assert len(outputs) == sum(k.startswith(f"{name}/{mode}/") for k in FORWARD.files)
    for i, y in enumerate(outputs):
        expected = FORWARD[f"{name}/{mode}/{i}"]
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.numpy(), expected, atol=share * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", ["yolo11n-GhostConv", *TASKS])
def test_channels_last_gives_the_same(name):
    model = fill(build(name)).eval().to(memory_format=torch.channels_last)
    with torch.no_grad():
        y = flat(model(image(2, 96, 64).to(memory_format=torch.channels_last)))[0]
    expected = FORWARD[f"{name}/eval/0"]
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", LOSS)
def test_loss_and_gradients(name):
    model = fill(build(name)).train()
    model.args = GAINS
    batch = targets(TASKS.get(name, "detect"))
    loss, items = model({**batch, "img": image(3, 128, 96, seed=3)})
    loss.backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters() if p.grad is not None))
    assert loss.item() == pytest.approx(LOSS[name]["loss"], rel=1e-4)
    assert items.tolist() == pytest.approx(LOSS[name]["items"], rel=1e-4)
    assert norm.item() == pytest.approx(LOSS[name]["grad_norm"], rel=1e-4)
