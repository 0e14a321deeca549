"""GhostNet V1 and V2: classification networks, detection backbones and the parts they are made of."""

from __future__ import annotations

from ultralytics.nn.ghostnet.ghostnet import (
    DFCGhostModule,
    GhostBottleneck,
    GhostModule,
    GhostNetV1,
    Ghostnetv1,
    GhostNetV2,
    Ghostnetv2,
    ReducedLinear,
    SqueezeExcite,
    round_channels,
    without_weight_files,
)

__all__ = (
    "DFCGhostModule",
    "GhostBottleneck",
    "GhostModule",
    "GhostNetV1",
    "GhostNetV2",
    "Ghostnetv1",
    "Ghostnetv2",
    "ReducedLinear",
    "SqueezeExcite",
    "round_channels",
    "without_weight_files",
)
