"""Which channel feeds which: a model's channels as wires, and how to reorder them without changing what it computes.

The model runs once on a small image while every function of torch that it calls is watched. A convolution's outputs
are new wires; batch norms, activations, pools and depthwise convolutions pass wires on; Concat and chunk join and cut
lists of them; an addition ties the wires of both sides, channel by channel. What is not understood (the reshapes of
attention, a linear layer, a user's own operation) keeps its wires where they are: they are pinned. So no layer class is
named here, and own modules are followed as far as they are built of known functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ultralytics.utils.errors import ModelError
from ultralytics.utils.torch_utils import in_eval

# Functions behind which each channel is still the same channel.
_SAME = """silu relu relu6 leaky_relu sigmoid hardswish hardsigmoid hardtanh gelu elu mish softplus tanh dropout
_max_pool2d max_pool2d avg_pool2d adaptive_avg_pool2d interpolate upsample clone contiguous detach to float half
relu_ sigmoid_ clamp clamp_ abs exp neg"""
_BINARY = """add sub mul div true_divide __add__ __radd__ __iadd__ __sub__ __isub__ __mul__ __rmul__ __imul__
__truediv__ add_ sub_ mul_ div_ maximum minimum"""


@dataclass
class Axis:
    """One dimension of an entry of the state dict, and the wire at each of its positions."""

    name: str
    dim: int
    wires: list[int]


@dataclass
class Wiring:
    """The wires of a model.

    `axes` says where each wire touches a weight; wires that an addition ties have one root; `pinned` ones cannot move.
    """

    axes: list[Axis] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)
    _parent: list[int] = field(default_factory=list)

    def new(self, n: int) -> list[int]:
        """Return `n` new wires."""
        first = len(self._parent)
        self._parent.extend(range(first, first + n))
        return [*range(first, first + n)]

    def root(self, wire: int) -> int:
        """Return the wire that stands for all that are tied to this one."""
        while self._parent[wire] != wire:
            self._parent[wire] = wire = self._parent[self._parent[wire]]
        return wire

    def tie(self, a: Sequence[int], b: Sequence[int]) -> None:
        """Let the wires of two lists of one length be one, position by position."""
        for u, v in zip(map(self.root, a), map(self.root, b)):
            self._parent[v] = u

    def add(self, name: str, dim: int, wires: list[int]) -> None:
        """Note that `wires` run through an axis; an axis that is used twice ties the wires of both uses."""
        for axis in self.axes:
            if (axis.name, axis.dim) == (name, dim):
                self.tie(axis.wires, wires)
                return
        self.axes.append(Axis(name, dim, wires))

    def axis(self, name: str, dim: int = 0) -> Axis:
        """Return the axis of an entry of the state dict, or raise ModelError."""
        for axis in self.axes:
            if (axis.name, axis.dim) == (name, dim):
                return axis
        raise ModelError(f"'{name}' is no weight that the wiring has seen. Name the weight of a convolution that runs.")

    def groups(self) -> dict[int, int]:
        """Return for each root the number of its group: wires of a group may change places. Pinned wires have none.

        Two wires may change places if they run through the same axes, each as often.
        """
        touches: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for number, axis in enumerate(self.axes):
            for wire in axis.wires:
                touches[self.root(wire)][number] += 1
        pinned = {self.root(w) for w in self.pinned}
        numbers: dict[tuple[tuple[int, int], ...], int] = {}
        return {
            root: numbers.setdefault(tuple(sorted(seen.items())), len(numbers))
            for root, seen in touches.items()
            if root not in pinned
        }

    def readers(self, name: str) -> dict[str, list[tuple[int, int]]]:
        """Return who reads the outputs of a weight: entry name to pairs (output channel, input channel there)."""
        place = {self.root(w): k for k, w in enumerate(self.axis(name).wires)}
        found: dict[str, list[tuple[int, int]]] = {}
        for axis in self.axes:
            pairs = [(place[self.root(w)], k) for k, w in enumerate(axis.wires) if self.root(w) in place]
            if axis.dim == 1 and pairs:
                found[axis.name] = pairs
        return found

    def moves(self, name: str, order: Sequence[int]) -> dict[int, int]:
        """Return the exchange of wires by which output k of a weight becomes what output `order[k]` was.

        Raises:
            ModelError: `order` is no permutation, or it moves a wire out of its group.
        """
        roots = [self.root(w) for w in self.axis(name).wires]
        groups = self.groups()
        if sorted(order) != [*range(len(roots))]:
            raise ModelError(f"The new order of '{name}' must hold each of its {len(roots)} channels once.")
        moved = {roots[k]: roots[j] for k, j in enumerate(order) if roots[k] != roots[j]}
        for to, of in moved.items():
            if to not in groups or groups[to] != groups.get(of):
                raise ModelError(
                    f"The channels of '{name}' cannot be reordered like this: what reads them tells some of them "
                    "apart, by a split, a shape or an operation that is not followed."
                )
        return moved

    @torch.no_grad()
    def permute(self, model: nn.Module, moves: dict[int, int]) -> None:
        """Exchange wires in the weights of a model: each key takes the place of its value; outputs stay the same."""
        state = model.state_dict()
        for axis in self.axes:
            places: dict[int, list[int]] = defaultdict(list)
            for k, wire in enumerate(axis.wires):
                places[self.root(wire)].append(k)
            if not moves.keys() & places.keys():
                continue
            index = torch.arange(len(axis.wires))
            for root, here in places.items():
                index[here] = torch.tensor(places[moves.get(root, root)])
            entry = state[axis.name]
            entry.copy_(entry.index_select(axis.dim, index.to(entry.device)))


class _Watch(TorchFunctionMode):
    """Follows the wires of each tensor through the functions that are called within the context."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.wiring = Wiring()
        self.names = {id(v): k for k, v in model.state_dict(keep_vars=True).items()}
        self.known: dict[int, tuple[torch.Tensor, list[int]]] = {}  # the tensors are kept: an id stays theirs

    def wires(self, x: torch.Tensor) -> list[int]:
        """Return the wires of a tensor; one of unknown origin has new ones, pinned."""
        if id(x) not in self.known:
            wires = self.wiring.new(x.shape[1] if x.ndim > 1 else 0)
            self.wiring.pinned.update(wires)
            self.known[id(x)] = x, wires
        return self.known[id(x)][1]

    def pin(self, found: object) -> None:
        """Pin the wires of all tensors in nested sequences."""
        for x in _tensors(found):
            if id(x) in self.known:
                self.wiring.pinned.update(self.known[id(x)][1])

    def give(self, out: object, wires: list[int]) -> None:
        """Let a tensor have wires, if they are as many as its channels."""
        if isinstance(out, torch.Tensor) and out.ndim > 1 and out.shape[1] == len(wires):
            self.known[id(out)] = out, wires
        else:
            self.wiring.pinned.update(wires)

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not any(True for _ in _tensors(out)):  # a shape, a flag
            return out
        rule = _RULES.get(func.__name__)
        try:
            followed = rule is not None and rule(self, out, *args, **kwargs)
        except TypeError:  # arguments by names that the rule does not know
            followed = False
        if not followed:
            self.pin((args, [*kwargs.values()]))
        return out


