"""GhostNet V1, V2 and V3: classification networks, detection backbones and the parts they are made of."""

from __future__ import annotations

from ultralytics.nn.ghostnet.ghostnet import (
    DFCGhostModule,
    GhostModule,
    GhostNetBottleneck,
    GhostNetV1,
    Ghostnetv1,
    GhostNetV2,
    Ghostnetv2,
    ReducedLinear,
    SqueezeExcite,
    round_channels,
)
from ultralytics.nn.ghostnet.ghostnetv3 import GhostNetV3, Ghostnetv3, RepGhostBottleneck, RepGhostModule

__all__ = (
    "DFCGhostModule",
    "GhostModule",
    "GhostNetBottleneck",
    "GhostNetV1",
    "GhostNetV2",
    "GhostNetV3",
    "Ghostnetv1",
    "Ghostnetv2",
    "Ghostnetv3",
    "ReducedLinear",
    "RepGhostBottleneck",
    "RepGhostModule",
    "SqueezeExcite",
    "round_channels",
)
