"""GhostNet V1 and V2: classification networks, detection backbones and the parts they are made of."""

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

__all__ = (
    "DFCGhostModule",
    "GhostModule",
    "GhostNetBottleneck",
    "GhostNetV1",
    "GhostNetV2",
    "Ghostnetv1",
    "Ghostnetv2",
    "ReducedLinear",
    "SqueezeExcite",
    "round_channels",
)
