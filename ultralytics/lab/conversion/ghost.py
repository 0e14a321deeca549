"""From a trained dense model to its Ghost version by computation: no label is read and no training loop is run.

Where the target has a `GhostConv` in the place of a `Conv`, half of the channels stay convolutions and the others are
derived from those by 5x5 depthwise filters (Han et al., arXiv 1911.11907, section 3.1). The steps:

1. On calibration images, each channel is derived from each other by least squares; a matching of maximum weight on
   what is left, weighed by what the readers of the channel make of it, says which are computed and which is derived
   from which (`pairing`).
2. The dense model's channels are reordered accordingly, with everything that reads them or is tied to them (`wiring`).
   All other layers are then copied whole.
3. Layer by layer, each convolution is fitted to what the dense model gives there, from what the converted model reads
   there: errors of earlier layers are compensated by later ones. Batch norms take the statistics of the new outputs.
4. Each layer is then polished by some steps of Adam on the squared distance to the dense layer's output, as in block
   reconstruction for quantisation (Li et al., BRECQ, arXiv 2102.05426).

Layers that differ in another way, such as a `C2f` that becomes a `C3Ghost`, take what `transfer` finds for them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ultralytics.lab.conversion.fitting import (
    NormalEquations,
    at,
    batches,
    explained,
    fit_behind,
    folded,
    moments,
    positions,
    sums,
    unfold_bn,
    windows,
)
from ultralytics.lab.conversion.pairing import match, residuals
from ultralytics.lab.conversion.stream import Inputs, Maps, Stream, input_of, layers_of, output_of
from ultralytics.lab.conversion.wiring import Wiring, trace
from ultralytics.nn.modules.block import DFL
from ultralytics.nn.modules.conv import Conv, GhostConv
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.transfer import transfer
from ultralytics.nn.transfer.report import Report, Row
from ultralytics.utils.errors import ModelError
from ultralytics.utils.torch_utils import in_eval

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel


@dataclass
class Options:
    """Options of a conversion; the defaults gave the best mAP among those measured."""

    ridge: float = 0.01  # holds refitted weights near the trained ones
    steps: int = 100  # of Adam for each unit of layers; 0: closed form alone, in a fraction of the time
    rate: float = 1e-3  # learning rate of Adam
    samples: int = 4096  # positions of a layer, at least
    seed: int = 0


ALIKE = "in_channels", "kernel_size", "stride", "padding", "dilation", "groups"  # in a Conv and its GhostConv
Goal = Callable[[Maps, Maps], torch.Tensor]  # of a layer's inputs (dense, given): the map that a convolution must give


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
    """Whether two modules have the same entries with the same shapes."""
    a, b = source.state_dict(), target.state_dict()
    return a.keys() == b.keys() and all(a[k].shape == b[k].shape for k in a)


def _lightened(source: nn.Module, target: nn.Module) -> tuple[Conv, GhostConv] | None:
    """Return two modules if one is a convolution and the other the GhostConv that it becomes."""
    if type(source) is not Conv or type(target) is not GhostConv:
        return None
    a, b = source.conv, target.cv1.conv
    alike = a.out_channels == 2 * b.out_channels and all(getattr(a, k) == getattr(b, k) for k in ALIKE)
    return (source, target) if alike else None


def _norm(conv: Conv) -> nn.BatchNorm2d:
    """Return the batch norm of a convolution, which no model lacks here (see `_check`)."""
    assert conv.bn is not None
    return conv.bn


class Conversion:
    """One conversion of a dense model, of which it works on a copy, into a target, which it changes."""

    def __init__(self, source: BaseModel, target: BaseModel, images: list[torch.Tensor], options: Options):
        self.target, self.images, self.options = target, images, options
        self.dense = copy.deepcopy(source).float().cpu().eval()
        self.rng = torch.Generator().manual_seed(options.seed)
        self.notes: dict[int, list[str]] = {}
        self.done: dict[int, int] = {}  # numbers converted, by layer
        _check(self.dense, target)

    @torch.no_grad()
    def run(self) -> Report:
        """Convert the model and report how."""
        self.reorder()
        placed = transfer(self.dense, self.target)  # in the new order; what is copied whole replaces it
        self.copy_whole()
        dense, ghost = Stream(self.dense, self.images), Stream(self.target, self.images)
        for unit in self.units():
            specs, mark = ghost.specs(unit), ghost.mark()
            for n in unit:
                wanted, given = dense.inputs(n), ghost.inputs(n)
                self.convert(n, wanted, given)
                outs = dense.advance(n, wanted)
                ghost.advance(n, given)
            if self.options.steps and any(True for n in unit for _ in self.target.model[n].parameters()):
                self.reconstruct(unit, specs, outs)
                ghost.back(mark)
                for n in unit:
                    given = ghost.inputs(n)
                    self.refresh(self.target.model[n], given)
                    ghost.advance(n, given)
        return placed.replace(self.report())

    def units(self) -> list[list[int]]:
        """Return the layers' numbers in units to be reconstructed together.

        A GhostConv whose output is read by the next layer alone is one unit with it: only what comes out there counts,
        so its channels need not be those of the dense layer.
        """
        units: list[list[int]] = [[]]
        for n, (s, t) in enumerate(zip(layers_of(self.dense), layers_of(self.target))):
            units[-1].append(n)
            inside = len(units[-1]) > 1 and not any(True for _ in t.parameters())  # a Concat within a unit
            if t.i in self.target.save or not (inside or _lightened(s, t)):
                units.append([])
        return [u for u in units if u]

    # ------------------------------------------------------------------------------------------------ order

    def reorder(self) -> None:
        """Bring the channels of each convolution that becomes a GhostConv into its order: computed, then derived."""
        sites = [
            (n, f"model.{s.i}{path and '.' + path}", pair[0])
            for n, (s, t) in enumerate(zip(layers_of(self.dense), layers_of(self.target)))
            for path, a, b in _pairs(s, t)
            if (pair := _lightened(a, b))
        ]
        if not sites:
            return
        wiring = trace(self.dense)
        settled: set[int] = set()
        samples = self.sample([conv for _, _, conv in sites])
        for (n, name, conv), (seen, z) in zip(sites, samples):
            weight = f"{name}.conv.weight"
            groups = wiring.groups()
            roots = [wiring.root(w) for w in wiring.axis(weight).wires]
            free = [None if r in settled else groups.get(r) for r in roots]
            order = match(residuals(seen, z, conv.act) * self.importance(wiring, weight), free)
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
        share = math.ceil(self.options.samples / sum(len(x) for x in self.images))

        def hook(k: int, act: nn.Module) -> Callable:
            def see(_: nn.Module, __: object, z: torch.Tensor) -> None:
                rows, cols = positions(z.shape[-2], z.shape[-1], share, self.rng)
                found[k].append((windows(act(z.clone()), cheap, rows, cols), at(z, rows, cols)))

            return see

        hooks = [_norm(conv).register_forward_hook(hook(k, conv.act)) for k, conv in enumerate(convs)]
        try:
            for x in self.images:
                self.dense(x)
        finally:
            for handle in hooks:
                handle.remove()
        return [(torch.cat([a for a, _ in f]), torch.cat([b for _, b in f])) for f in found]

    # ------------------------------------------------------------------------------------------------ weights

    def copy_whole(self) -> None:
        """Copy what stands at the same place with the same shapes, and start what becomes Ghost from its first half."""
        for s, t in zip(layers_of(self.dense), layers_of(self.target)):
            for _, a, b in _pairs(s, t):
                if pair := _lightened(a, b):
                    conv, ghost = pair
                    _blank(ghost)
                    _take(conv, ghost.cv1, ghost.cv1.conv.out_channels)
                elif _fits(a, b):
                    b.load_state_dict(a.state_dict())

    def convert(self, n: int, wanted: Sequence[Maps], given: Sequence[Maps]) -> None:
        """Fit layer number `n` of the target, which reads `given`, to that of the dense model, which reads `wanted`."""
        s, t = self.dense.model[n], self.target.model[n]
        for path, a, b in _pairs(s, t):
            inputs = Inputs(t, wanted, given)
            if pair := _lightened(a, b):
                ev = self.fit_ghost(inputs, pair[1], _shown(s, _norm(pair[0])))
                self.notes.setdefault(n, []).append(f"{path} EV {ev:.3f}".strip())
                self.done[n] = self.done.get(n, 0) + _numbers(b)
            elif _fits(a, b):
                for conv, bn, teacher in _convolutions(a, b):
                    self.fit(inputs, conv, bn, _shown(s, teacher))

    def fit(self, inputs: Inputs, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, goal: Goal) -> None:
        """Fit a convolution to a goal by least squares, held near the weights that it has."""
        depthwise = conv.groups > 1
        if depthwise and not conv.groups == conv.in_channels == conv.out_channels:
            return  # groups of several channels stay as they are
        weight, bias = folded(conv, bn)
        taps, per = weight[0].numel(), (conv.groups,) if depthwise else ()
        equations = NormalEquations(taps, 1 if depthwise else conv.out_channels, per)
        for seen, z in self.seen(inputs, conv, goal, max(self.options.samples, 4 * taps)):
            if depthwise:
                equations.add(seen.transpose(0, 1), z.T[..., None])
            else:
                equations.add(seen.flatten(1), z)
        start = torch.cat((weight.flatten(1), bias[:, None]), 1)  # out, taps + 1
        solved = equations.solve(start[..., None] if depthwise else start.T, self.options.ridge).float()
        solved = solved[..., 0] if depthwise else solved.T
        self.write(inputs, conv, bn, solved[:, :-1].reshape(weight.shape), solved[:, -1].contiguous())

    def seen(
        self, inputs: Inputs, conv: nn.Conv2d, goal: Goal, samples: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield for each batch what a convolution reads at some positions (n, c, taps), and its goal there (n, c)."""
        share = math.ceil(samples / sum(len(x) for x in self.images))
        for y, x in zip(inputs.wanted, inputs.given):
            z = goal(y, x)
            rows, cols = positions(z.shape[-2], z.shape[-1], share, self.rng)
            yield windows(input_of(inputs.layer, conv, x), conv, rows, cols), at(z, rows, cols)

    def write(
        self, inputs: Inputs, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, weight: torch.Tensor, bias: torch.Tensor
    ) -> None:
        """Give a convolution a folded weight and bias, and its batch norm the statistics of all that it computes."""
        mean = var = bias
        if bn is not None:
            outs = (_conv(conv, input_of(inputs.layer, conv, x), weight, bias) for x in inputs.given)
            mean, var = moments(sums(out) for out in outs)
        unfold_bn(conv, bn, weight, bias, mean, var)

    def refresh(self, layer: nn.Module, given: Sequence[Maps]) -> None:
        """Give the batch norms of a layer the statistics of what they read; outputs stay as they were."""
        convs = [m for m in layer.modules() if isinstance(m, Conv)]
        outs: dict[Conv, list[torch.Tensor]] = {m: [] for m in convs}
        hooks = [
            _norm(m).register_forward_hook(lambda _, __, out, m=m: outs[m].append(torch.stack(sums(out))))
            for m in convs
        ]
        for x in given:
            layer(list(x) if isinstance(x, list) else x)
        for hook in hooks:
            hook.remove()
        for m in convs:
            if outs[m]:
                unfold_bn(m.conv, m.bn, *folded(m.conv, m.bn), *moments(outs[m]))

    def fit_ghost(self, inputs: Inputs, ghost: GhostConv, goal: Goal) -> float:
        """Fit a GhostConv to a goal before the activation, channels in its order; return the variance it explains."""
        half, act, cheap = ghost.cv1.conv.out_channels, ghost.cv2.act, ghost.cv2.conv
        self.fit(inputs, ghost.cv1.conv, ghost.cv1.bn, lambda y, x: goal(y, x)[:, :half])
        found = [*self.seen(inputs, cheap, lambda y, x: goal(y, x)[:, half:], self.options.samples)]
        seen, z = torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found])
        weights = fit_behind(seen.transpose(0, 1), z.T, act)
        weight = weights[:, :-1].reshape(cheap.weight.shape)
        self.write(inputs, cheap, ghost.cv2.bn, weight, weights[:, -1].contiguous())
        pairs = [*zip(inputs.wanted, inputs.given)][:4]
        return explained([act(goal(y, x)) for y, x in pairs], [output_of(inputs.layer, ghost, x) for _, x in pairs])

    def reconstruct(
        self, unit: list[int], specs: list[list[list[torch.Tensor | None]]], wanted: Sequence[Maps]
    ) -> None:
        """Bring the output of a unit nearer to the dense one's by Adam on its weights."""
        layers = [layers_of(self.target)[n] for n in unit]

        def run(k: int) -> Maps:
            x: Maps | None = None
            for layer, spec in zip(layers, specs[k]):
                read = [x if v is None else v for v in spec]
                x = layer(read if isinstance(layer.f, list) else read[0])
            assert x is not None
            return x

        self.descend(layers, run, wanted, self.options.steps)

    def descend(
        self, layers: Sequence[nn.Module], run: Callable[[int], Maps], wanted: Sequence[Maps], steps: int
    ) -> None:
        """Take steps of Adam on the weights of layers so that `run(k)` comes near `wanted[k]`; norms as in inference.

        Each tensor counts by its share of variance left; positions of a detector's maps by the dense model's score.
        Tensors of other shapes, such as logits of other classes, have no goal.
        """
        goals, shapes = [_maps(y) for y in wanted], [o.shape for o in _maps(run(0))]
        alike = [k for k, (g, shape) in enumerate(zip(goals[0], shapes)) if g.shape == shape]
        if not alike:
            return
        goals = [[goal[k] for k in alike] for goal in goals]
        emphasis = [[_emphasis(layers[-1], g) for g in goal] for goal in goals]
        scales = [len(goals) / max(sum(float(g[k].var()) for g in goals), 1e-12) for k in range(len(goals[0]))]
        frozen = {p for layer in layers for m in layer.modules() if isinstance(m, DFL) for p in m.parameters()}
        params = [p for layer in layers for p in layer.parameters() if p not in frozen]
        flags, start = [p.requires_grad for p in params], [p.clone() for p in params]

        def loss(k: int) -> torch.Tensor:
            outs = _maps(run(k))
            total = torch.zeros(())
            for scale, o, g, e in zip(scales, [outs[j] for j in alike], goals[k], emphasis[k]):
                total = total + scale * ((o - g).square() * e).mean()
            return total

        before = sum(float(loss(k)) for k in range(len(goals)))
        with torch.enable_grad():
            for p in params:
                p.requires_grad_(True)
            adam = torch.optim.Adam(params, lr=self.options.rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
            for _ in range(steps):
                k = int(torch.randint(len(goals), (1,), generator=self.rng))
                adam.zero_grad()
                loss(k).backward()
                adam.step()
                schedule.step()
        after = sum(float(loss(k)) for k in range(len(goals)))
        worse = not after <= before  # also if it is no number
        for p, flag, old in zip(params, flags, start):
            p.requires_grad_(flag)
            if worse:
                p.data.copy_(old)
            p.grad = None

    # ------------------------------------------------------------------------------------------------ report

    def report(self) -> Report:
        rows = []
        for n, (s, t) in enumerate(zip(layers_of(self.dense), layers_of(self.target))):
            total, whole = _numbers(t), sum(_numbers(b) for _, a, b in _pairs(s, t) if _fits(a, b))
            taken = whole + self.done.get(n, 0)
            if total:
                how = "converted" if n in self.done else "whole" if taken == total else "part" if taken else "random"
                note = "; ".join(self.notes.get(n, ["then refitted"] if whole else []))
                rows.append(Row(t.i, f"{s.i} {type(s).__name__}", type(t).__name__, how, taken, total, note))
        return Report(rows)


def _numbers(module: nn.Module) -> int:
    """Return the number of values in a module's state dict."""
    return sum(v.numel() for v in module.state_dict().values())


def _emphasis(layer: nn.Module, goal: torch.Tensor) -> torch.Tensor | float:
    """Return the weight of each position of a layer's output, mean 1; only in a detector's maps do they differ."""
    if not isinstance(layer, Detect) or goal.ndim != 4 or goal.shape[1] != layer.no:
        return 1.0
    score = goal[:, -layer.nc :].sigmoid().amax(1, keepdim=True) + 0.02
    return score / score.mean()


def _maps(out: Maps | tuple) -> list[torch.Tensor]:
    """Return all tensors of a layer's output; of a head in inference those that it decodes."""
    if isinstance(out, torch.Tensor):
        return [out]
    if isinstance(out, tuple):
        return _maps(list(out[1:]))
    return [x for o in out for x in _maps(o if not isinstance(o, tuple) else list(o))]


def _conv(conv: nn.Conv2d, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _shown(layer: nn.Module, inside: nn.Module) -> Goal:
    """Return the goal of reproducing the output of a module within the dense layer."""
    return lambda wanted, _: output_of(layer, inside, wanted)


def _convolutions(source: nn.Module, target: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d | None, nn.Module]]:
    """Yield the convolutions of the second of two modules of the same shapes, their batch norms, and their teachers."""
    theirs, within = dict(source.named_modules()), set()
    for path, m in target.named_modules():
        if isinstance(m, Conv):
            within.add(m.conv)
            yield m.conv, m.bn, theirs[path].bn
        elif type(m) is nn.Conv2d and m not in within and m.bias is not None:
            yield m, None, theirs[path]


def _take(source: Conv, target: Conv, first: int) -> None:
    """Copy the first output channels of a convolution."""
    target.load_state_dict({k: v[:first] if v.ndim else v for k, v in source.state_dict().items()})


def _blank(module: nn.Module) -> None:
    """Replace a module's random weights by flat ones of the same norm, and reset its batch norms."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            m.weight.fill_((3 * m.weight[0].numel()) ** -0.5)
        elif isinstance(m, nn.BatchNorm2d):
            m.reset_parameters()


def _check(source: BaseModel, target: BaseModel) -> None:
    """Raise ModelError unless two models have the same graph and their batch norms."""
    graph = [[(m.i, m.f, m.span) for m in model.model] for model in (source, target)]
    if graph[0] != graph[1]:
        raise ModelError(
            f"The two models have different graphs ({len(graph[0])} and {len(graph[1])} layers): a conversion needs "
            "layers that read the same layers. Take over what fits instead: transfer(), or `yolo transfer` without "
            "images= and data=."
        )
    for model in (source, target):
        if any(isinstance(m, Conv) and m.bn is None for m in model.modules()):
            raise ModelError("A fused model cannot be converted: load it without fuse().")


def to_ghost(
    source: BaseModel, target: BaseModel, images: torch.Tensor | Iterable[torch.Tensor], **options: float
) -> Report:
    """Convert a trained dense model into its Ghost version, in place of `target`; return what was done.

    Args:
        source: trained, not fused; it stays as it is.
        target: of the same graph, with a GhostConv or C3Ghost in the place of some Conv, C2f or C3k2.
        images: calibration images as the model gets them, (n, ch, h, w), or an iterable of images and batches;
            0..1, or uint8.
        options: see `Options`.

    Raises:
        ModelError: the graphs differ, or a model is fused.
    """
    first = next(target.parameters())
    device, dtype = first.device, first.dtype
    target.float().cpu()  # normal equations want double precision, and samples are small
    try:
        with in_eval(target):
            chosen = Options(**options)  # type: ignore[arg-type]  # some are whole numbers
            return Conversion(source, target, [x.cpu() for x in batches(images)], chosen).run()
    finally:
        target.to(device, dtype)
