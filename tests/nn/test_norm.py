"""Batch statistics must be exact on plain images too, in the memory layout that training uses."""

import copy

import pytest
import torch
from torch import nn
from zoo import build

from ultralytics.nn.modules import norm as norms
from ultralytics.nn.modules.norm import BatchNorm2d

NEAR = 2e-4  # torch, channels last: 0.15


def plain(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return values like those that a first layer makes of a plain image: nearly all alike, channels last."""
    x = 2 + 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def passed(norm: nn.BatchNorm2d, x: torch.Tensor, pull: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what a batch norm makes of x, its gradients for the loss (y * pull).sum(), and its state."""
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 1.5, norm.num_features))
        norm.bias.copy_(torch.linspace(-1, 1, norm.num_features))
    x = x.detach().clone().requires_grad_()
    y = norm(x)
    (y * pull).sum().backward()
    return {"y": y, "dx": x.grad, "dweight": norm.weight.grad, "dbias": norm.bias.grad, **dict(norm.named_buffers())}


def assert_near(found: dict, wanted: dict, share: float = NEAR) -> None:
    for name, value in wanted.items():
        off = (found[name].double() - value.double()).norm() / value.double().norm()
        assert off < share, (name, off)


@pytest.mark.parametrize(
    "shape",
    [
        (8, 16, 160, 160),  # the first layer at 320 pixels
        (3, 8, 7, 5),
        (2, 5, 1, 9),
        (1, 3, 31, 2),  # more rows than are added up at once, and a prime number of them
        (4, 64, 1, 1),
        (1, 1, 6, 6),
    ],
)
def test_statistics_and_gradients_are_exact(shape, monkeypatch):
    if shape[2] < 160:
        monkeypatch.setattr(norms, "MOST_ROWS", 8)
    x, pull = plain(*shape), plain(*shape, seed=1) - 1.995
    norm = BatchNorm2d(shape[1], eps=1e-3, momentum=0.03)
    truth = nn.BatchNorm2d(shape[1], eps=1e-3, momentum=0.03).double()
    for _ in range(2):  # the running statistics go on from where they were
        found = passed(norm, x, pull)
        wanted = passed(truth, x.double().contiguous(), pull.double().contiguous())
    assert_near(found, wanted, share=1e-3 if shape == (4, 64, 1, 1) else NEAR)  # four values have little to say
    assert found["y"].is_contiguous(memory_format=torch.channels_last)
    assert found["dx"].is_contiguous(memory_format=torch.channels_last)
    assert found["num_batches_tracked"] == 2


def test_gradients_in_another_layout(monkeypatch):
    monkeypatch.setattr(norms, "MOST_ROWS", 8)
    x, pull = plain(2, 4, 6, 8), plain(2, 4, 6, 8, seed=1) - 1.995
    assert not pull.contiguous().is_contiguous(memory_format=torch.channels_last)
    assert_near(
        passed(BatchNorm2d(4), x, pull.contiguous()),
        passed(nn.BatchNorm2d(4).double(), x.double(), pull.double()),
    )


@pytest.mark.parametrize(
    "settings", [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"momentum": 0.0}]
)
@pytest.mark.parametrize("training", [True, False])
def test_settings_mean_what_they_mean_in_torch(settings, training, monkeypatch):
    monkeypatch.setattr(norms, "MOST_ROWS", 8)
    x = plain(3, 4, 6, 8) - 2
    mine, theirs = (cls(4, **settings).train(training) for cls in (BatchNorm2d, nn.BatchNorm2d))
    for _ in range(2):
        torch.testing.assert_close(mine(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mine.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)


MODELS = ["yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolo11n-cls", "yolo11n-ghost"]


@pytest.mark.parametrize("name", [*MODELS, "ghostnetv1-cls", "ghostnetv2-cls", "ghostnetv3-cls"])
def test_every_model_is_made_of_them(name):
    found = [m for m in build(name).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(found) > 20 and {type(m) for m in found} == {BatchNorm2d}


def gradients(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradients of a smooth function of a copy's outputs in training mode."""
    model = copy.deepcopy(model).to(images.dtype).to(memory_format=torch.channels_last).train()
    outputs = model(images.contiguous(memory_format=torch.channels_last))
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    sum(nn.functional.softplus(y).sum() for y in outputs).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.norm() > 1e-3}


@pytest.mark.parametrize("name", ["yolo11n", pytest.param("yolo11n-ghost", marks=pytest.mark.slow)])
def test_plain_images_get_the_gradients_of_double_precision(name):
    torch.manual_seed(0)
    model = build(name)
    images = 0.8 + 0.02 * torch.rand(4, 3, 256, 256)
    found, wanted = gradients(model, images), gradients(model, images.double())
    assert len(wanted) > 100
    assert_near(found, wanted, share=1e-3)
