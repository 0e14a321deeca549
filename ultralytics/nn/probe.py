"""The first pass through a new model, which names the layer at fault where the layers do not fit together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from ultralytics.nn.compute_limit import limit_work
from ultralytics.nn.features import Output
from ultralytics.nn.parse import describe_line
from ultralytics.utils.errors import ModelError, reason_of

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer
    from ultralytics.nn.tasks import BaseModel

Shape = tuple[int, ...]


def probe(model: BaseModel, x: torch.Tensor) -> Output:
    """Run the layers once in training mode, with batch statistics kept, on images (b, ch, h, w).

    Raises:
        ModelError: a layer fails; the message names the one that caused it.
    """
    layers = [*cast("Iterable[Layer]", model.model)]
    given: dict[int, Shape | list[Shape]] = {}
    gave: dict[int, Shape | list[Shape]] = {}
    hooks = []
    for number, m in enumerate(layers):
        hooks.append(m.register_forward_pre_hook(lambda _, inputs, n=number: given.update({n: _shapes(inputs[0])})))
        hooks.append(m.register_forward_hook(lambda _, inputs, out, n=number: gave.update({n: _shapes(out)})))
    hooks += limit_work(model)
    norms = {m: m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    for norm in norms:
        norm.momentum = 0.0
    try:
        with torch.no_grad():
            return model.predict(x)
    except ModelError as e:
        raise ModelError(f"{describe_line(model.yaml, [*given][-1])}{e}") from None
    except Exception as e:  # layers raise anything where inputs do not fit
        raise ModelError(_explain(model, layers, given, gave, x.shape[-1], e)) from e
    finally:
        for hook in hooks:
            hook.remove()
        for norm, momentum in norms.items():
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.zero_()


def _shapes(value: object) -> Shape | list[Shape]:
    """Return the shape of a tensor, or those of several."""
    if isinstance(value, (list, tuple)):
        return [tuple(getattr(v, "shape", ())) for v in value]
    return tuple(getattr(value, "shape", ()))


def _explain(
    model: BaseModel,
    layers: list[Layer],
    given: dict[int, Shape | list[Shape]],
    gave: dict[int, Shape | list[Shape]],
    pixels: int,
    e: Exception,
) -> str:
    """Return the message for a layer that failed, or for one before it whose channels are not those expected of it."""
    failed = [*given][-1]
    before = [] if model.yaml.get("widths") else sorted(_before(layers, failed))  # a pruned one keeps no promise
    cause = next((n for n in before if not _kept(layers[n].promised, gave.get(n))), None)
    if cause is None:
        where = describe_line(model.yaml, failed)
        return f"{where}the shapes do not fit: it was given {given[failed]} for a {pixels} pixel image. {reason_of(e)}"
    expected = layers[cause].promised
    return (
        f"{describe_line(model.yaml, cause)}it was given {given[cause]} and gives {gave[cause]}, where "
        f"{' and '.join(map(str, expected))} channels were expected, so that layer {failed} fails ({reason_of(e)}). "
        "Let the class give the channels of its parameter c2, or set `self.out_channels` in its constructor to what it "
        "gives."
    )


def _before(layers: list[Layer], number: int) -> set[int]:
    """Return the numbers of all layers on whose outputs a layer depends."""
    numbers = {layer.i + k: n for n, layer in enumerate(layers) for k in range(layer.span)}
    found: set[int] = set()
    waiting = [number]
    while waiting:
        layer = layers[waiting.pop()]
        reads = layer.f if isinstance(layer.f, list) else [layer.f]
        sources = {numbers.get(j if j >= 0 else layer.i + j, -1) for j in reads} - {-1} - found
        found |= sources
        waiting += sources
    return found


def _kept(promised: list[int], shapes: Shape | list[Shape] | None) -> bool:
    """Return whether a layer's outputs, where they are maps, have the channels expected of them."""
    each = shapes if isinstance(shapes, list) else [shapes or ()]
    return len(each) != len(promised) or all(len(s) != 4 or s[1] == c for s, c in zip(each, promised))
