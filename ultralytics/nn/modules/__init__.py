"""The modules that model YAMLs are made of."""

from ultralytics.nn.modules.block import (
    C2PSA,
    C3,
    DFL,
    PSA,
    SPPF,
    Attention,
    Bottleneck,
    C2f,
    C3Ghost,
    C3k,
    C3k2,
    GhostBottleneck,
    PSABlock,
)
from ultralytics.nn.modules.conv import Concat, Conv, ConvTranspose, DWConv, Ghost, GhostConv, autopad
from ultralytics.nn.modules.head import Detect

__all__ = (
    "C2PSA",
    "C3",
    "DFL",
    "PSA",
    "SPPF",
    "Attention",
    "Bottleneck",
    "C2f",
    "C3Ghost",
    "C3k",
    "C3k2",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DWConv",
    "Detect",
    "Ghost",
    "GhostBottleneck",
    "GhostConv",
    "PSABlock",
    "autopad",
)
