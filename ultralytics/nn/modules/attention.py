"""Attention over channels and over places: CBAM and its two halves."""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.nn.registry import Bound, Context, register
from ultralytics.utils.errors import ModelError

KERNELS = (3, 7)  # of the attention over places


def _bind_channels(context: Context, args: list) -> Bound:
    """Bind the input channels, which YAMLs of 8.3.0 repeat as the first argument; a first 3 or 7 is a kernel size."""
    repeated = args[:1] if args and args[0] not in KERNELS else []
    return Bound([context.c1, *args[len(repeated) :]], context.c1, context.repeats)


@register(bind=_bind_channels)
class ChannelAttention(nn.Module):
    """Weigh each channel by a 1x1 convolution of the channels' means."""

    def __init__(self, channels: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Conv2d(channels, channels, 1, bias=True)
        self.act = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.act(self.fc(self.pool(x)))


@register
class SpatialAttention(nn.Module):
    """Weigh each place by a convolution of the mean and the maximum over its channels; `kernel_size` is 3 or 7."""

    def __init__(self, kernel_size: int = 7):
        super().__init__()
        if kernel_size not in KERNELS:
            raise ModelError(f"kernel_size={kernel_size} is not possible for SpatialAttention: choose 3 or 7.")
        self.cv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.act = nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        summary = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * self.act(self.cv1(summary))


@register(bind=_bind_channels)
class CBAM(nn.Module):
    """Attention over channels, then over places. Woo et al., arXiv 1807.06521, section 3.

    As in 8.3.0 the attention over channels is the linear one of `ChannelAttention`, without the paper's bottleneck.
    """

    def __init__(self, c1: int, kernel_size: int = 7):
        super().__init__()
        self.channel_attention = ChannelAttention(c1)
        self.spatial_attention = SpatialAttention(kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.spatial_attention(self.channel_attention(x))
