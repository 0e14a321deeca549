"""A stand-in for CUDA graphs where there is no GPU: each replay runs the function again and overwrites its result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch.utils._pytree import tree_flatten

from ultralytics.nn import cuda_graphs


class Recorded:
    """Has the methods of `torch.cuda.CUDAGraph` that are used."""

    made = 0  # in this test

    def __init__(self, function: Callable[[], object], result: object):
        self.function, self.result = function, [x for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        with torch.set_grad_enabled(self.result[0].requires_grad or self.function.__name__ == "_backward"):
            new = [x for x in tree_flatten(self.function())[0] if isinstance(x, torch.Tensor)]
        for old, x in zip(self.result, new):
            old.detach().copy_(x.detach())

    def pool(self) -> None:
        return None


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    """Let CUDA graphs be recorded on a CPU; the class counts them."""

    def capture(function, before=None):
        Recorded.made += 1
        result = function()
        return result, Recorded(function, result)

    monkeypatch.setattr(Recorded, "made", 0)
    monkeypatch.setattr(cuda_graphs, "capture", capture)
    monkeypatch.setattr(cuda_graphs, "beside", lambda device: nullcontext())
    return Recorded
