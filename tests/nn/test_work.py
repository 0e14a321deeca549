"""Counted multiplications are those of PyTorch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ultralytics.nn.compute_limit import cost, limit_work
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ModelError
from ultralytics.utils.hostile import limits


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(4, 8, (3, 5), (1, 2), (2, 0), dilation=2, groups=4),
        nn.Conv2d(4, 4, 2, padding="valid"),
        nn.ConvTranspose2d(4, 6, 2, 2),
    ],
)
def test_convolutions(module):
    x = torch.zeros(2, 4, 21, 18)
    with FlopCounterMode(display=False) as counter:
        y = module(x)
    assert cost(module, x) == (counter.get_total_flops() // 2, y.numel())


@pytest.mark.parametrize(
    ("module", "each"),
    [
        (nn.MaxPool2d(5, 1, 2), 25),
        (nn.AvgPool2d(2), 4),
        (nn.Upsample(None, 2), 0),
        (nn.Upsample((3, 4)), 0),
        (nn.Upsample(scale_factor=(1.5, 2)), 0),
    ],
)
def test_windows_without_weights(module, each):
    x = torch.zeros(1, 3, 8, 9)
    values = module(x).numel()
    assert cost(module, x) == (values * each, values)


def test_a_pass_beyond_the_limit_ends(monkeypatch):
    model, x = DetectionModel("yolo11n.yaml", verbose=False).eval(), torch.zeros(1, 3, 64, 64)
    hooks = limit_work(model)
    monkeypatch.setattr(limits, "WORK", 10**6)
    with pytest.raises(ModelError, match=r"multiplications; allowed are 1e\+06"):
        model(x)
    for hook in hooks:
        hook.remove()
    model(x)


def test_an_input_given_by_name_is_no_fault():
    conv = nn.Conv2d(3, 4, 3)
    assert limit_work(conv) and conv(input=torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
