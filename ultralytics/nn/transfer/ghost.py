"""From a trained dense model to its Ghost version by computation: no label is read and no training loop is run.

Where the target has a `GhostConv` in the place of a `Conv`, half of the channels stay convolutions and the others are
derived from those by 5x5 depthwise filters (Han et al., arXiv 1911.11907, section 3.1). The steps:

1. On calibration pictures, each channel is derived from each other by least squares; a matching of maximum weight on
   what is left, weighed by what the readers of the channel make of it, says which are computed and which is derived
   from which (`pairing`).
2. The dense model's channels are reordered accordingly, with everything that reads them or is tied to them (`wiring`).
   All other layers are then copied whole.
3. Layer by layer, each convolution is fitted to what the dense model gives there, from what the converted model reads
   there: errors of earlier layers are compensated by later ones. Batch norms take the statistics of the new outputs.
4. Each layer is then polished by some steps of Adam on the squared distance to the dense layer's output, as in block
   reconstruction for quantisation (Li et al., BRECQ, arXiv 2102.05426).

A `C2f` or `C3k2` that becomes a `C3Ghost` is built anew: its two 1x1 convolutions take the halves of the dense one,
each Ghost bottleneck is fitted to the bottleneck in its place, and the last 1x1 convolution is fitted to make up for
the outputs that a C3 does not keep.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ultralytics.nn.modules.block import C2f, C3Ghost
from ultralytics.nn.modules.conv import Conv, GhostConv
from ultralytics.nn.transfer.fitting import (
    NormalEquations,
    at,
    batches,
    explained,
    folded,
    positions,
    unfold_bn,
    windows,
)
from ultralytics.nn.transfer.pairing import match, residuals
from ultralytics.nn.transfer.report import Report, Row
from ultralytics.nn.transfer.wiring import Wiring, trace
from ultralytics.utils.errors import ModelError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel


@dataclass
class Options:
    """How a conversion is done; the defaults gave the best mAP."""

    matching: bool = True  # or greedy pairs
    weighted: bool = True  # channels count by what their readers make of them
    sequential: bool = True  # fit on what the converted model reads, not on what the dense one does
    refit: bool = True  # fit dense convolutions anew too
    ridge: float = 0.01  # holds refitted weights near the trained ones
    steps: int = 0  # of Adam for each layer
    samples: int = 4096  # positions of a layer, at least
    seed: int = 0


class _Reached(Exception):
    """What was wanted of a layer has been seen; the rest of it is left out."""


@contextlib.contextmanager
def _stop_at(module: nn.Module, see: Callable[[Any, Any], None], after: bool) -> Iterator[None]:
    """Within this context, a pass ends at a module, whose inputs (and output) `see` gets."""

    def hook(_: nn.Module, inputs: tuple, out: Any = None) -> None:
        see(inputs[0], out)
        raise _Reached

    handle = module.register_forward_hook(hook) if after else module.register_forward_pre_hook(hook)
    try:
        with contextlib.suppress(_Reached):
            yield
    finally:
        handle.remove()


def _output(layer: nn.Module, inside: nn.Module, x: Any) -> torch.Tensor:
    """Return what a module inside a layer gives when the layer reads `x`."""
    found = []
    with _stop_at(inside, lambda _, out: found.append(out.clone()), after=True):
        layer(x)
    return found[0]


def _input(layer: nn.Module, inside: nn.Module, x: Any) -> torch.Tensor:
    """Return what a module inside a layer reads when the layer reads `x`."""
    found = []
    with _stop_at(inside, lambda seen, _: found.append(seen), after=False):
        layer(x)
    return found[0]


class Stream:
    """A model's outputs on the calibration pictures, kept only as long as a later layer reads them."""

    def __init__(self, model: BaseModel, pictures: list[torch.Tensor]):
        self.model, self.now = model, list(pictures)
        self.kept: dict[int, list[torch.Tensor]] = {}
        self.last: dict[int, int] = {}  # index of an output: the last layer that reads it
        for n, m in enumerate(model.model):
            for j in m.f if isinstance(m.f, list) else [m.f]:
                if j != -1:
                    self.last[j % m.i if j < 0 else j] = n

    def inputs(self, n: int) -> list[Any]:
        """Return what layer number `n` reads, batch by batch; the layers before it must have run."""
        m = self.model.model[n]
        if m.f == -1:
            return self.now
        one = isinstance(m.f, int)
        sources = [m.f] if one else m.f
        lists = [self.now if j == -1 else self.kept[j % m.i if j < 0 else j] for j in sources]
        return lists[0] if one else [list(xs) for xs in zip(*lists)]

    def advance(self, n: int, inputs: list[Any]) -> None:
        """Run layer number `n` on its inputs and forget what no later layer reads."""
        m = self.model.model[n]
        outs = [m(list(x) if isinstance(x, list) else x) for x in inputs]
        for k in range(m.span):
            if m.i + k in self.last:
                self.kept[m.i + k] = [out[k] if m.span > 1 else out for out in outs]
        self.now = [out[-1] for out in outs] if m.span > 1 else outs
        self.kept = {j: v for j, v in self.kept.items() if self.last[j] > n}


