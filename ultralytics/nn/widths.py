"""Pruned models: the widths in which a network differs from what its YAML builds, as plain data (`widths`).

They are the shapes of tensors, with None for the sides that are as built, and the whole numbers of the modules that
hold these tensors, such as `out_channels`. A model whose description has them is built by its YAML and then resized.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import nn

from ultralytics.utils.errors import ModelError
from ultralytics.utils.hostile import limits

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer

Structure = dict[str, dict[str, int | tuple[int, ...]]]  # by path of a module: its whole numbers and tensors' shapes
Widths = dict[str, dict[str, int | list[int | None]]]
OF_LAYERS = {"i", "f", "np", "span"}  # whole numbers of a layer that say where it stands


def structure(model: nn.Module) -> Structure:
    """Return the whole numbers and the shapes of the tensors of each module."""
    found: Structure = {}
    for path, m in model.named_modules():
        tensors = {**m._parameters, **m._buffers}
        found[path] = {k: v for k, v in vars(m).items() if type(v) is int and k not in OF_LAYERS}
        found[path] |= {k: tuple(t.shape) for k, t in tensors.items() if t is not None}
    return found


def widths_of(now: Structure, built: Structure) -> Widths:
    """Return in what a network differs from the one that its YAML builds; {} if no tensor has another shape.

    Raises:
        ModelError: it has other tensors, not only others of their shapes.
    """
    lost = _tensors(built).keys() ^ _tensors(now).keys()
    lost |= {name for name, shape in _tensors(now).items() if len(shape) != len(_tensors(built).get(name, shape))}
    if lost:
        raise ModelError(
            f"The network was changed in more than its widths: '{min(lost)}' is not as its YAML builds it, so that a "
            "weight file could not be loaded again. Put the changed block into a class of your own and name that in "
            "the YAML, or save the weights alone with torch.save(model.state_dict(), ...)."
        )
    changed = [path for path in now if any(s != built[path][k] for k, s in now[path].items() if isinstance(s, tuple))]
    found: Widths = {}
    for path in now:
        if any(c == path or c.startswith(f"{path}.") for c in changed):
            new = {k: _difference(v, built[path][k]) for k, v in now[path].items() if built[path].get(k, v) != v}
            found |= {path: new} if new else {}
    return found


def _tensors(structure: Structure) -> dict[str, tuple[int, ...]]:
    return {f"{path}.{k}": v for path, values in structure.items() for k, v in values.items() if isinstance(v, tuple)}


def _difference(value: int | tuple[int, ...], built: int | tuple[int, ...]) -> int | list[int | None]:
    if isinstance(value, int) or isinstance(built, int):
        assert isinstance(value, int)
        return value
    return [None if a == b else a for a, b in zip(value, built)]


def resize(layers: nn.Sequential, widths: object) -> None:
    """Give the layers of a model, as its YAML builds them, the widths of its description, in place.

    Raises:
        ModelError: the widths are no such data, or do not belong to these layers.
    """
    if not isinstance(widths, Mapping):
        raise ModelError("The `widths` of the model are not sizes by module and name: save the pruned model again.")
    modules, total = dict(layers.named_modules()), 0
    for path, values in widths.items():
        if path not in modules:
            raise ModelError(f"The `widths` of the model name '{str(path)[:80]}', which is none of its modules.")
        if not isinstance(values, Mapping):
            raise ModelError(f"The `widths` of '{path}' are not sizes by name: save the pruned model again.")
        for name, value in values.items():
            total += _resize(modules[path], str(name), value, path)
            if total > limits.PARAMETERS:
                raise ModelError(f"The `widths` of the model ask for more than {limits.PARAMETERS} parameters.")
        if callable(reset := getattr(modules[path], "reset_parameters", None)):
            reset()
    for m in layers if widths else ():
        layer: Layer = m  # type: ignore[assignment]
        layer.np = sum(p.numel() for p in layer.parameters())


def _resize(m: nn.Module, name: str, value: object, path: str) -> int:
    """Set one whole number, or the shape of one tensor; return how many values that has."""
    tensor = {**m._parameters, **m._buffers}.get(name)
    sides = value if isinstance(value, (list, tuple)) else [value]
    fits = all(s is None or (type(s) is int and 0 <= s <= limits.NUMBER) for s in sides)
    if fits and sides is not value and type(vars(m).get(name)) is int and value is not None:
        setattr(m, name, value)
        return 0
    if not fits or tensor is None or sides is not value or len(sides) != tensor.ndim:
        raise ModelError(f"The `widths` of the model do not fit its '{path}.{name[:40]}': {str(value)[:80]}.")
    shape = [old if new is None else new for old, new in zip(tensor.shape, sides)]
    if prod(shape) <= limits.PARAMETERS:
        resized = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
        if isinstance(tensor, nn.Parameter):
            resized = nn.Parameter(resized, tensor.requires_grad)
        setattr(m, name, resized)
    return prod(shape)
