"""Lossless rewriting of a model before export, which makes its graph faster in ways that runtimes do not find.

Concatenation and splitting copy maps, for which CPUs take their blocks of channels apart and put them together again; a
1x1 convolution can read and write maps where they are. Each rule is a function that changes a model in place and
returns how often it did; `RULES` names them. docs/export-graph.md has what each of them gains.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import accumulate
from typing import NamedTuple, TypeGuard

import torch
from torch import nn

from ultralytics.nn.modules import C2, C2PSA, C3, DFL, PSA, SPPF, C2f, Concat, Conv, GhostConv, JoinConv, SplitConv
from ultralytics.nn.transfer.graph import IMAGE, Graph, Node, graph_of, has_graph
from ultralytics.utils.errors import ConfigError, ModelError, did_you_mean

Place = tuple[nn.Module, str]  # a module and the name of one of its children

# Activations that work on each channel alone.
ELEMENTWISE = (
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardtanh,  # ReLU6 is one
    nn.Identity,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.Sigmoid,
    nn.SiLU,
    nn.Tanh,
)


class Plan(NamedTuple):
    """The roles of a block's convolutions, by their names."""

    reads: tuple[str, ...]  # all that read the block's input
    halves: str = ""  # whose output is split into two halves
    joins: str = ""  # which reads several maps of equally many channels
    maps: Callable[[nn.Module], int] = lambda block: 0  # number of these maps


# By the block's forward; a subclass with its own forward is not known.
PLANS: dict[Callable, Plan] = {
    C2.forward: Plan(("cv1",), "cv1", "cv2", lambda block: 2),
    C2f.forward: Plan(("cv1",), "cv1", "cv2", lambda block: 2 + len([*block.get_submodule("m").children()])),
    C2PSA.forward: Plan(("cv1",), "cv1", "cv2", lambda block: 2),
    C3.forward: Plan(("cv1", "cv2"), "", "cv3", lambda block: 2),
    GhostConv.forward: Plan(("cv1",)),
    PSA.forward: Plan(("cv1",), "cv1", "cv2", lambda block: 2),
    SPPF.forward: Plan(("cv1",), "", "cv2", lambda block: 4),
}


def rewrite(model: nn.Module, skip: Collection[str] = ()) -> dict[str, int]:
    """Rewrite a fused model in eval mode so that it computes the same, but faster once it is exported.

    Modules with hooks stay as they are. The counts are kept as `model.rewritten`, and a model that has them is not
    changed again: a rule that was skipped is not applied later either.

    Args:
        model: a copy for export: it cannot be trained any more, and its weights get other names.
        skip: rules of `RULES` to skip.

    Returns:
        How often each rule was applied.

    Raises:
        ConfigError: there is no such rule.
        ModelError: the model is in training mode.
    """
    for name in skip:
        if name not in RULES:
            raise ConfigError(f"There is no rule '{name}', but {', '.join(RULES)}.{did_you_mean(name, RULES)}")
    if model.training:
        raise ModelError("A model in training mode cannot be rewritten: call model.eval().fuse() first.")
    if "rewritten" not in vars(model):
        with torch.no_grad():
            vars(model)["rewritten"] = {name: rule(model) for name, rule in RULES.items() if name not in skip}
    return vars(model)["rewritten"]


# ------------------------------------------------------------------------------------------------------------- rules


class ProductDFL(nn.Module):
    """`DFL` by one matrix product, which gives numerator and denominator of each side's expectation.

    The greatest logit of each side is subtracted before exp, as in softmax: nothing overflows in any precision, and no
    denominator is below 1. Runtimes transpose for a softmax over an axis that is not the last; this needs no transpose.
    """

    sums: torch.Tensor

    def __init__(self, dfl: DFL):
        super().__init__()
        self.c1 = dfl.c1
        bins = dfl.conv.weight.detach().reshape(1, -1)
        numerators, denominators = (torch.block_diag(*[row] * 4) for row in (bins, torch.ones_like(bins)))
        self.register_buffer("sums", torch.cat((numerators, denominators)))  # (8, 4 * c1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = x.view(x.shape[0], 4, self.c1, x.shape[2])
        weights = (sides - sides.amax(2, keepdim=True)).exp().flatten(1, 2)
        numerators, denominators = (self.sums @ weights).chunk(2, 1)
        return numerators / denominators


