"""Modules with small shapes, whose weights and outputs are compared with those of 8.3.0.

`tests/reference/make_families.py` runs the same cases there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

MAP = (2, 8, 10, 6)
# The class, its constructor arguments, and the shape of its input: one, or a list of one for each input
CASES: dict[str, tuple[str, list, tuple | list]] = {
    "Conv2": ("Conv2", [8, 16, 3, 2], MAP),
    "Conv2 groups": ("Conv2", [8, 8, 3, 1, None, 4], MAP),
    "LightConv": ("LightConv", [8, 16, 5], MAP),
    "DWConvTranspose2d": ("DWConvTranspose2d", [8, 16, 3, 2, 1, 1], MAP),
    "Focus": ("Focus", [8, 16, 3], MAP),
    "RepConv": ("RepConv", [8, 16, 3, 2], MAP),
    "RepConv identity": ("RepConv", [8, 8, 3, 1, 1, 2, 1, True, True], MAP),
    "ChannelAttention": ("ChannelAttention", [8], MAP),
    "SpatialAttention": ("SpatialAttention", [3], MAP),
    "CBAM": ("CBAM", [8], MAP),
    "SPP": ("SPP", [8, 16, [3, 5]], MAP),
    "C1": ("C1", [8, 16, 2], MAP),
    "C2": ("C2", [8, 16, 2], MAP),
    "C3f": ("C3f", [8, 16, 2, True], MAP),
    "C3x": ("C3x", [8, 16, 2], MAP),
    "C3TR": ("C3TR", [8, 16, 2], MAP),
    "RepC3": ("RepC3", [8, 16, 2], MAP),
    "BottleneckCSP": ("BottleneckCSP", [8, 16, 2], MAP),
    "HGStem": ("HGStem", [8, 6, 16], MAP),
    "HGBlock": ("HGBlock", [8, 4, 16, 3, 2], MAP),
    "HGBlock light": ("HGBlock", [8, 4, 8, 5, 2, True, True], MAP),
    "ResNetBlock": ("ResNetBlock", [8, 4, 2], MAP),
    "ResNetLayer": ("ResNetLayer", [8, 2, 1, False, 2], MAP),
    "ResNetLayer stem": ("ResNetLayer", [8, 4, 1, True, 1], MAP),
    "SCDown": ("SCDown", [8, 16, 3, 2], MAP),
    "ADown": ("ADown", [8, 16], MAP),
    "AConv": ("AConv", [8, 16], MAP),
    "RepVGGDW": ("RepVGGDW", [8], MAP),
    "CIB": ("CIB", [8, 8], MAP),
    "CIB large": ("CIB", [8, 16, True, 1.0, True], MAP),
    "C2fCIB": ("C2fCIB", [8, 16, 2, True, True], MAP),
    "C2fPSA": ("C2fPSA", [128, 128, 1], (2, 128, 4, 3)),
    "RepNCSPELAN4": ("RepNCSPELAN4", [8, 16, 8, 6, 2], MAP),
    "ELAN1": ("ELAN1", [8, 16, 8, 6], MAP),
    "SPPELAN": ("SPPELAN", [8, 16, 6], MAP),
    "CBLinear": ("CBLinear", [8, [4, 6]], MAP),
    "CBFuse": ("CBFuse", [[1, 0]], [[(2, 3, 2, 2), (2, 8, 4, 3)], [(2, 8, 5, 3)], MAP]),
    "TransformerEncoderLayer": ("TransformerEncoderLayer", [8, 16, 4], (2, 5, 8)),
    "TransformerLayer": ("TransformerLayer", [8, 4], (5, 2, 8)),
    "TransformerBlock": ("TransformerBlock", [8, 16, 4, 2], MAP),
    "AIFI": ("AIFI", [8, 16, 4], MAP),
    "MLPBlock": ("MLPBlock", [8, 16], (2, 5, 8)),
    "MLP": ("MLP", [8, 16, 4, 3], (2, 5, 8)),
    "LayerNorm2d": ("LayerNorm2d", [8], MAP),
}
MODES = ("eval", "fused", "train")
KEPT = 64  # values of an output that are compared


def inputs(shape: tuple | list, seed: int = 0) -> torch.Tensor | list:
    """Return a tensor of normal values of a shape, or a list of such."""
    if isinstance(shape, list):
        return [inputs(each, seed + 1 + i) for i, each in enumerate(shape)]
    return torch.tensor(np.random.default_rng(seed).normal(0, 1, shape), dtype=torch.float32)


def flat(y: object) -> list[torch.Tensor]:
    """Return the tensors of an output, however they are nested, in order."""
    if isinstance(y, torch.Tensor):
        return [y]
    return [t for part in (y.values() if isinstance(y, dict) else y) for t in flat(part)]


def samples(outputs: list[torch.Tensor], count: int = KEPT) -> np.ndarray:
    """Return `count` values of each tensor, evenly spread, or all if there are fewer, one after the other."""
    found = []
    for y in outputs:
        values = y.detach().reshape(-1)
        places = torch.linspace(0, len(values) - 1, min(count, len(values)), dtype=torch.float64).round().long()
        found.append(values[places])
    return torch.cat(found).numpy()


def entries(module: nn.Module) -> list[list]:
    """Return name, shape and type of each entry of a state dict."""
    return [[name, [*t.shape], str(t.dtype)] for name, t in module.state_dict().items()]
