"""Wiring: reordering every channel that may be reordered changes nothing, and what may not be moved is refused."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from torch import nn
from zoo import build

from fill import fill, image
from ultralytics.lab.conversion.wiring import Wiring, trace
from ultralytics.nn.modules import C2PSA, SPPF, C2f, C3k2, Conv, DWConv
from ultralytics.utils.errors import ModelError


def tensors(out) -> list[torch.Tensor]:
    return [out] if isinstance(out, torch.Tensor) else [t for o in out for t in tensors(o)]


def shuffle(wiring: Wiring, seed: int = 0) -> dict[int, int]:
    """Return moves that shuffle each group of wires."""
    members, rng = defaultdict(list), np.random.default_rng(seed)
    for root, group in wiring.groups().items():
        members[group].append(root)
    return {a: int(b) for roots in members.values() for a, b in zip(roots, rng.permutation(roots))}


@torch.no_grad()
def distance(model: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """Return the largest relative difference of two models' outputs."""
    pairs = zip(tensors(model(x)), tensors(other(x)))
    return max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-12)) for a, b in pairs)


class Alone(nn.Module):
    """One block with a convolution before and behind it, so that its outer channels may move too."""

    def __init__(self, block: nn.Module, c1: int, c2: int):
        super().__init__()
        self.before, self.block, self.behind = Conv(3, c1, 3), block, Conv(c2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.behind(self.block(self.before(x)))


class Named(nn.Module):
    """Some arguments by their names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(chunks=2, dim=1)
        b, rest = torch.split(nn.functional.relu(b), split_size_or_sections=[4, 4], dim=1)
        b = torch.cat([b, rest], dim=1)
        return torch.cat((torch.add(a, other=b), torch.mul(a, other=2.0), torch.clone(b)), dim=1)


BLOCKS = {
    "Named": Named,
    "C2f": lambda: C2f(16, 24, 2, True),
    "C3k2": lambda: C3k2(16, 24, 2),
    "C3k2 of C3k": lambda: C3k2(16, 24, 2, True),
    "SPPF": lambda: SPPF(16, 24),
    "DWConv": lambda: nn.Sequential(DWConv(16, 16, 3), Conv(16, 24)),
}


@pytest.mark.parametrize(
    "name",
    [f"yolo11n{task}" for task in ("-seg", "-cls", "-GhostConv", "-GhostNetV1")]
    + [pytest.param(f"yolo11n{task}", marks=pytest.mark.slow) for task in ("", "-pose", "-obb")]
    + [
        pytest.param(f"yolov8n{task}", marks=pytest.mark.slow)
        for task in ("", "-seg", "-cls", "-pose", "-obb", "-ghost")
    ],
)
def test_shuffling_all_channels_leaves_outputs(name):
    model, other = (fill(build(name)).double().eval() for _ in range(2))
    wiring = trace(other)
    moves = shuffle(wiring)
    wiring.permute(other, moves)
    assert sum(a != b for a, b in moves.items()) > 1000
    assert distance(model, other, image(1, 64, 96).double()) < 1e-9


@pytest.mark.parametrize("name", BLOCKS)
def test_shuffling_the_channels_of_a_block_leaves_outputs(name):
    torch.manual_seed(0)
    model = fill(Alone(BLOCKS[name](), 16, 24)).double().eval()
    other = fill(Alone(BLOCKS[name](), 16, 24)).double().eval()
    wiring = trace(other)
    pinned = {wiring.root(w) for w in wiring.pinned}
    assert len(pinned) == 3 + 4  # the image and the output, nothing within the block
    wiring.permute(other, shuffle(wiring))
    assert distance(model, other, image(2, 32, 32).double()) < 1e-12
    assert not torch.equal(model.before.conv.weight, other.before.conv.weight)


def test_attention_keeps_its_channels_and_the_rest_moves():
    model = fill(Alone(C2PSA(128, 128), 128, 128)).double().eval()
    other = fill(Alone(C2PSA(128, 128), 128, 128)).double().eval()
    wiring = trace(other)
    pinned = {wiring.root(w) for w in wiring.pinned}
    assert {wiring.root(w) for w in wiring.axis("block.m.0.attn.qkv.conv.weight").wires} <= pinned
    assert not {wiring.root(w) for w in wiring.axis("block.cv1.conv.weight").wires} & pinned
    wiring.permute(other, shuffle(wiring))
    assert distance(model, other, image(1, 32, 32).double()) < 1e-9


def test_a_residual_ties_both_sides():
    wiring = trace(Alone(C2f(16, 24, 2, True), 16, 24))
    entry, *inner = (
        [wiring.root(w) for w in wiring.axis(f"block.{name}.conv.weight").wires]
        for name in ("cv1", "m.0.cv2", "m.1.cv2", "m.0.cv1")
    )
    assert entry[12:] == inner[0] == inner[1]
    assert not {*entry} & {*inner[2]}


def test_readers_are_found_through_concat_and_pooling():
    wiring = trace(Alone(SPPF(16, 24), 16, 24))
    readers = wiring.readers("block.cv1.conv.weight")
    assert set(readers) == {"block.cv2.conv.weight"}
    assert sorted(k for out, k in readers["block.cv2.conv.weight"] if out == 3) == [3, 11, 19, 27]
    model = build("yolo11n")
    assert set(trace(model).readers("model.17.conv.weight")) == {"model.19.cv1.conv.weight"}


def test_what_a_split_tells_apart_cannot_change_places():
    wiring = trace(Alone(C2f(16, 24, 1), 16, 24))
    weight = "block.cv1.conv.weight"
    order = [*range(24)]
    order[0], order[1] = 1, 0
    assert len(wiring.moves(weight, order)) == 2  # within the first half
    order = [20, *range(1, 20), 0, *range(21, 24)]
    with pytest.raises(ModelError, match="cannot be reordered"):
        wiring.moves(weight, order)
    with pytest.raises(ModelError, match="must hold each of its 24 channels once"):
        wiring.moves(weight, [0] * 24)
    with pytest.raises(ModelError, match="no weight"):
        wiring.moves("block.none.weight", order)


class Turned(nn.Module):
    """An operation that is not followed."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flip(1)


def test_an_unknown_operation_pins_its_channels():
    model = Alone(Turned(), 16, 16)
    wiring = trace(model)
    assert {wiring.root(w) for w in wiring.axis("before.conv.weight").wires} <= {wiring.root(w) for w in wiring.pinned}
    with pytest.raises(ModelError, match="cannot be reordered"):
        wiring.moves("before.conv.weight", [*reversed(range(16))])
    wiring.permute(model, shuffle(wiring))  # nothing to shuffle, and nothing breaks


def test_tracing_changes_neither_mode_nor_weights():
    model = build("yolo11n-cls").train()
    model.model[2].eval()  # frozen
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trace(model)
    assert model.training and model.model[3].bn.training and not model.model[2].cv1.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
