"""GhostNetV2: Tang et al., "GhostNetV2: Enhance Cheap Operation with Long-Range Attention", arXiv 2211.12905.

The blocks of GhostNet, with DFC attention on the first Ghost module from the third stage on: the maps before that are
large, and long reach pays little there.
"""

from __future__ import annotations

from ultralytics.nn.ghostnet.backbone import GhostBackbone
from ultralytics.nn.ghostnet.ghostnet import GhostNet, bind_network
from ultralytics.nn.registry import register

ATTENTION_FROM = 2


@register(bind=bind_network)
class GhostNetV2(GhostNet):
    """GhostNetV2 that classifies pictures, `[-1, 1, GhostNetV2, [nc]]` in a YAML; official weights load strictly."""

    attention_from = ATTENTION_FROM


@register
class Ghostnetv2(GhostBackbone):
    """GhostNetV2 as a backbone: `[-1, 1, Ghostnetv2, [width, weights]]` fills layers 0 to 4, strides 2 to 32."""

    attention_from = ATTENTION_FROM
