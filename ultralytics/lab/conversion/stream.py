"""What layers read and give on the calibration images, layer after layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

Maps = torch.Tensor | list[torch.Tensor]  # what a layer reads or gives


class _Reached(Exception):
    """What was wanted of a layer has been seen; the rest of it is left out."""


@contextlib.contextmanager
def _stop_at(module: nn.Module, see: Callable[[Maps, Maps], None], after: bool) -> Iterator[None]:
    """Within this context, a pass ends at a module, whose inputs (and output) `see` gets."""

    def hook(_: nn.Module, inputs: tuple, out: Maps | None = None) -> None:
        see(inputs[0], out)
        raise _Reached

    handle = module.register_forward_hook(hook) if after else module.register_forward_pre_hook(hook)
    try:
        with contextlib.suppress(_Reached):
            yield
    finally:
        handle.remove()


def output_of(layer: nn.Module, inside: nn.Module, x: Maps) -> torch.Tensor:
    """Return what a module inside a layer gives when the layer reads `x`."""
    found = []
    with _stop_at(inside, lambda _, out: found.append(out.clone()), after=True):
        layer(x)
    return found[0]


def input_of(layer: nn.Module, inside: nn.Module, x: Maps) -> torch.Tensor:
    """Return what a module inside a layer reads when the layer reads `x`."""
    found = []
    with _stop_at(inside, lambda seen, _: found.append(seen), after=False):
        layer(x)
    return found[0]


class Stream:
    """A model's outputs on the calibration images, kept only as long as a later layer reads them."""

    def __init__(self, model: BaseModel, images: list[torch.Tensor]):
        self.model, self.now = model, list(images)
        self.kept: dict[int, list[torch.Tensor]] = {}
        self.last: dict[int, int] = {}  # index of an output: the last layer that reads it
        for n, m in enumerate(model.model):
            for j in m.f if isinstance(m.f, list) else [m.f]:
                if j != -1:
                    self.last[j % m.i if j < 0 else j] = n

    def inputs(self, n: int) -> list[Maps]:
        """Return what layer number `n` reads, batch by batch; the layers before it must have run."""
        m = self.model.model[n]
        if m.f == -1:
            return self.now
        one = isinstance(m.f, int)
        sources = [m.f] if one else m.f
        lists = [self.now if j == -1 else self.kept[j % m.i if j < 0 else j] for j in sources]
        return lists[0] if one else [list(xs) for xs in zip(*lists)]

    def advance(self, n: int, inputs: list[Maps]) -> list[Maps]:
        """Run layer number `n` on its inputs, forget what no later layer reads, and return what the layer gives."""
        m = self.model.model[n]
        outs = [m(list(x) if isinstance(x, list) else x) for x in inputs]
        for k in range(m.span):
            if m.i + k in self.last:
                self.kept[m.i + k] = [out[k] if m.span > 1 else out for out in outs]
        self.now = [out[-1] for out in outs] if m.span > 1 else outs
        self.kept = {j: v for j, v in self.kept.items() if self.last[j] > n}
        return outs

    def mark(self) -> tuple:
        """Return where the stream stands, for `back`."""
        return self.now, dict(self.kept)

    def back(self, mark: tuple) -> None:
        """Go back to where the stream stood."""
        self.now, self.kept = mark

    def specs(self, unit: list[int]) -> list[list[list]]:
        """Return for each batch what each layer of a unit reads: tensors, None for the output of the layer before."""
        columns = []
        for k, n in enumerate(unit):
            m = self.model.model[n]
            sources = m.f if isinstance(m.f, list) else [m.f]
            inner = [None] * len(self.now)
            columns.append(
                [
                    inner if j == -1 and k else self.now if j == -1 else self.kept[j % m.i if j < 0 else j]
                    for j in sources
                ]
            )
        return [[[source[b] for source in column] for column in columns] for b in range(len(self.now))]


@dataclass
class Inputs:
    """A layer of the target, what its counterpart in the dense model reads, and what it reads itself; by batches."""

    layer: nn.Module
    wanted: list[Maps]
    given: list[Maps]
