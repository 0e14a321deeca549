"""Time the designs of docs/ghost-design.md: `python benchmarks/ghost_search.py [models|blocks] [rounds]`.

Takes the extra `export`. One thread, one image, model after model within each round; what is printed is the median
over all rounds of the ratio to the first model, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

import numpy as np
import torch
from torch import nn

from ultralytics.lab.latency import measure
from ultralytics.lab.profile import cost_of
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils.system.console import say

# Changes of one thing each in yolo11n-ghost.yaml: {layer: its new line}.
DESIGNS: dict[str, dict[int, list]] = {
    "dense box branch (Detect)": {13: [[8, 10, 12], 1, "Detect", ["nc"]]},
    "stride 4: a Ghost pair": {1: [-1, 0, "GhostStage", [128, 1.0, 2]]},
    "stride 4: 48 channels": {1: [-1, 1, "Conv", [192, 3, 2]]},
    "stride 8: twice the pairs": {2: [-1, 4, "GhostStage", [512, 0.25, 2]]},
    "stride 8: 96 channels, chain of 48": {2: [-1, 2, "GhostStage", [384, 0.5, 2]]},
    "stride 32: chain of 128": {4: [-1, 2, "GhostStage", [1024, 0.5, 2]]},
    "neck: dense down-sampling": {9: [-1, 1, "Conv", [256, 3, 2]], 11: [-1, 1, "Conv", [512, 3, 2]]},
    "neck: two pairs at stride 16, top-down": {7: [[-1, 3], 4, "GhostStage", [512, 0.5, 1, True]]},
}
BLOCKS = [(64, 64, 160), (128, 128, 80), (128, 256, 40)]  # input and output channels, side of the input


def changed(name: str) -> DetectionModel:
    """Build yolo11n-ghost with the lines of a design in it."""
    d = yaml_model_load("yolo11n-ghost.yaml")
    for i, line in DESIGNS[name].items():
        part, j = (d["backbone"], i) if i < len(d["backbone"]) else (d["head"], i - len(d["backbone"]))
        part[j] = line
    return DetectionModel(d, verbose=False)


def slim() -> DetectionModel:
    """Build YOLO11 with three quarters of the width of n."""
    d = yaml_model_load("yolo11n.yaml")
    d["scales"]["n"][1] = 0.1875
    return DetectionModel(d, verbose=False)


class Pair(nn.Module):
    """A Ghost pair and the 1x1 convolution that reads it, as two convolutions that are added or of a concatenation."""

    def __init__(self, c1: int, c2: int, concat: bool):
        super().__init__()
        half = c2 // 2
        self.p, self.g = Conv(c1, half, 3, 2), Conv(half, half, 5, g=half)
        self.a = Conv(c2 if concat else half, c2, act=False)
        self.b = None if concat else Conv(half, c2, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.p(x)
        g = self.g(p)
        y = self.a(torch.cat((p, g), 1)) if self.b is None else self.a(p) + self.b(g)
        return nn.functional.silu(y)


class Block(nn.Sequential):
    """Layers that can be measured as models are: their input channels are known, and they can be fused."""

    def __init__(self, *layers: nn.Module, ch: int):
        super().__init__(*layers)
        self.yaml = {"ch": ch}

    def fuse(self, verbose: bool = False) -> None:
        for m in self.modules():
            if isinstance(m, Conv):
                m.fuse()


def blocks(c1: int, c2: int) -> dict[str, nn.Module]:
    """Return ways to halve a map's sides, each followed by the 1x1 convolution that reads it."""
    ways = {
        "dense 3x3": [Conv(c1, c2, 3, 2), Conv(c2, c2)],
        "Ghost pair, concatenated": [Pair(c1, c2, True)],
        "Ghost pair, split": [Pair(c1, c2, False)],
        "half as many channels": [Conv(c1, c2 // 2, 3, 2), Conv(c2 // 2, c2)],
        "depthwise, then 1x1": [Conv(c1, c1, 3, 2, g=c1), Conv(c1, c2), Conv(c2, c2)],
    }
    return {name: Block(*layers, ch=c1) for name, layers in ways.items()}


def ratios(models: dict[str, nn.Module], imgsz: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return, for each runtime, each model's latency as a share of the first one's."""
    times: dict[str, dict[str, np.ndarray]] = {}
    for row in measure(models, imgsz, ("onnxruntime", "openvino"), threads=1, rounds=rounds):
        times.setdefault(row.runtime, {})[row.model] = np.array(row.times_ms)
    return {
        runtime: {name: float(np.median(t / next(iter(of.values())))) for name, t in of.items()}
        for runtime, of in times.items()
    }


def print_models(rounds: int) -> None:
    models = {n: DetectionModel(f"{n}.yaml", verbose=False) for n in ("yolo11n", "yolo11n-GhostConv")}
    models["yolo11 at width 0.1875"] = slim()
    models["yolo11n-ghost"] = DetectionModel("yolo11n-ghost.yaml", verbose=False)
    models |= {name: changed(name) for name in DESIGNS}
    found = ratios(models, 640, rounds)
    say(" | ".join(["| model", "parameters", "fused", "GFLOPs", "fused", *found]), "|")
    say("| --- " + "| ---: " * (4 + len(found)) + "|")
    for name, model in models.items():
        c = cost_of(model)
        costs = f"{c.params:,} | {c.params_fused:,} | {c.gflops:.2f} | {c.gflops_fused:.2f}"
        say(f"| {name} | {costs} | {' | '.join(f'{of[name]:.2f}' for of in found.values())} |")


def print_blocks(rounds: int) -> None:
    for c1, c2, side in BLOCKS:
        rows = blocks(c1, c2)
        found = ratios(rows, side, rounds)
        say(" | ".join([f"| {c1} to {c2} channels, {side} to {side // 2} pixels", *found]), "|")
        for name in rows:
            say(f"| {name} | {' | '.join(f'{of[name]:.2f}' for of in found.values())} |")


if __name__ == "__main__":
    what, rounds = (*sys.argv[1:3], *("models", "20")[len(sys.argv) - 1 :])
    {"models": print_models, "blocks": print_blocks}[what](int(rounds))
