"""GhostNet V1 and V2: classification networks, detection backbones and the parts they are made of."""

from __future__ import annotations

from ultralytics.nn.ghostnet.backbone import without_weight_files
from ultralytics.nn.ghostnet.ghostnetv1 import GhostNetV1, Ghostnetv1
from ultralytics.nn.ghostnet.ghostnetv2 import GhostNetV2, Ghostnetv2
from ultralytics.nn.ghostnet.layers import (
    DFCGhostModule,
    GhostBottleneck,
    GhostModule,
    ReducedLinear,
    SqueezeExcite,
    round_channels,
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
