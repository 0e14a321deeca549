"""Modules that pool, or that halve height and width."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.registry import register


@register
class SPP(nn.Module):
    """Spatial pyramid pooling: max-pools of sizes `k` beside each other. He et al., arXiv 1406.4729."""

    def __init__(self, c1: int, c2: int, k: tuple[int, ...] = (5, 9, 13)):
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * (len(k) + 1), c2, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel_size=size, stride=1, padding=size // 2) for size in k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv1(x)
        return self.cv2(torch.cat([x, *(m(x) for m in self.m)], 1))


@register
class SPPELAN(nn.Module):
    """Three max-pools of size `k` in sequence on `c3` channels, all of which are kept (YOLOv9, arXiv 2402.13616)."""

    def __init__(self, c1: int, c2: int, c3: int, k: int = 5):
        super().__init__()
        self.c = c3
        self.cv1 = Conv(c1, c3, 1, 1)
        self.cv2 = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)
        self.cv3 = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)
        self.cv4 = nn.MaxPool2d(kernel_size=k, stride=1, padding=k // 2)
        self.cv5 = Conv(4 * c3, c2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [self.cv1(x)]
        for pool in (self.cv2, self.cv3, self.cv4):
            y.append(pool(y[-1]))
        return self.cv5(torch.cat(y, 1))


@register
class AConv(nn.Module):
    """Halve height and width by a 2x2 average and a 3x3 convolution at stride 2 (YOLOv9, arXiv 2402.13616)."""

    def __init__(self, c1: int, c2: int):
        super().__init__()
        self.cv1 = Conv(c1, c2, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv1(_averaged(x))


@register
class ADown(nn.Module):
    """As `AConv`, for one half of the channels; a max-pool and a 1x1 convolution for the other (YOLOv9)."""

    def __init__(self, c1: int, c2: int):
        super().__init__()
        self.c = c2 // 2
        self.cv1 = Conv(c1 // 2, self.c, 3, 2, 1)
        self.cv2 = Conv(c1 // 2, self.c, 1, 1, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = _averaged(x).chunk(2, 1)
        return torch.cat((self.cv1(a), self.cv2(F.max_pool2d(b, 3, 2, 1))), 1)


def _averaged(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of each 2x2 window, at stride 1."""
    return F.avg_pool2d(x, 2, 1, 0, False, True)


@register
class SCDown(nn.Module):
    """Change the channels by a 1x1 convolution, then the size by a depthwise one of kernel `k` at stride `s`.

    Spatial-channel decoupled downsampling: YOLOv10, arXiv 2405.14458, section 3.2.
    """

    def __init__(self, c1: int, c2: int, k: int, s: int):
        super().__init__()
        self.cv1 = Conv(c1, c2, 1, 1)
        self.cv2 = Conv(c2, c2, k=k, s=s, g=c2, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv2(self.cv1(x))
