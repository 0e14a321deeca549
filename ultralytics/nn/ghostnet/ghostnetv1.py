"""GhostNet: Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, arXiv 1911.11907."""

from __future__ import annotations

from ultralytics.nn.ghostnet.backbone import GhostBackbone
from ultralytics.nn.ghostnet.ghostnet import GhostNet, bind_network
from ultralytics.nn.registry import register


@register(bind=bind_network)
class GhostNetV1(GhostNet):
    """GhostNet that classifies pictures, `[-1, 1, GhostNetV1, [nc]]` in a YAML; official weights load strictly."""


@register
class Ghostnetv1(GhostBackbone):
    """GhostNet as a backbone: `[-1, 1, Ghostnetv1, [width, weights]]` fills layers 0 to 4, strides 2 to 32."""