@dataclass
class Site:
    """A convolution of the target and what its output must be: that of `teacher` (batch norm, else convolution)."""

    path: str
    conv: nn.Conv2d
    bn: nn.BatchNorm2d | None
    teacher: nn.Module
    first: int | None = None  # this many of the teacher's channels, from the start; None: all


def _pairs(source: nn.Module, target: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Yield path, module, and counterpart of what stands at the same place in two layers, as deep as both agree."""
    kids = dict(target.named_children())
    names = [k for k, _ in source.named_children()]
    if type(source) is not type(target) or not names or names != [*kids] or isinstance(source, Conv):
        yield path, source, target
        return
    for name, child in source.named_children():
        yield from _pairs(child, kids[name], f"{path}.{name}" if path else name)


def _fits(source: nn.Module, target: nn.Module) -> bool:
    """Tell whether two modules have the same entries with the same shapes."""
    a, b = source.state_dict(), target.state_dict()
    return a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)


def _becomes_ghost(source: nn.Module, target: nn.Module) -> bool:
    return type(source) is Conv and type(target) is GhostConv


class Conversion:
    """One conversion of a dense model, of which it works on a copy, into a target, which it changes."""

    def __init__(self, source: BaseModel, target: BaseModel, pictures: list[torch.Tensor], options: Options):
        self.target, self.pictures, self.options = target, pictures, options
        self.dense = copy.deepcopy(source).float().eval()
        self.rng = torch.Generator().manual_seed(options.seed)
        self.notes: dict[int, list[str]] = {}
        self.done: dict[int, int] = {}  # numbers converted, by layer
        _check(self.dense, target)

    @torch.no_grad()
    def run(self) -> Report:
        """Convert, and say how."""
        self.reorder()
        self.copy_whole()
        dense, ghost = Stream(self.dense, self.pictures), Stream(self.target, self.pictures)
        for n in range(len(self.target.model)):
            wanted, given = dense.inputs(n), ghost.inputs(n)
            self.convert(n, wanted, given if self.options.sequential else wanted)
            dense.advance(n, wanted)
            ghost.advance(n, given)
        return self.report()

    # ------------------------------------------------------------------------------------------------ order

    def reorder(self) -> None:
        """Bring the channels of each convolution that becomes a GhostConv into its order: computed, then derived."""
        sites = [
            (n, f"model.{s.i}{path and '.' + path}", conv)
            for n, (s, t) in enumerate(zip(self.dense.model, self.target.model))
            for path, conv, ghost in _pairs(s, t)
            if _becomes_ghost(conv, ghost)
        ]
        if not sites:
            return
        wiring, settled = trace(self.dense), set()
        samples = self.sample([conv for _, _, conv in sites])
        for (n, name, conv), (seen, z) in zip(sites, samples):
            weight = f"{name}.conv.weight"
            groups = wiring.groups()
            roots = [wiring.root(w) for w in wiring.axis(weight).wires]
            free = [None if r in settled else groups.get(r) for r in roots]
            cost = residuals(seen, z, conv.act)
            if self.options.weighted:
                cost = cost * self.importance(wiring, weight)
            order = match(cost, free, greedy=not self.options.matching)
            if None in free or len({*free}) > 1:
                self.notes.setdefault(n, []).append("order tied, pairs as they lie" if None in free else "order split")
            moves = wiring.moves(weight, order)
            wiring.permute(self.dense, moves)
            settled.update(roots)

    def importance(self, wiring: Wiring, weight: str) -> torch.Tensor:
        """Return for each output of a convolution the squared norm of the weights by which it is read."""
        state = self.dense.state_dict()
        total = torch.zeros(len(wiring.axis(weight).wires))
        for name, pairs in wiring.readers(weight).items():
            norms = state[name].transpose(0, 1).flatten(1).square().sum(1)
            for out, k in pairs:
                total[out] += norms[k]
        return total.clamp_min(total.mean() * 1e-3) if total.sum() > 0 else torch.ones_like(total)

    def sample(self, convs: list[Conv]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return what a 5x5 filter on each convolution's output reads, and the outputs before the activation."""
        cheap = nn.Conv2d(1, 1, 5, padding=2, bias=False)
        found: list[list[tuple]] = [[] for _ in convs]
        share = math.ceil(self.options.samples / sum(len(x) for x in self.pictures))

        def hook(k: int, act: nn.Module) -> Callable:
            def see(_: nn.Module, __: Any, z: torch.Tensor) -> None:
                rows, cols = positions(*z.shape[-2:], share, self.rng)
                found[k].append((windows(act(z.clone()), cheap, rows, cols), at(z, rows, cols)))

            return see

        hooks = [conv.bn.register_forward_hook(hook(k, conv.act)) for k, conv in enumerate(convs)]
        try:
            for x in self.pictures:
                self.dense(x)
        finally:
            for handle in hooks:
                handle.remove()
        return [(torch.cat([a for a, _ in f]), torch.cat([b for _, b in f])) for f in found]

    # ------------------------------------------------------------------------------------------------ weights

    def copy_whole(self) -> None:
        """Copy what stands at the same place with the same shapes, and start what becomes Ghost from its first half."""
        for s, t in zip(self.dense.model, self.target.model):
            for _, a, b in _pairs(s, t):
                if _becomes_ghost(a, b):
                    _take(a, b.cv1, range(b.cv1.conv.out_channels))
                elif _fits(a, b):
                    b.load_state_dict(a.state_dict())

    def convert(self, n: int, wanted: list[Any], given: list[Any]) -> None:
        """Fit layer number `n` of the target, which reads `given`, to that of the dense model, which reads `wanted`."""
        s, t = self.dense.model[n], self.target.model[n]
        if not any(True for _ in t.parameters()):
            return
        for path, a, b in _pairs(s, t):
            if _becomes_ghost(a, b):
                ev = self.fit_ghost(s, t, a, b, wanted, given)
                self.notes.setdefault(n, []).append(f"{path} EV {ev:.3f}".strip())
                self.done[n] = self.done.get(n, 0) + sum(p.numel() for p in b.parameters())
            elif self.options.refit and _fits(a, b):
                for site in _sites(a, b):
                    self.fit(s, t, site, wanted, given)
        if self.options.steps:
            reconstruct(s, t, wanted, given, self.options.steps, self.rng)
            self.refresh(t, given)

    def fit(self, s: nn.Module, t: nn.Module, site: Site, wanted: list[Any], given: list[Any]) -> None:
        """Fit a convolution to its teacher's output by least squares, held near the weights that it has."""
        conv = site.conv
        depthwise = conv.groups > 1
        if depthwise and conv.groups != conv.in_channels != conv.out_channels:
            return  # groups of several channels stay as they are
        weight, bias = folded(conv, site.bn)
        taps = weight[0].numel()
        per = conv.groups if depthwise else 1
        equations = NormalEquations(taps, 1 if depthwise else conv.out_channels, (per,) if depthwise else ())
        share = math.ceil(max(self.options.samples, 4 * taps) / sum(len(x) for x in self.pictures))
        total = total2 = 0.0
        for x, y in zip(given, wanted):
            z = _output(s, site.teacher, y)[:, : site.first]
            rows, cols = positions(*z.shape[-2:], share, self.rng)
            seen, z = windows(_input(t, conv, x), conv, rows, cols), at(z, rows, cols)
            if depthwise:
                equations.add(seen.transpose(0, 1), z.T[..., None])
            else:
                equations.add(seen.flatten(1), z)
        start = torch.cat((weight.flatten(1), bias[:, None]), 1)  # out, taps + 1
        solved = equations.solve(start[..., None] if depthwise else start.T, self.options.ridge).float()
        solved = solved[..., 0] if depthwise else solved.T
        weight, bias = solved[:, :-1].reshape(weight.shape), solved[:, -1].contiguous()
        self.write(t, site, weight, bias, given)

    def write(self, t: nn.Module, site: Site, weight: torch.Tensor, bias: torch.Tensor, given: list[Any]) -> None:
        """Give a site a folded weight and bias, and its batch norm the statistics of all that it computes."""
        conv = site.conv
        if site.bn is None:
            unfold_bn(conv, None, weight, bias, bias, bias)
            return
        outs = [_conv(conv, _input(t, conv, x), weight, bias) for x in given]
        mean, var = _moments(outs)
        unfold_bn(conv, site.bn, weight, bias, mean, var)

    def refresh(self, t: nn.Module, given: list[Any]) -> None:
        """Give the batch norms of a layer the statistics of what they read, outputs unchanged."""
        for m in t.modules():
            if isinstance(m, Conv) and m.bn is not None:
                weight, bias = folded(m.conv, m.bn)
                self.write(t, Site("", m.conv, m.bn, m), weight, bias, given)

    def fit_ghost(
        self, s: nn.Module, t: nn.Module, conv: Conv, ghost: GhostConv, wanted: list[Any], given: list[Any]
    ) -> float:
        """Fit a GhostConv to a convolution whose channels have its order; return the share of variance it explains."""
        half = ghost.cv1.conv.out_channels
        if self.options.sequential or self.options.refit:
            self.fit(s, t, Site("", ghost.cv1.conv, ghost.cv1.bn, conv.bn, half), wanted, given)
        share = math.ceil(self.options.samples / sum(len(x) for x in self.pictures))
        cheap = ghost.cv2.conv
        xs, zs = [], []
        for x, y in zip(given, wanted):
            z = _output(s, conv.bn, y)[:, half:]
            rows, cols = positions(*z.shape[-2:], share, self.rng)
            xs.append(windows(_input(t, cheap, x), cheap, rows, cols))
            zs.append(at(z, rows, cols))
        seen, z = torch.cat(xs).transpose(0, 1), torch.cat(zs).T  # channel, sample, taps
        weights = fit_behind(seen, z, ghost.cv2.act)
        weight = weights[:, :-1].reshape(cheap.weight.shape)
        self.write(t, Site("", cheap, ghost.cv2.bn, conv), weight, weights[:, -1].contiguous(), given)
        wish = [_output(s, conv, y) for y in wanted[:2]]
        made = [_output(t, ghost, x) for x in given[:2]]
        flat = [torch.cat([m.transpose(0, 1).flatten(1) for m in ms], 1).T for ms in (wish, made)]
        return float(explained(*flat))

    # ------------------------------------------------------------------------------------------------ report

    def report(self) -> Report:
        rows = []
        for n, (s, t) in enumerate(zip(self.dense.model, self.target.model)):
            total = sum(p.numel() for p in t.parameters())
            whole = sum(
                sum(p.numel() for p in b.parameters()) for _, a, b in _pairs(s, t) if _fits(a, b)
            )
            taken = whole + self.done.get(n, 0)
            if total:
                how = "converted" if n in self.done else "whole" if taken == total else "part" if taken else "random"
                note = "; ".join(self.notes.get(n, []))
                rows.append(Row(f"model.{t.i}", f"model.{s.i}", type(t).__name__, how, taken, total, note))
        return Report(rows)


def fit_behind(seen: torch.Tensor, z: torch.Tensor, act: nn.Module, rounds: int = 8) -> torch.Tensor:
    """Return filters (c, taps + 1), the bias last, whose outputs behind an activation are nearest to `act(z)`.

    Least squares before the activation, then Gauss-Newton steps (damped, kept only where they help).

    Args:
        seen: (c, n, taps).
        z: (c, n).
    """
    equations = NormalEquations(seen.shape[-1], 1, (len(seen),))
    equations.add(seen, z[..., None])
    weights = equations.solve(ridge=1e-5).float()[..., 0]
    y = act(z)
    x = torch.cat((seen, seen.new_ones(*seen.shape[:-1], 1)), -1)
    damping = torch.full((len(seen), 1, 1), 1e-3)

    def look(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fit = (x @ w[..., None])[..., 0]
        with torch.enable_grad():
            at = fit.clone().requires_grad_()
            out = act(at)
            slope = torch.autograd.grad(out.sum(), at)[0]
        return (y - out.detach()), slope, (y - out.detach()).square().mean(1)

    left, slope, error = look(weights)
    for _ in range(rounds):
        j = x * slope[..., None]
        jj = (j.mT @ j).double()
        scale = jj.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-9)
        step = torch.linalg.solve(
            jj + damping * scale * torch.eye(jj.shape[-1], dtype=jj.dtype), (j.mT @ left[..., None]).double()
        )
        tried = weights + step[..., 0].float()
        left2, slope2, error2 = look(tried)
        better = error2 < error
        weights = torch.where(better[:, None], tried, weights)
        left, slope = torch.where(better[:, None], left2, left), torch.where(better[:, None], slope2, slope)
        error = torch.where(better, error2, error)
        damping = torch.where(better[:, None, None], damping / 4, damping * 8)
    return weights


def reconstruct(
    s: nn.Module, t: nn.Module, wanted: list[Any], given: list[Any], steps: int, rng: torch.Generator
) -> None:
    """Bring a layer's output nearer to the dense one's, by Adam on all its weights; batch norms as in inference."""
    params = [p for p in t.parameters() if p.is_floating_point()]
    if not params:
        return
    goals = [[g.clone() for g in _maps(s(list(y) if isinstance(y, list) else y))] for y in wanted]
    scales = [1 / sum(float(g[k].var()) for g in goals) * len(goals) for k in range(len(goals[0]))]
    flags = [p.requires_grad for p in params]
    dfl = {id(p) for m in t.modules() if type(m).__name__ == "DFL" for p in m.parameters()}
    params = [p for p in params if id(p) not in dfl]
    with torch.enable_grad():
        for p in params:
            p.requires_grad_(True)
        adam = torch.optim.Adam(params, lr=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            k = int(torch.randint(len(given), (1,), generator=rng))
            x = [v.detach() for v in given[k]] if isinstance(given[k], list) else given[k].detach()
            outs = _maps(t(x))
            loss = sum(w * (o - g).square().mean() for w, o, g in zip(scales, outs, goals[k]))
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
    for p, flag in zip([*t.parameters()], flags):
        p.requires_grad_(flag)
        p.grad = None


def _maps(out: Any) -> list[torch.Tensor]:
    """Return all tensors of a layer's output; of a head in inference those that it decodes."""
    if isinstance(out, torch.Tensor):
        return [out]
    if isinstance(out, tuple):
        return _maps(list(out[1:]))
    return [x for o in out for x in _maps(o if not isinstance(o, tuple) else list(o))]


def _conv(conv: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _moments(outs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel over batches."""
    n = sum(o.numel() // o.shape[1] for o in outs)
    mean = sum(o.double().sum((0, 2, 3)) for o in outs) / n
    var = sum((o.double() - mean[:, None, None]).square().sum((0, 2, 3)) for o in outs) / n
    return mean.float(), var.float()


def _sites(source: nn.Module, target: nn.Module) -> Iterator[Site]:
    """Yield the convolutions of two modules of the same shapes, in the order in which they stand."""
    kids = dict(source.named_modules())
    inner = {}
    for path, m in target.named_modules():
        if isinstance(m, Conv) and m.bn is not None:
            inner[id(m.conv)] = True
            yield Site(path, m.conv, m.bn, kids[path].bn)
        elif type(m) is nn.Conv2d and id(m) not in inner and m.bias is not None:
            yield Site(path, m, None, kids[path])


def _take(source: Conv, target: Conv, rows: range) -> None:
    """Copy some output channels of a convolution."""
    keep = torch.tensor([*rows])
    state = {k: v[keep] if v.ndim else v for k, v in source.state_dict().items()}
    target.load_state_dict(state)


def _check(source: BaseModel, target: BaseModel) -> None:
    """Raise ModelError unless two models have the same graph and their batch norms."""
    graph = [[(m.i, m.f, m.span) for m in model.model] for model in (source, target)]
    if graph[0] != graph[1]:
        raise ModelError(
            f"The two models have different graphs ({len(graph[0])} and {len(graph[1])} layers): a conversion needs "
            "layers that read the same layers. Take over what fits with transfer() instead."
        )
    for model in (source, target):
        if any(isinstance(m, Conv) and m.bn is None for m in model.modules()):
            raise ModelError("A fused model cannot be converted: load it without fuse().")


def to_ghost(
    source: BaseModel, target: BaseModel, pictures: torch.Tensor | Iterable[torch.Tensor], **options: Any
) -> Report:
    """Convert a trained dense model into its Ghost version, in place of `target`; return what was done.

    Args:
        source: trained, not fused; it stays as it is.
        target: of the same graph, with a GhostConv or C3Ghost in the place of some Conv, C2f or C3k2.
        pictures: calibration pictures as the model gets them, (n, ch, h, w), or an iterable of pictures and batches;
            0..1, or uint8.
        options: see `Options`.

    Raises:
        ModelError: the graphs differ, or a model is fused.
    """
    training = target.training
    target.eval()
    try:
        return Conversion(source, target, batches(pictures), Options(**options)).run()
    finally:
        target.train(training)
