"""Units of a layer's weights: a convolution or linear layer with the norms after it, taken as a whole or not at all.

A batch norm holds the mean and variance of its convolution's outputs, which mean nothing for another convolution. So
neither is taken without the other. For the same reason no unit is cut to the width of a narrower one: which channels to
keep is a question of pruning and not of names. Two cuts have a meaning: the rows of a class output belong to classes
with names, and the columns of a layer after a concat to the layers that the concat reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from ultralytics.nn.modules.ghost import GhostStage
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.transfer.graph import Graph, Node, Port

Entries = Mapping[str, torch.Tensor]
JOINED = "cv1.convs."  # of a GhostStage: one convolution per map that it reads
COUNTER = "num_batches_tracked"  # of a norm; files of old versions lack it
OWN_BRANCHES = ("cv4.", "proto.")  # of a detection head: masks, keypoints or angles, by its class


def named_alike(a: Node, b: Node) -> tuple[Entries, Entries]:
    """Return the entries of two layers under names that can be compared."""
    own = [
        {(f"0.{name}" if other.repeated and not node.repeated else name): t for name, t in node.entries.items()}
        for node, other in ((a, b), (b, a))
    ]
    if not a.is_like(b) and isinstance(a.module, Detect) and isinstance(b.module, Detect):
        own[0] = {name: t for name, t in own[0].items() if not name.startswith(OWN_BRANCHES)}
    return own[0], own[1]


def units(entries: Entries) -> list[list[str]]:
    """Return the names of a state dict in units: weights with the vectors of the norms that follow."""
    leaves: dict[str, list[str]] = {}
    for name in entries:
        leaves.setdefault(name.rpartition(".")[0], []).append(name)
    found: list[list[str]] = []
    before = None  # parent of the previous submodule
    for leaf, names in leaves.items():
        parent = leaf.rpartition(".")[0]
        if parent == before and all(entries[name].ndim <= 1 for name in names):
            found[-1] += names
        else:
            found.append(names)
        before = parent
    return found


def fitting(unit: list[str], source: Entries, target: Entries) -> bool:
    """Return whether the source has all entries of a unit in the same shapes."""
    return all(
        name in source and source[name].shape == target[name].shape for name in unit if not name.endswith(COUNTER)
    ) and any(name in source for name in unit)


@dataclass
class Taken:
    """Values for a layer by name, how many of each came from the source, and notes."""

    values: dict[str, torch.Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: torch.Tensor, count: int | None = None) -> None:
        self.values[name], self.counts[name] = value, value.numel() if count is None else count

    def remark(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)


class Pair:
    """Two corresponding layers, and what the second takes from the first."""

    def __init__(self, a: Node, b: Node, source: Graph, target: Graph, match: Mapping[int, int]):
        self.a, self.b, self.source, self.target, self.match = a, b, source, target, match
        self.theirs, self.mine = named_alike(a, b)
        self.lost = [n for n in self.theirs if n.endswith(".bias") and n not in self.mine]

    def take(self) -> Taken:
        """Return the values that fit, under the names of the target's layer."""
        taken, columns, levels = Taken(), self._columns(), self._levels()
        added = self._added(levels)
        for unit in units(self.mine):
            theirs = {n: self.theirs[f] for n in unit if (f := _renumbered(n, levels)) in self.theirs}
            classes = self._class_rows(unit, theirs)
            if classes is not None:
                self._take_rows(unit, theirs, classes, taken)
            elif self._is_folded(unit[0]):
                if self._take_fused(unit, theirs, taken):
                    taken.remark("from a fused model")
            elif unit[0] in added:
                taken.add(unit[0], torch.zeros_like(self.mine[unit[0]]), 0)
                taken.remark(f"{self.mine[unit[0]].shape[1]} input channels are new, start at zero")
            elif columns and self._reads_input(unit) and self._take_columns(unit, theirs, columns, taken):
                continue
            elif fitting(unit, theirs, self.mine):
                for n in unit:
                    if n in theirs:
                        taken.add(n, theirs[n])
        if self.a.repeated and not self.b.repeated:  # back to the layer's own names
            taken.values = {n.removeprefix("0."): t for n, t in taken.values.items()}
            taken.counts = {n.removeprefix("0."): c for n, c in taken.counts.items()}
        return taken

    def _is_folded(self, name: str) -> bool:
        """Return whether a norm was folded into the source's weight, which shows by a bias that the target lacks.

        Of convolutions whose sum a norm follows (JoinConv) the first one has the bias.
        """
        leaf, (joined, _, _) = name.rpartition(".")[0], name.rpartition(".convs.")
        return any(n == f"{leaf}.bias" or (joined and n.startswith(f"{joined}.convs.")) for n in self.lost)

    def _take_fused(self, unit: list[str], theirs: Entries, taken: Taken) -> bool:
        """Take a convolution with a folded batch norm: the target's norm gets the bias and is else the identity."""
        leaf, norms = unit[0].rpartition(".")[0], {n.rpartition(".")[0] for n in unit[1:]}
        weight, bias = theirs.get(unit[0]), self.theirs.get(f"{leaf}.bias")
        if len(norms) != 1 or f"{leaf}.bias" in unit or weight is None or bias is None or len(theirs) > 1:
            return False
        norm = norms.pop()
        path = norm.removeprefix("0.") if self.a.repeated and not self.b.repeated else norm
        m = self.b.module.get_submodule(path)
        if not isinstance(m, nn.BatchNorm2d) or weight.shape != self.mine[unit[0]].shape:
            return False
        one = torch.ones_like(bias)
        taken.add(unit[0], weight)
        for name, value in {
            "weight": one * (1 + m.eps) ** 0.5,
            "bias": bias,
            "running_mean": one * 0,
            "running_var": one,
        }.items():
            taken.add(f"{norm}.{name}", value)
        taken.add(f"{norm}.{COUNTER}", self.mine[f"{norm}.{COUNTER}"])
        return True

    # Branches of a head ----------------------------------------------------------------------------------------------

    def _levels(self) -> dict[str, dict[int, int]]:
        """Return for each list of branches, one per map that the layer reads, which of the source's each one is.

        A head has such lists, and a GhostStage has one convolution per map that it reads.
        """
        a, b = self.a, self.b
        order = self._same_inputs(b.inputs, a.inputs)
        if all(isinstance(x.module, GhostStage) and x.module.cv1 is not None for x in (a, b)):
            return {JOINED: self._in_place(order)}
        in_order = [*order.items()] == [(k, k) for k in range(len(b.inputs))]
        if len(b.inputs) < 2 or in_order or a.consumers or b.consumers:
            return {}
        lists = [
            {
                f"{n}."
                for n, m in node.module.named_children()
                if isinstance(m, nn.ModuleList) and len(m) == len(node.inputs)
            }
            for node in (a, b)
        ]
        return {prefix: order for prefix in lists[0] & lists[1]}

    def _in_place(self, order: dict[int, int]) -> dict[int, int]:
        """Add the inputs that replaced others."""
        places = range(len(self.b.inputs) if len(self.b.inputs) == len(self.a.inputs) else 0)
        return order | {j: j for j in places if j not in order and j not in order.values()}

    def _added(self, levels: dict[str, dict[int, int]]) -> set[str]:
        """Return the weights over inputs that were added to those of the source's layer."""
        order = levels.get(JOINED, {})
        if not order or {*order.values()} != {*range(len(self.a.inputs))}:
            return set()
        return {f"{JOINED}{j}.weight" for j in range(len(self.b.inputs)) if j not in order}

    def _same_inputs(self, mine: list[Port], theirs: list[Port]) -> dict[int, int]:
        """Return which input of the source each input of the target is: by the layer it comes from, else by stride."""
        found: dict[int, int] = {}
        strides = [
            [g.nodes[n].strides[k : k + 1] if n >= 0 else () for n, k in ports]
            for g, ports in ((self.target, mine), (self.source, theirs))
        ]
        for j, (n, k) in enumerate(mine):
            if (self.match.get(n, n if n < 0 else None), k) in theirs:
                found[j] = theirs.index((self.match.get(n, n), k))
        for j in range(len(mine)):
            same = [i for i in range(len(theirs)) if strides[0][j] and strides[1][i] == strides[0][j]]
            if j not in found and len(same) == 1 and same[0] not in found.values():
                found[j] = same[0]
        return dict(sorted(found.items()))

    # Columns after a concat -------------------------------------------------------------------------------------------

    def _columns(self) -> list[tuple[slice, slice]]:
        """Return which input channels of the target's layer are which of the source's; [] if all are in place."""
        mine, theirs = _places(self.target.segments(self.b)), _places(self.source.segments(self.a))
        pairs: dict[int, int] = {}
        for j, ((n, k), place) in enumerate(mine):
            port = (self.match.get(n, n if n < 0 else None), k)
            same = (i for i, (p, at) in enumerate(theirs) if p == port and _width(at) == _width(place))
            i = next((i for i in same if i not in pairs.values()), None)
            if i is not None:
                pairs[j] = i
        for j, (_, place) in enumerate(mine if len(mine) == len(theirs) else ()):
            if j not in pairs and j not in pairs.values() and _width(theirs[j][1]) == _width(place):
                pairs[j] = j  # a layer that replaced another
        found = [(mine[j][1], theirs[i][1]) for j, i in sorted(pairs.items())]
        ends = (mine[-1][1].stop, theirs[-1][1].stop) if mine and theirs else (0, 0)
        covered = sum(_width(x) for x, _ in found)
        if not all(ends) or (ends[0] == ends[1] and (covered < ends[0] or all(x == y for x, y in found))):
            return []
        return found if 2 * covered >= max(ends) else []

    def _reads_input(self, unit: list[str]) -> bool:
        """Return whether a unit begins with a convolution, in one group, of the layer's own input."""
        leaf = unit[0].rpartition(".")[0]
        own = leaf.removeprefix("0.") if self.a.repeated and not self.b.repeated else leaf
        if own not in self.b.readers:
            return False
        m = self.b.module.get_submodule(own)
        return isinstance(m, (nn.Conv2d, nn.Linear)) and getattr(m, "groups", 1) == 1

    def _take_columns(self, unit: list[str], theirs: Entries, columns: list[tuple[slice, slice]], taken: Taken) -> bool:
        """Take a unit whose weight has other input channels; new ones start at zero."""
        first, rest = unit[0], unit[1:]
        old, new = theirs.get(first), self.mine[first]
        ends = max(x.stop for x, _ in columns), max(y.stop for _, y in columns)
        if (
            old is None
            or old.shape[:1] + old.shape[2:] != new.shape[:1] + new.shape[2:]
            or new.shape[1] < ends[0]
            or old.shape[1] < ends[1]
            or (rest and not fitting(rest, theirs, self.mine))
        ):
            return False
        added = sum(_width(y) for _, y in columns) == old.shape[1]  # none was replaced: the function stays the same
        value, covered = (torch.zeros_like(new) if added else new.clone()), 0
        for x, y in columns:
            value[:, x] = old[:, y].to(value)
            covered += _width(x)
        taken.add(first, value, covered * new[:, 0].numel())
        for n in rest:
            if n in theirs:
                taken.add(n, theirs[n])
        if covered < new.shape[1]:
            start = "start at zero" if added else "random"
            taken.remark(f"{new.shape[1] - covered} of {new.shape[1]} input channels are new, {start}")
        elif covered < old.shape[1]:
            taken.remark(f"{covered} of {old.shape[1]} input channels are left")
        else:
            taken.remark("input channels in another order")
        return True

    # Rows of a class output ------------------------------------------------------------------------------------------

    def _class_rows(self, unit: list[str], theirs: Entries) -> dict[int, int] | None:
        """Return which class row of the source each row of a class output takes; None if rows stay where they are."""
        g, s, first = self.target, self.source, unit[0]
        outputs = self._class_outputs()
        if first not in outputs or first not in theirs:
            return None
        if self.mine[first].shape[1:] != theirs[first].shape[1:] or len(self.mine[first]) != g.nc:
            return None
        if len(theirs[first]) != s.nc:
            return None
        numbers = {name: i for i, name in reversed(known_names(s.names).items())}
        rows = {j: numbers[name] for j, name in known_names(g.names).items() if name in numbers}
        in_place = s.nc == g.nc and all(j == i for j, i in rows.items())
        return None if in_place else rows

    def _class_outputs(self) -> set[str]:
        """Return the first entries of the units that give class logits: in the head's branch, or the last unit."""
        found = [unit for unit in units(self.mine) if len(unit) == 2 and unit[1].endswith("bias")]
        if isinstance(self.b.module, Detect):
            branches = ("cv3.", "one2one_cv3.")
            lasts = {tuple(u[0].split(".")[:2]): u[0] for u in found if u[0].startswith(branches)}
            return {*lasts.values()}
        later = any(n.entries for n in self.target.nodes[self.b.number + 1 :])
        return set() if later or not found else {found[-1][0]}

    def _take_rows(self, unit: list[str], theirs: Entries, rows: dict[int, int], taken: Taken) -> None:
        """Take the rows of the classes that both models know; the others stay as they are."""
        g, s = self.target, self.source
        for n in unit if rows else ():
            value = self.mine[n].clone()
            for j, i in rows.items():
                value[j] = theirs[n][i].to(value)
            taken.add(n, value, len(rows) * value[0].numel())
        known = known_names(g.names) and known_names(s.names)
        why = f"{len(rows)} of {g.nc} classes by name" if known else f"{s.nc} classes became {g.nc}, names not known"
        taken.remark(why)


def known_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return class names in a form to compare; {} if they are only numbers."""
    found = {int(i): str(name).strip().lower() for i, name in names.items()}
    return {} if all(name == str(i) for i, name in found.items()) else found


def _places(segments: list[tuple[Port, int]]) -> list[tuple[Port, slice]]:
    """Return ports with the channels that each one fills."""
    found, start = [], 0
    for port, channels in segments:
        found.append((port, slice(start, start + channels)))
        start += channels
    return found


def _width(place: slice) -> int:
    return place.stop - place.start


def _renumbered(name: str, levels: Mapping[str, Mapping[int, int]]) -> str:
    """Return the source's name of an entry in a branch of a head; '' for a new branch."""
    for prefix, order in levels.items():
        if name.startswith(prefix):
            number, _, rest = name.removeprefix(prefix).partition(".")
            return f"{prefix}{order[int(number)]}.{rest}" if int(number) in order else ""
    return name


def by_child(entries: Entries) -> dict[str, list[str]]:
    """Return the submodules of a layer with the names of their entries."""
    groups: dict[str, list[str]] = {}
    for name in entries:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return groups
