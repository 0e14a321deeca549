"""Transfer of trained weights into another model.

`transfer(source, target)` finds for each layer of the target the corresponding layer of the source, takes what fits,
and returns a report. Names and indices need not agree: where a line was added, removed or replaced in the model YAML,
the layers after it keep their weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn

from ultralytics.nn.transfer.graph import graph_of, has_graph
from ultralytics.nn.transfer.match import align
from ultralytics.nn.transfer.report import HOWS, NOTHING, PART, RANDOM, WHOLE, Report, Row
from ultralytics.nn.transfer.units import Pair, Taken, by_child, known_names
from ultralytics.utils.errors import ModelError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

__all__ = "HOWS", "Report", "Row", "known_names", "matching", "transfer"


def matching(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the entries of `source` whose name and shape match one of `target`."""
    return {k: v for k, v in source.items() if k in target and v.shape == target[k].shape}


@torch.no_grad()
def transfer(source: nn.Module | Mapping[str, torch.Tensor], target: BaseModel) -> Report:
    """Transfer into `target`, in place, the weights of a source that its layers can use, and report layer by layer.

    Args:
        source: a model, or a state dict, whose entries are taken by name and shape, as it has no layers. For a
            checkpoint or a weight file see `BaseModel.load`.
        target: the model to change; layers that nothing fits stay as they are.

    Raises:
        ModelError: `source` is neither.
    """
    if isinstance(source, nn.Module):
        if has_graph(source) and has_graph(target):
            return _by_place(source, target)
        return _by_name(source.state_dict(), target)
    if not isinstance(source, Mapping) or not all(isinstance(t, torch.Tensor) for t in source.values()):
        raise ModelError(
            f"Weights cannot be taken from a {type(source).__name__}. Give a model or a state dict here; "
            "model.load() takes checkpoints and weight files, too."
        )
    return _by_name(source, target)


def _by_place(source: BaseModel, target: BaseModel) -> Report:
    """Take what fits from the corresponding layers."""
    if _has_norms(source) and not _has_norms(target):  # the target was fused
        source = deepcopy(source).fuse(verbose=False)
    theirs, mine = graph_of(source), graph_of(target)
    match = align(theirs, mine)
    rows = []
    for b in mine.nodes:
        a = theirs.nodes[match[b.number]] if b.number in match else None
        taken = Pair(a, b, theirs, mine, match).take() if a else Taken(notes=["new line"])
        b.module.load_state_dict(taken.values, strict=False)
        rows.append(_row(b.index, b.kind, b.entries, taken.counts, taken.notes, a.label if a else ""))
    return Report(rows)


def _has_norms(model: nn.Module) -> bool:
    return any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def _by_name(entries: Mapping[str, torch.Tensor], target: BaseModel) -> Report:
    """Take the entries whose name and shape match; those of a part, such as a backbone, into that part."""
    own = target.state_dict()
    taken = matching(entries, own) or _by_name_in_a_part(entries, own)
    target.load_state_dict(taken, strict=False)
    rows = []
    for name, m in target.model.named_children():
        prefix = f"model.{name}."
        counts = {k.removeprefix(prefix): v.numel() for k, v in taken.items() if k.startswith(prefix)}
        kind = vars(m).get("type", type(m).__name__).rpartition(".")[2]  # every module has a method `type`
        source = "same name" if counts else ""
        rows.append(_row(getattr(m, "i", int(name)), kind, m.state_dict(), counts, [], source))
    return Report(rows)


def _by_name_in_a_part(
    entries: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Return the entries that match a part of the target, under their names in the whole; {} if none do.

    Published classifiers are of this kind: their trunk is the first layer of a detector.
    """
    roots = {name.partition(".")[0] for name in entries}
    dots = ((name, k + 1) for name in own for k, letter in enumerate(name) if letter == ".")
    parts = {name[:k] for name, k in dots if name[k:].partition(".")[0] in roots}
    found = [matching({part + name: value for name, value in entries.items()}, own) for part in sorted(parts)]
    return max(found, key=lambda taken: sum(value.numel() for value in taken.values()), default={})


def _row(
    index: int, kind: str, entries: Mapping[str, torch.Tensor], counts: Mapping[str, int], notes: list[str], source: str
) -> Row:
    """Return the row of a layer, with `counts` values of each entry taken."""
    taken, numbers = sum(counts.values()), sum(t.numel() for t in entries.values())
    how = NOTHING if not numbers else WHOLE if taken == numbers else PART if taken else RANDOM
    if how == PART:
        notes = [*notes, *_left(entries, counts)]
    whole = sum(counts.get(name) == t.numel() for name, t in entries.items())
    return Row(index, source, kind, how, taken, numbers, "; ".join(notes), whole, len(entries))


def _left(entries: Mapping[str, torch.Tensor], counts: Mapping[str, int]) -> list[str]:
    """Return a note on the submodules of which not all was taken."""
    left = []
    for child, names in by_child(entries).items():
        found = [name in counts for name in names]
        if not all(found):
            left.append(f"part of {child}" if any(found) else child)
    return [f"random: {', '.join(left)}"] if left else []
