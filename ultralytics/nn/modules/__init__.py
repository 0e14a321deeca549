"""The modules that model YAMLs are made of."""

from ultralytics import modules_of
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
    Proto,
    PSABlock,
)
from ultralytics.nn.modules.conv import Concat, Conv, ConvTranspose, DWConv, Ghost, GhostConv, autopad
from ultralytics.nn.modules.ghost import (
    BranchConv,
    GhostDetect,
    GhostDWConv,
    GhostOBB,
    GhostPose,
    GhostSegment,
    GhostStage,
)
from ultralytics.nn.modules.head import OBB, Classifier, Classify, Detect, Pose, Segment
from ultralytics.nn.modules.pointwise import JoinConv, SplitConv

__all__ = (
    "C2PSA",
    "C3",
    "DFL",
    "OBB",
    "PSA",
    "SPPF",
    "Attention",
    "Bottleneck",
    "BranchConv",
    "C2f",
    "C3Ghost",
    "C3k",
    "C3k2",
    "Classifier",
    "Classify",
    "Concat",
    "Conv",
    "ConvTranspose",
    "DWConv",
    "Detect",
    "Ghost",
    "GhostBottleneck",
    "GhostConv",
    "GhostDWConv",
    "GhostDetect",
    "GhostOBB",
    "GhostPose",
    "GhostSegment",
    "GhostStage",
    "JoinConv",
    "PSABlock",
    "Pose",
    "Proto",
    "Segment",
    "SplitConv",
    "autopad",
)

__getattr__ = modules_of(__name__)