def product_dfl(model: nn.Module) -> int:
    """Compute the box distribution's expectation by exp and one product instead of a softmax over a middle axis."""
    found = [(m, name, child) for m in model.modules() for name, child in m.named_children() if type(child) is DFL]
    return sum(_put((m, name), ProductDFL(dfl)) for m, name, dfl in found if _is_untouched(dfl))


def join_in_blocks(model: nn.Module) -> int:
    """Let the last convolutions of blocks read the maps that the blocks collect without concatenation."""
    count = 0
    for block, plan in _blocks(model):
        if plan.joins and _is_pointwise(conv := getattr(block, plan.joins)):
            n = plan.maps(block)
            count += _put((block, plan.joins), _by_columns(conv, [conv.conv.in_channels // n] * n))
    return count


def join_layers(model: nn.Module) -> int:
    """Let the 1x1 convolutions after a Concat line of the YAML read its inputs where they are."""
    count = 0
    for graph, node in _nodes(model):
        consumer = _only_reader(graph, node)
        if type(node.module) is not Concat or node.module.d != 1 or consumer is None or not node.channels:
            continue
        places = _readers(_place(model, consumer), _is_pointwise)
        channels = [graph.ch if n == IMAGE else graph.nodes[n].channels[k] for n, k in node.inputs]
        for place in places:
            if _is_pointwise(conv := _at(place)):
                _put(place, _by_columns(conv, channels))
        count += bool(places) and _put(_place(model, node), Maps())
    return count


def upsample_products(model: nn.Module) -> int:
    """Move nearest upsampling after the 1x1 convolutions that read its output: they work on a quarter of it."""
    count = 0
    for graph, node in _nodes(model):
        consumer = _only_reader(graph, node)
        if not _upsamples(node.module) or consumer is None or not isinstance(consumer.module, Maps):
            continue
        reader = _only_reader(graph, consumer)
        assert reader is not None  # `join_layers` put the Maps there for it
        places = _readers(_place(model, reader), lambda m: isinstance(m, JoinConv))
        joins = [join for place in places if isinstance(join := _at(place), JoinConv)]
        for join in joins:
            join.factors[consumer.inputs.index((node.number, 0))] = node.module.scale_factor
        count += bool(joins) and _put(_place(model, node), nn.Identity())
    return count


def split_in_blocks(model: nn.Module) -> int:
    """Compute the halves into which blocks split a convolution's output by one convolution each."""
    count = 0
    for block, plan in _blocks(model):
        conv = getattr(block, plan.halves) if plan.halves else None
        if (_is_pointwise(conv) or isinstance(conv, JoinConv)) and isinstance(conv.act, ELEMENTWISE):
            count += _put((block, plan.halves), _by_rows(conv))
    return count


# In this order: a rule works on the results of those before it.
RULES: dict[str, Callable[[nn.Module], int]] = {
    "dfl": product_dfl,
    "join": join_in_blocks,
    "concat": join_layers,
    "upsample": upsample_products,
    "split": split_in_blocks,
}


# ------------------------------------------------------------------------------------------------------------- parts


class Maps(nn.Identity):
    """The replacement of a Concat: it passes the list of maps on."""


def _cut(conv: nn.Conv2d, rows: slice = slice(None), columns: slice = slice(None)) -> nn.Conv2d:
    """Return the 1x1 convolution with some of the weight's rows and columns; only the first columns have the bias."""
    weight, bias = conv.weight[rows, columns], None if columns.start else conv.bias
    piece = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    piece.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        piece.bias = nn.Parameter(bias[rows].clone(), requires_grad=False)
    return piece


def _join(convs: list[nn.Conv2d], like: Conv | JoinConv) -> JoinConv:
    """Return the sum of convolutions with the activation, and the factors of upsampling if any, of `like`."""
    with torch.device("meta"):  # its own weights are not needed
        join = JoinConv([1] * len(convs), 1, act=like.act)
    join.convs, join.bn = nn.ModuleList(convs), None
    if isinstance(like, JoinConv):
        join.factors = [*like.factors]
    return join.eval()


def _by_columns(conv: Conv, channels: list[int]) -> JoinConv:
    """Return the equivalent of `conv` that reads maps with these channels without concatenation."""
    stops = [*accumulate(channels)]
    slices = [slice(stop - c, stop) for c, stop in zip(channels, stops)]
    return _join([_cut(conv.conv, columns=s) for s in slices], conv)


def _by_rows(conv: Conv | JoinConv) -> SplitConv:
    """Return the two halves of a convolution's output channels as convolutions of the same input."""
    whole = [*conv.convs] if isinstance(conv, JoinConv) else [conv.conv]
    plain = [c for c in whole if isinstance(c, nn.Conv2d)]
    middle = (plain[0].out_channels + 1) // 2  # as torch.chunk
    parts: list[nn.Module] = []
    for rows in (slice(None, middle), slice(middle, None)):
        convs = [_cut(c, rows) for c in plain]
        if isinstance(conv, JoinConv):
            parts.append(_join(convs, conv))
        else:
            parts.append(nn.Sequential(*convs, conv.act))
    return SplitConv(parts).eval()


def _is_untouched(m: nn.Module) -> bool:
    """Return whether a module has neither hooks nor a changed forward, so that it may be replaced."""
    return not (m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m))


def _is_pointwise(m: nn.Module | None) -> TypeGuard[Conv]:
    """Return whether a module is a fused 1x1 convolution with its activation, and nothing else."""
    if type(m) is not Conv or m.bn is not None or type(m.conv) is not nn.Conv2d:
        return False
    c = m.conv
    plain = (c.kernel_size, c.stride, c.padding, c.groups) == ((1, 1), (1, 1), (0, 0), 1)
    return plain and all(map(_is_untouched, (m, c, m.act)))


def _upsamples(m: nn.Module) -> TypeGuard[nn.Upsample]:
    """Return whether a module repeats pixels, so that a computation per pixel may come before it."""
    factor = m.scale_factor if type(m) is nn.Upsample and m.mode == "nearest" else None
    return factor is not None and min(factor if isinstance(factor, tuple) else (factor,)) > 1


def _blocks(model: nn.Module) -> Iterator[tuple[nn.Module, Plan]]:
    """Yield the blocks whose plan is known."""
    for m in [*model.modules()]:
        if type(m).forward in PLANS and "forward" not in vars(m):
            yield m, PLANS[type(m).forward]


def _readers(place: Place, wanted: Callable[[nn.Module], bool]) -> list[Place]:
    """Return the places of the convolutions that read a module's input, if all that read it are `wanted`; else []."""
    m = _at(place)
    if wanted(m):
        return [place]
    if not _is_untouched(m):
        return []
    inner = ("0",) if type(m) is nn.Sequential else getattr(PLANS.get(type(m).forward), "reads", ())
    found = [_readers((m, name), wanted) for name in inner]
    return [place for places in found for place in places] if all(found) else []


def _nodes(model: nn.Module) -> list[tuple[Graph, Node]]:
    """Return the lines of the model's YAML that may be replaced, with the graph; [] for a model without lines."""
    graph = graph_of(model) if has_graph(model) else Graph([], {}, 0, 0)
    return [(graph, node) for node in graph.nodes if _is_untouched(node.module)]


def _only_reader(graph: Graph, node: Node) -> Node | None:
    """Return the only line that reads a line's output, once; None if there are others, or if it is shared."""
    reader = graph.nodes[node.consumers[0]] if len(node.consumers) == 1 else None
    if reader is None or reader.inputs.count((node.number, 0)) != 1:
        return None
    alone = all(sum(other.module is n.module for other in graph.nodes) == 1 for n in (node, reader))
    return reader if alone and (isinstance(reader.module.f, int) or isinstance(reader.module, (Concat, Maps))) else None


def _place(model: nn.Module, node: Node) -> Place:
    return model.get_submodule("model"), str(node.index)


def _at(place: Place) -> nn.Module:
    return getattr(*place)


def _put(place: Place, new: nn.Module) -> bool:
    """Replace a module, with the attributes of its layer; return True."""
    old = _at(place)
    for name in ("i", "f", "span", "type", "np"):
        if name in vars(old):
            setattr(new, name, vars(old)[name])
    setattr(*place, new)
    return True
