"""Inputs and outputs of layers on the calibration images, layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer
    from ultralytics.nn.tasks import BaseModel

Maps = torch.Tensor | list[torch.Tensor]  # what a layer reads or gives
Mark = tuple[list[torch.Tensor], dict[int, list[torch.Tensor]]]  # where a stream stands


def layers_of(model: BaseModel) -> list[Layer]:
    """Return the layers of a model."""
    return cast("list[Layer]", list(model.model))


class _Reached(Exception):
    """Raised when the wanted tensor has been seen; the rest of the layer is skipped."""


@contextlib.contextmanager
def _stop_at(
    module: nn.Module, see: Callable[[torch.Tensor, torch.Tensor | None], None], after: bool
) -> Iterator[None]:
    """End a forward pass at a module within this context, and pass its input (and output) to `see`."""

    def hook(_: nn.Module, inputs: tuple, out: torch.Tensor | None = None) -> None:
        see(inputs[0], out)
        raise _Reached

    handle = module.register_forward_hook(hook) if after else module.register_forward_pre_hook(hook)
    try:
        with contextlib.suppress(_Reached):
            yield
    finally:
        handle.remove()


def output_of(layer: nn.Module, inside: nn.Module, x: Maps) -> torch.Tensor:
    """Return the output of a module inside a layer for the layer's input `x`."""
    found: list[torch.Tensor] = []
    with _stop_at(inside, lambda _, out: found.append(cast("torch.Tensor", out).clone()), after=True):
        layer(x)
    return found[0]


def input_of(layer: nn.Module, inside: nn.Module, x: Maps) -> torch.Tensor:
    """Return the input of a module inside a layer for the layer's input `x`."""
    found: list[torch.Tensor] = []
    with _stop_at(inside, lambda seen, _: found.append(seen), after=False):
        layer(x)
    return found[0]


class Stream:
    """A model's outputs on the calibration images, kept only as long as a later layer reads them."""

    def __init__(self, model: BaseModel, images: list[torch.Tensor]):
        self.layers, self.now = layers_of(model), list(images)
        self.kept: dict[int, list[torch.Tensor]] = {}
        self.last: dict[int, int] = {}  # index of an output: the last layer that reads it
        for n, m in enumerate(self.layers):
            for j in m.f if isinstance(m.f, list) else [m.f]:
                if j != -1:
                    self.last[j % m.i if j < 0 else j] = n

    def inputs(self, n: int) -> Sequence[Maps]:
        """Return what layer number `n` reads, batch by batch; the layers before it must have run."""
        m = self.layers[n]
        if m.f == -1:
            return self.now
        sources = [m.f] if isinstance(m.f, int) else m.f
        lists = [self.now if j == -1 else self.kept[j % m.i if j < 0 else j] for j in sources]
        return lists[0] if isinstance(m.f, int) else [list(xs) for xs in zip(*lists)]

    def advance(self, n: int, inputs: Sequence[Maps]) -> list[Maps]:
        """Run layer number `n` on its inputs, forget what no later layer reads, and return what the layer gives."""
        m = self.layers[n]
        outs = [m(list(x) if isinstance(x, list) else x) for x in inputs]
        for k in range(m.span):
            if m.i + k in self.last:
                self.kept[m.i + k] = [out[k] if m.span > 1 else out for out in outs]
        self.now = [out[-1] for out in outs] if m.span > 1 else outs
        self.kept = {j: v for j, v in self.kept.items() if self.last[j] > n}
        return outs

    def mark(self) -> Mark:
        """Return the position of the stream, for `back`."""
        return self.now, dict(self.kept)

    def back(self, mark: Mark) -> None:
        """Return the stream to an earlier position."""
        self.now, self.kept = mark

    def specs(self, unit: list[int]) -> list[list[list[torch.Tensor | None]]]:
        """Return for each batch what each layer of a unit reads: tensors, None for the output of the layer before."""
        columns = []
        for k, n in enumerate(unit):
            m = self.layers[n]
            sources = m.f if isinstance(m.f, list) else [m.f]
            inner: list[None] = [None] * len(self.now)
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
    wanted: Sequence[Maps]
    given: Sequence[Maps]
