"""Heads: from feature maps to predictions."""

from __future__ import annotations

import math

import torch
from torch import nn

from ultralytics.nn.modules.block import DFL
from ultralytics.nn.modules.conv import Conv, DWConv
from ultralytics.nn.registry import register
from ultralytics.utils.tal import dist2bbox, make_anchors


@register
class Detect(nn.Module):
    """Anchor-free detection head of YOLO11: for each position of each map, `nc` class logits and a box distribution.

    In training it returns the maps, each (b, 4 * reg_max + nc, h, w); in inference a pair of the decoded predictions
    (b, 4 + nc, positions), boxes as xywh in input pixels and class probabilities, and the maps.
    """

    def __init__(self, nc: int = 80, ch: tuple[int, ...] = ()):
        super().__init__()
        self.nc = nc
        self.nl = len(ch)
        self.reg_max = 16
        self.no = nc + self.reg_max * 4  # outputs at each position
        self.register_buffer("stride", torch.zeros(self.nl), persistent=False)  # set by the model that holds the head
        c2, c3 = max(16, ch[0] // 4, self.reg_max * 4), max(ch[0], min(nc, 100))
        self.cv2 = nn.ModuleList(
            nn.Sequential(Conv(x, c2, 3), Conv(c2, c2, 3), nn.Conv2d(c2, 4 * self.reg_max, 1)) for x in ch
        )
        self.cv3 = nn.ModuleList(
            nn.Sequential(
                nn.Sequential(DWConv(x, x, 3), Conv(x, c3, 1)),
                nn.Sequential(DWConv(c3, c3, 3), Conv(c3, c3, 1)),
                nn.Conv2d(c3, nc, 1),
            )
            for x in ch
        )
        self.dfl = DFL(self.reg_max)

    def forward(self, x: list[torch.Tensor]) -> list[torch.Tensor] | tuple[torch.Tensor, list[torch.Tensor]]:
        maps = [torch.cat((box(f), cls(f)), 1) for f, box, cls in zip(x, self.cv2, self.cv3)]
        return maps if self.training else (self.decode(maps), maps)

    def decode(self, maps: list[torch.Tensor]) -> torch.Tensor:
        """Turn the raw maps into boxes and class probabilities."""
        anchors, strides = (a.transpose(0, 1) for a in make_anchors(maps, self.stride, 0.5))
        flat = torch.cat([m.flatten(2) for m in maps], 2)
        box, cls = flat.split((self.reg_max * 4, self.nc), 1)
        box = dist2bbox(self.dfl(box), anchors.unsqueeze(0), xywh=True, dim=1) * strides
        return torch.cat((box, cls.sigmoid()), 1)

    def bias_init(self) -> None:
        """Start with boxes of about one cell and with the class odds of five objects in a 640-pixel picture."""
        for box, cls, s in zip(self.cv2, self.cv3, self.stride.tolist()):
            box[-1].bias.data[:] = 1.0
            cls[-1].bias.data[: self.nc] = math.log(5 / self.nc / (640 / s) ** 2)
