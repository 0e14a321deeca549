"""The blocks of ResNet and of HGNet, whose YAML lines give all channels outright: no scale changes them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.modules.conv import Conv, LightConv
from ultralytics.nn.registry import Bound, Context, register


class ResNetBlock(nn.Module):
    """Bottleneck of 1x1, 3x3 and 1x1 convolutions with `e * c2` output channels and a shortcut.

    He et al., arXiv 1512.03385, section 4.1.
    """

    def __init__(self, c1: int, c2: int, s: int = 1, e: int = 4):
        super().__init__()
        c3 = e * c2
        self.cv1 = Conv(c1, c2, k=1, s=1, act=True)
        self.cv2 = Conv(c2, c2, k=3, s=s, p=1, act=True)
        self.cv3 = Conv(c2, c3, k=1, act=False)
        self.shortcut = nn.Sequential(Conv(c1, c3, k=1, s=s, act=False)) if s != 1 or c1 != c3 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.cv3(self.cv2(self.cv1(x))) + self.shortcut(x))


def _bind_resnet(context: Context, args: list) -> Bound:
    """Bind the arguments as they stand: input channels, channels, stride, whether it is the stem, blocks."""
    stem, expansion = len(args) > 3 and args[3], args[5] if len(args) > 5 else 4
    return Bound(list(args), args[1] if stem else args[1] * expansion, context.repeats)


@register(bind=_bind_resnet)
class ResNetLayer(nn.Module):
    """A stage of `n` ResNet blocks, the first at stride `s`; or with `is_first` the stem, at stride 4."""

    def __init__(self, c1: int, c2: int, s: int = 1, is_first: bool = False, n: int = 1, e: int = 4):
        super().__init__()
        self.is_first = is_first
        if is_first:
            stem = Conv(c1, c2, k=7, s=2, p=3, act=True)
            self.layer = nn.Sequential(stem, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        else:
            later = (ResNetBlock(e * c2, c2, 1, e=e) for _ in range(n - 1))
            self.layer = nn.Sequential(ResNetBlock(c1, c2, s, e=e), *later)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def _bind_hg_stem(context: Context, args: list) -> Bound:
    """Bind input, middle and output channels."""
    return Bound([context.c1, *args], args[1], context.repeats)


def _bind_hg_block(context: Context, args: list) -> Bound:
    """Bind as the stem, then the kernel size and the repeats, which are inside the block."""
    return Bound([context.c1, *args[:3], context.repeats, *args[3:]], args[1])


@register(bind=_bind_hg_stem)
class HGStem(nn.Module):
    """The first layers of PP-HGNetV2, at stride 4; after the first one a max-pool runs beside two convolutions.

    https://github.com/PaddlePaddle/PaddleDetection, ppdet/modeling/backbones/hgnet_v2.py
    """

    def __init__(self, c1: int, cm: int, c2: int):
        super().__init__()
        self.stem1 = Conv(c1, cm, 3, 2, act=nn.ReLU())
        self.stem2a = Conv(cm, cm // 2, 2, 1, 0, act=nn.ReLU())
        self.stem2b = Conv(cm // 2, cm, 2, 1, 0, act=nn.ReLU())
        self.stem3 = Conv(cm * 2, cm, 3, 2, act=nn.ReLU())
        self.stem4 = Conv(cm, c2, 1, 1, act=nn.ReLU())
        self.pool = nn.MaxPool2d(kernel_size=2, stride=1, padding=0, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._padded(self.stem1(x))
        y = self.stem2b(self._padded(self.stem2a(x)))
        return self.stem4(self.stem3(torch.cat((self.pool(x), y), 1)))

    @staticmethod
    def _padded(x: torch.Tensor) -> torch.Tensor:
        """Add a column on the right and a row below, which kernels of size 2 need to keep height and width."""
        return F.pad(x, [0, 1, 0, 1])


@register(bind=_bind_hg_block)
class HGBlock(nn.Module):
    """`n` convolutions in a row, whose outputs two 1x1 convolutions read together with the input (PP-HGNetV2).

    Args:
        c1: input channels.
        cm: channels of each convolution.
        c2: output channels.
        k: kernel size.
        n: number of convolutions.
        lightconv: light convolutions, see `LightConv`.
        shortcut: add the input where the channels allow it.
        act: the activation; ReLU by default.
    """

    def __init__(
        self,
        c1: int,
        cm: int,
        c2: int,
        k: int = 3,
        n: int = 6,
        lightconv: bool = False,
        shortcut: bool = False,
        act: bool | nn.Module | None = None,
    ):
        super().__init__()
        act = nn.ReLU() if act is None else act
        block = LightConv if lightconv else Conv
        self.m = nn.ModuleList(block(c1 if i == 0 else cm, cm, k=k, act=act) for i in range(n))
        self.sc = Conv(c1 + n * cm, c2 // 2, 1, 1, act=act)
        self.ec = Conv(c2 // 2, c2, 1, 1, act=act)
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [x]
        for m in self.m:
            y.append(m(y[-1]))
        out = self.ec(self.sc(torch.cat(y, 1)))
        return out + x if self.add else out