def _tensors(found: object) -> Iterable[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, (list, tuple)):
        for x in found:
            yield from _tensors(x)
    elif isinstance(found, dict):
        yield from _tensors([*found.values()])


# A rule notes what a call does to the wires and returns True; False means that the call is not understood.


def _same(w: _Watch, out: torch.Tensor, x: torch.Tensor, *_: object, **__: object) -> bool:
    w.give(out, w.wires(x))
    return True


def _binary(w: _Watch, out: torch.Tensor, x: object, other: object, **_: object) -> bool:
    maps = [m for m in (x, other) if isinstance(m, torch.Tensor) and m.numel() > 1]  # a number treats all alike
    if not maps or out.ndim < 2 or any(m.ndim != out.ndim or m.shape[1] != out.shape[1] for m in maps):
        return False
    w.wiring.tie(w.wires(maps[0]), w.wires(maps[-1]))
    w.give(out, w.wires(maps[0]))
    return True


def _cat(w: _Watch, out: torch.Tensor, xs: Sequence[torch.Tensor], dim: int = 0, **_: object) -> bool:
    if dim % out.ndim != 1:
        return False
    w.give(out, [wire for x in xs for wire in w.wires(x)])
    return True


def _cut(w: _Watch, out: Sequence[torch.Tensor], x: torch.Tensor, _: object = None, dim: int = 0, **__: object) -> bool:
    if dim % x.ndim != 1:
        return False
    wires, start = w.wires(x), 0
    for part in out:
        w.give(part, wires[start : start + part.shape[1]])
        start += part.shape[1]
    return True


def _index(w: _Watch, out: torch.Tensor, x: torch.Tensor, key: object, **_: object) -> bool:
    if not isinstance(key, tuple) or not all(isinstance(k, slice) for k in key) or len(key) < 2:
        return False
    channels: slice = key[1]
    w.give(out, w.wires(x)[channels])
    return True


def _conv2d(
    w: _Watch,
    out: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: object = None,
    *more: object,
    **kw: object,
) -> bool:
    name, wiring, wires = w.names.get(id(weight)), w.wiring, w.wires(x)
    groups = kw.get("groups", more[3] if len(more) > 3 else 1)
    if name is not None and groups == 1:
        wiring.add(name, 1, wires)
        new = wiring.new(out.shape[1])
    elif name is not None and groups == x.shape[1] == out.shape[1]:  # depthwise: a channel stays the same channel
        new = wires
    else:
        return False
    for entry in (weight, bias):
        if id(entry) in w.names:
            wiring.add(w.names[id(entry)], 0, new)
    w.give(out, new)
    return True


def _norm(w: _Watch, out: torch.Tensor, x: torch.Tensor, *args: object, **kwargs: object) -> bool:
    wires = w.wires(x)
    for entry in _tensors((args, kwargs)):
        if id(entry) not in w.names:
            return False
        w.wiring.add(w.names[id(entry)], 0, wires)
    w.give(out, wires)
    return True


_RULES: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_BINARY.split(), _binary),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    **dict.fromkeys(("chunk", "split"), _cut),
    "__getitem__": _index,
    "conv2d": _conv2d,
    "batch_norm": _norm,
}


@torch.no_grad()
def trace(model: nn.Module, size: int = 64) -> Wiring:
    """Return the wiring of a model of this package, followed through one pass of an image of zeros.

    Args:
        model: of any task; the modes of its layers stay as they are.
        size: side of the image, a multiple of the model's stride.
    """
    first = next(model.parameters())
    channels = getattr(model, "yaml", {}).get("ch", 3)
    with in_eval(model), _Watch(model) as watch:
        out = model(torch.zeros(1, channels, size, size, device=first.device, dtype=first.dtype))
        watch.pin(out)
    return watch.wiring
