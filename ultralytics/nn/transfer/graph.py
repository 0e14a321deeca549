"""A model as a graph: its YAML lines, what they read, what reads them, and the shapes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ultralytics.nn.modules.conv import Concat
from ultralytics.nn.registry import is_built_in
from ultralytics.utils.torch_utils import in_eval

if TYPE_CHECKING:
    from ultralytics.nn.parse import Layer
    from ultralytics.nn.tasks import BaseModel

TRACE_SIZES = (128, 640)  # pixels, multiples of every stride
IMAGE = -1  # the number of the node that the first layer reads
Port = tuple[int, int]  # number of a node, and which of its outputs


@dataclass
class Node:
    """One YAML line; `channels` and `strides` of its outputs are empty where no pass of zeros was possible."""

    number: int  # among the lines; `index` differs after a line that fills several indices
    index: int
    kind: str
    module: nn.Module
    inputs: list[Port]
    consumers: list[int] = field(default_factory=list)
    channels: tuple[int, ...] = ()
    strides: tuple[float, ...] = ()
    readers: set[str] = field(default_factory=set)  # submodules without children that read the layer's input

    def __post_init__(self) -> None:
        self.entries = self.module.state_dict()
        # repeats of one class are a sequence, with numbers before the names
        self.repeated = type(self.module) is nn.Sequential and self.kind != "Sequential"
        cls = type(next(self.module.children()) if self.repeated else self.module)
        self.base = next((b for b in cls.__mro__ if is_built_in(b) and b is not nn.Module), cls)  # of a user's class

    def is_like(self, other: Node) -> bool:
        """Return whether two layers are of one class, apart from what users derive from it."""
        return self.base is other.base or self.kind == other.kind

    @property
    def span(self) -> int:
        """Number of indices that the line fills."""
        return getattr(self.module, "span", 1)

    @property
    def label(self) -> str:
        return f"{self.index} {self.kind}"


@dataclass
class Graph:
    """The nodes of a model in the order of its YAML, with the names of its classes and channels of its input."""

    nodes: list[Node]
    names: dict[int, str]
    nc: int
    ch: int

    def segments(self, node: Node) -> list[tuple[Port, int]]:
        """Return where the input channels of a layer come from, in order, as (port, channels), concats resolved."""
        found: list[tuple[Port, int]] = []
        for port in node.inputs:
            feeder = self.nodes[port[0]] if port[0] != IMAGE else None
            if feeder and isinstance(feeder.module, Concat) and feeder.module.d == 1:
                found += self.segments(feeder)
            elif feeder:
                found.append((port, feeder.channels[port[1]] if feeder.channels else 0))
            else:
                found.append((port, self.ch))
        return found


def has_graph(model: object) -> TypeGuard[BaseModel]:
    """Return whether a model consists of layers that know what they read."""
    layers = getattr(model, "model", None)
    return isinstance(layers, nn.Sequential) and all(hasattr(m, "f") and hasattr(m, "i") for m in layers)


def graph_of(model: BaseModel) -> Graph:
    """Return the graph of a model, which stays as it is."""
    producers: dict[int, Port] = {-1: (IMAGE, 0)}
    nodes: list[Node] = []
    for number, m in enumerate(cast("Iterable[Layer]", model.model)):
        sources = m.f if isinstance(m.f, list) else [m.f]
        inputs = [producers[j if j >= 0 else m.i + j] for j in sources]
        kind = getattr(m, "type", type(m).__name__).rpartition(".")[2]
        nodes.append(Node(number, m.i, kind, m, inputs))
        producers |= {m.i + k: (number, k) for k in range(nodes[-1].span)}
    for node in nodes:
        for number in {n for n, _ in node.inputs if n != IMAGE}:
            nodes[number].consumers.append(node.number)
    _trace(model, nodes)
    names = dict(getattr(model, "names", None) or {})
    return Graph(nodes, names, len(names), getattr(model, "yaml", {}).get("ch", 3))


@torch.no_grad()
def _trace(model: BaseModel, nodes: list[Node]) -> None:
    """Fill in channels, strides and readers of the nodes by a pass of zeros in eval mode, which changes nothing."""
    p = next(model.parameters())
    for size in TRACE_SIZES:
        x = torch.zeros(1, model.yaml.get("ch", 3), size, size, device=p.device, dtype=p.dtype)
        hooks = [hook for node in nodes for hook in _watch(node, size)]
        try:
            with in_eval(model):
                model.predict(x)
            return
        except Exception:  # of a user's module that is made for another size
            for node in nodes:
                node.channels, node.strides, node.readers = (), (), set()
        finally:
            for hook in hooks:
                hook.remove()


def _watch(node: Node, size: int) -> list[RemovableHandle]:
    """Return hooks that fill a node when its layer runs on an image of `size` pixels."""
    given: list[object] = []

    def after(m: nn.Module, inputs: tuple, output: torch.Tensor | list | tuple) -> None:
        given.clear()  # activations may be shared by layers
        maps = [t for t in (output if node.span > 1 else [output]) if isinstance(t, torch.Tensor)]
        node.channels = tuple(t.shape[1] for t in maps)
        node.strides = tuple(size / t.shape[-2] if t.ndim == 4 else 0.0 for t in maps)

    def reader(name: str) -> Callable:
        def before(m: nn.Module, inputs: tuple) -> None:
            if inputs and given and inputs[0] is given[-1]:
                node.readers.add(name)

        return before

    hooks = [
        node.module.register_forward_pre_hook(lambda m, inputs: given.append(inputs[0])),
        node.module.register_forward_hook(after),
    ]
    for name, m in node.module.named_modules():
        if next(m.children(), None) is None:
            hooks.append(m.register_forward_pre_hook(reader(name)))
    return hooks
