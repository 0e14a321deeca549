"""Print the tables of the Ghost guides: `python benchmarks/ghost_costs.py`, in the repository's root."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

import torch
from torch.utils.flop_counter import FlopCounterMode

from ultralytics.nn.ghostnet import GhostNetV1, GhostNetV2, GhostNetV3
from ultralytics.nn.ghostnet.ghostnet import STAGES, STEM, TAPS
from ultralytics.nn.modules.conv import Conv, GhostConv
from ultralytics.utils.system.console import say

WIDTHS = (0.5, 1.0, 1.3, 1.6)
NETWORKS: list[tuple[str, Callable[[float], torch.nn.Module], tuple[float, ...]]] = [
    ("GhostNetV1", GhostNetV1, WIDTHS),
    ("GhostNetV2", GhostNetV2, WIDTHS),
    ("GhostNetV3, in training", GhostNetV3, (1.0,)),
    ("GhostNetV3, deployed", lambda width: GhostNetV3(width).deploy(), WIDTHS),
]
# Convolutions met in yolo11n at 640 pixels: input channels, output channels, kernel, stride, side of the input map.
LAYERS = [(16, 32, 3, 2, 320), (64, 64, 3, 2, 80), (128, 256, 3, 2, 40), (64, 64, 1, 1, 80), (256, 256, 1, 1, 20)]


def stages() -> list[str]:
    """Rows of the table of stages: each bottleneck with its size, and the detection map that ends with it."""
    rows, stride, c1 = [], 2, STEM
    for i, stage in enumerate(STAGES):
        for j, row in enumerate(stage):
            stride *= row.s
            tap = TAPS.index(i) if i in TAPS and j == len(stage) - 1 else ""
            se = "yes" if row.se else ""
            rows.append(f"| {i}.{j} | {c1} | {row.hidden} | {row.c} | {row.k} | {se} | {row.s} | {stride} | {tap} |")
            c1 = row.c
    return rows


def networks() -> list[str]:
    """Rows of the table of networks: parameters, and multiply-accumulates of an image of 224 pixels."""
    rows = []
    for name, make, widths in NETWORKS:
        for width in widths:
            params, macs = cost(make, width, side=224, channels=3)
            rows.append(f"| {name} | {width} | {params / 1e6:.2f} | {macs / 1e6:.1f} |")
    return rows


def layers() -> list[str]:
    """Rows of the table of layers: what a GhostConv saves and what it moves, beside the Conv it replaces."""
    rows = []
    for c1, c2, k, s, side in LAYERS:
        (p0, m0), (p1, m1) = (cost(cls, c1, c2, k, s, side=side, channels=c1) for cls in (Conv, GhostConv))
        maps_in, half = c1 * side**2, c2 // 2 * (side // s) ** 2
        # Values read and written by each operation once batch norm is folded: a convolution reads its input and writes
        # its output, the depthwise one reads one half and writes the other, joining reads both and writes both.
        t0, t1 = maps_in + 2 * half, (maps_in + half) + 2 * half + 4 * half
        layer = f"{c1} → {c2}, {k} × {k}, /{s} | {side} | {p0:,} → {p1:,}"
        rows.append(f"| {layer} | {p0 / p1:.2f} | {m0 / m1:.2f} | {t1 / t0:.2f} | {m0 / t0:.0f} → {m1 / t1:.0f} |")
    return rows


def cost(make: Callable[..., torch.nn.Module], *args: float, side: int, channels: int) -> tuple[int, int]:
    """Return parameters and multiply-accumulates for one square input, which is not computed."""
    module = make(*args).eval().to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, channels, side, side, device="meta"))
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2


def main() -> None:
    for title, rows in (("Stages", stages()), ("Networks", networks()), ("Layers", layers())):
        say(title, *rows, "", sep="\n")


if __name__ == "__main__":
    main()
