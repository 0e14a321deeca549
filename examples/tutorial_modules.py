"""Sixteen modules that tutorials add to YOLO, each written from its paper.

The constructors are those that circulate; `iRMB` and `MSDA` leave out parameters that are seldom changed. The classes
are no part of the package: a model YAML names a copy of this file, `modules: [tutorial_modules.py]`, and uses them by
name; 改进流程.md, chapter 16, has a line for each.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.nn import register
from ultralytics.nn.modules import C2PSA, C3k2, Conv

# Attention: the channels stay ----------------------------------------------------------------------------------------


@register
class CBAM(nn.Module):
    """Weighs channels by their means and maxima, then pixels by those over the channels. arXiv 1807.06521."""

    def __init__(self, c1: int, kernel_size: int = 7):
        super().__init__()
        hidden = max(c1 // 16, 1)
        self.mlp = nn.Sequential(nn.Conv2d(c1, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, c1, 1))
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * (self.mlp(x.mean((2, 3), keepdim=True)) + self.mlp(x.amax((2, 3), keepdim=True))).sigmoid()
        return x * self.conv(torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)).sigmoid()


@register
class SEAttention(nn.Module):
    """Squeeze-and-excitation: weighs each channel by all channels' means. arXiv 1709.01507."""

    def __init__(self, channel: int = 512, reduction: int = 16):
        super().__init__()
        hidden = max(channel // reduction, 1)
        self.fc = nn.Sequential(nn.Linear(channel, hidden), nn.ReLU(), nn.Linear(hidden, channel), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean((2, 3)))[..., None, None]


@register
class ECAAttention(nn.Module):
    """Weighs each channel by the means of `kernel_size` channels around it. arXiv 1910.03151."""

    def __init__(self, kernel_size: int = 3):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.conv(x.mean((2, 3)).unsqueeze(1)).sigmoid()
        return x * weights.transpose(1, 2).unsqueeze(-1)


@register
class SimAM(nn.Module):
    """Weighs each value by its distance from its channel's mean, without parameters. PMLR 139, Yang et al., 2021."""

    def __init__(self, e_lambda: float = 1e-4):
        super().__init__()
        self.e_lambda = e_lambda

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        distance = (x - x.mean((2, 3), keepdim=True)).square()
        variance = distance.sum((2, 3), keepdim=True) / max(x.shape[2] * x.shape[3] - 1, 1)
        return x * (distance / (4 * (variance + self.e_lambda)) + 0.5).sigmoid()


@register
class EMA(nn.Module):
    """Efficient multi-scale attention: in each group, a 1x1 and a 3x3 branch weigh each other. arXiv 2305.13563."""

    def __init__(self, channels: int, factor: int = 8):
        super().__init__()
        self.groups = factor
        c = channels // factor
        self.norm = nn.GroupNorm(c, c)
        self.conv1x1 = nn.Conv2d(c, c, 1)
        self.conv3x3 = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        g = x.unflatten(1, (self.groups, -1)).flatten(0, 1)
        height, width = g.shape[2:]
        lines = torch.cat((g.mean(3, keepdim=True), g.mean(2, keepdim=True).transpose(2, 3)), 2)
        rows, columns = self.conv1x1(lines).split([height, width], 2)
        a = self.norm(g * rows.sigmoid() * columns.transpose(2, 3).sigmoid())
        b = self.conv3x3(g)
        weights = sum(p.mean((2, 3)).softmax(1).unsqueeze(1) @ q.flatten(2) for p, q in ((a, b), (b, a)))
        return (g * weights.view(-1, 1, height, width).sigmoid()).view_as(x)


@register
class MSDA(nn.Module):
    """Multi-scale dilated attention: each group of heads sees 3x3 pixels at its own distance. arXiv 2302.01791."""

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = False,
        kernel_size: int = 3,
        dilation: tuple[int, ...] = (1, 2, 3, 4),
    ):
        super().__init__()
        self.heads, self.k, self.dilation = num_heads // len(dilation), kernel_size, dilation
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=qkv_bias)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = zip(*(y.chunk(len(self.dilation), 1) for y in self.qkv(x).chunk(3, 1)))
        return self.proj(torch.cat([self._attend(*part, d) for part, d in zip(parts, self.dilation)], 1))

    def _attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d: int) -> torch.Tensor:
        def neighbours(y: torch.Tensor) -> torch.Tensor:  # (b, heads, channels, k * k, pixels)
            y = F.unfold(y, self.k, d, d * (self.k // 2))
            return y.view(q.shape[0], self.heads, -1, self.k**2, y.shape[-1])

        query = q.flatten(2).unflatten(1, (self.heads, -1)).unsqueeze(3)
        scores = (query * neighbours(k)).sum(2, keepdim=True) * query.shape[2] ** -0.5
        return (scores.softmax(3) * neighbours(v)).sum(3).view_as(q)


# Convolutions: from one number of channels to another ----------------------------------------------------------------


@register
class GSConv(nn.Module):
    """Half of the maps by a convolution, half by a depthwise one of these, shuffled. arXiv 2206.02424."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True):
        super().__init__()
        half = c2 // 2
        self.cv1 = Conv(c1, half, k, s, g=g, act=act)
        self.cv2 = Conv(half, half, 5, g=half, act=act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.cv1(x)
        return torch.cat((x, self.cv2(x)), 1).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)


class GSBottleneck(nn.Module):
    """Two GSConvs beside a 1x1 convolution."""

    def __init__(self, c: int):
        super().__init__()
        self.conv = nn.Sequential(GSConv(c, c), GSConv(c, c, 3, act=False))
        self.shortcut = Conv(c, c, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.shortcut(x)


@register
class VoVGSCSP(nn.Module):
    """Cross-stage partial block, one half of which passes through GSConvs. arXiv 2206.02424."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1, self.cv2, self.cv3 = Conv(c1, hidden), Conv(c1, hidden), Conv(2 * hidden, c2)
        self.gsb = nn.Sequential(*(GSBottleneck(hidden) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv3(torch.cat((self.cv2(x), self.gsb(self.cv1(x))), 1))


class FasterBlock(nn.Module):
    """A 3x3 convolution of a quarter of the channels, then two 1x1 ones of all, and a shortcut."""

    def __init__(self, c: int):
        super().__init__()
        self.parts = [c // 4, c - c // 4]
        self.conv = nn.Conv2d(c // 4, c // 4, 3, padding=1, bias=False)
        self.mlp = nn.Sequential(Conv(c, 2 * c, act=nn.ReLU()), nn.Conv2d(2 * c, c, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.split(self.parts, 1)
        return x + self.mlp(torch.cat((self.conv(a), b), 1))


@register
class C3k2_Faster(C3k2):
    """C3k2 with the partial convolutions of FasterNet in its inner blocks. arXiv 2303.03667."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5, g: int = 1, shortcut: bool = True
    ):
        super().__init__(c1, c2, n, c3k, e, g, shortcut)
        self.m = nn.ModuleList(FasterBlock(self.c) for _ in range(n))


@register
class C2PSA_EMA(C2PSA):
    """C2PSA with `EMA` in the place of self-attention."""

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5):
        super().__init__(c1, c2, n, e)
        for block in self.m:
            block.attn = EMA(self.c)


@register
class AKConv(nn.Module):
    """A convolution with any number of taps, at places that its input moves. arXiv 2311.11587."""

    def __init__(self, inc: int, outc: int, num_param: int, stride: int = 1, bias: bool | None = None):
        super().__init__()
        self.n, self.step = num_param, stride
        self.offset = nn.Conv2d(inc, 2 * num_param, 3, stride, 1)
        nn.init.zeros_(self.offset.weight)
        column = nn.Conv2d(inc, outc, (num_param, 1), (num_param, 1), bias=bool(bias))
        self.conv = nn.Sequential(column, nn.BatchNorm2d(outc), nn.SiLU())
        side = round(math.sqrt(num_param))
        taps = torch.tensor([(i % side, i // side) for i in range(num_param)], dtype=torch.float)  # x, y
        self.register_buffer("taps", taps.view(1, 1, num_param, 1, 2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = self.offset(x).unflatten(1, (self.n, 2)).permute(0, 3, 1, 4, 2)  # (b, h, n, w, 2)
        rows, columns = (torch.arange(s, device=x.device) * self.step for s in (moved.shape[1], moved.shape[3]))
        corner = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[:, None]  # (h, 1, w, 2)
        places = (moved + self.taps + corner).flatten(1, 2)
        grid = (2 * places + 1) / x.new_tensor([x.shape[3], x.shape[2]]) - 1
        return self.conv(F.grid_sample(x, grid, padding_mode="border", align_corners=False))


@register
class RepVGG(nn.Module):
    """3x3, 1x1 and identity branches, which `model.fuse()` merges into one convolution. arXiv 2101.03697."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, padding: int = 1):
        super().__init__()
        self.dense = Conv(in_channels, out_channels, kernel_size, stride, padding, act=False)
        self.point = Conv(in_channels, out_channels, 1, stride, 0, act=False)
        self.same = nn.BatchNorm2d(in_channels) if in_channels == out_channels and stride == 1 else None
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [branch for branch in (self.dense, self.point, self.same) if branch is not None]
        return self.act(sum(branch(x) for branch in branches))

    @torch.no_grad()
    def fuse(self) -> None:
        if self.point is None:
            return
        self.dense.fuse()
        self.point.fuse()
        conv, middle = self.dense.conv, self.dense.conv.kernel_size[0] // 2
        conv.weight[:, :, middle, middle] += self.point.conv.weight[:, :, 0, 0]
        conv.bias += self.point.conv.bias
        if self.same is not None:
            scale = self.same.weight * (self.same.running_var + self.same.eps).rsqrt()
            conv.weight[:, :, middle, middle] += scale.diag()
            conv.bias += self.same.bias - self.same.running_mean * scale
        self.point = self.same = None


@register
class SPDConv(nn.Module):
    """Space to depth, then a convolution: half the size without a stride. arXiv 2208.03641."""

    def __init__(self, inc: int, ouc: int, dimension: int = 1):
        super().__init__()
        self.conv = Conv(4 * inc, ouc, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(F.pixel_unshuffle(x, 2))


@register
class iRMB(nn.Module):
    """Inverted residual block with attention in windows and a depthwise convolution. arXiv 2301.01146."""

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        norm_in: bool = True,
        has_skip: bool = True,
        exp_ratio: float = 1.0,
        dw_ks: int = 3,
        stride: int = 1,
        dim_head: int = 16,
        window_size: int = 7,
    ):
        super().__init__()
        hidden = int(dim_in * exp_ratio)
        self.heads, self.side = max(dim_in // dim_head, 1), window_size
        self.norm = nn.BatchNorm2d(dim_in) if norm_in else nn.Identity()
        self.qk, self.v = nn.Conv2d(dim_in, 2 * dim_in, 1, bias=False), Conv(dim_in, hidden)
        self.local = Conv(hidden, hidden, dw_ks, stride, g=hidden)
        self.proj = nn.Conv2d(hidden, dim_out, 1, bias=False)
        self.local_skip = stride == 1
        self.skip = has_skip and stride == 1 and dim_in == dim_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        y = self._attend(*self.qk(y).chunk(2, 1), self.v(y))
        y = self.proj(y + self.local(y) if self.local_skip else self.local(y))
        return x + y if self.skip else y

    def _attend(self, *maps: torch.Tensor) -> torch.Tensor:
        """Attention of q, k, v in windows; sides are padded with zeros to multiples of the window's."""
        s, (h, w) = self.side, maps[0].shape[2:]

        def windows(y: torch.Tensor) -> torch.Tensor:  # (b, rows, columns, heads, s * s, channels)
            y = F.pad(y, (0, -w % s, 0, -h % s)).unflatten(3, (-1, s)).unflatten(2, (-1, s))
            return y.unflatten(1, (self.heads, -1)).permute(0, 3, 5, 1, 4, 6, 2).flatten(4, 5)

        y = F.scaled_dot_product_attention(*map(windows, maps)).unflatten(4, (s, s))
        return y.permute(0, 3, 6, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4).flatten(1, 2)[..., :h, :w]


# Upsampling and joining ----------------------------------------------------------------------------------------------


@register
class DySample(nn.Module):
    """Upsampling at places that the map itself moves; channels stay. arXiv 2308.15085.

    `style`: "lp" finds the places on the small map, "pl" on a pixel-shuffled one. `dyscope`: their range is learnt.
    """

    def __init__(self, in_channels: int, scale: int = 2, style: str = "lp", groups: int = 4, dyscope: bool = False):
        super().__init__()
        self.scale, self.style, self.groups = scale, style, groups
        c, out = (in_channels, 2 * groups * scale**2) if style == "lp" else (in_channels // scale**2, 2 * groups)
        self.offset = nn.Conv2d(c, out, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        self.scope = nn.Conv2d(c, out, 1, bias=False) if dyscope else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        read = x if self.style == "lp" else F.pixel_shuffle(x, self.scale)
        offset = self.offset(read) * (0.25 if self.scope is None else 0.5 * self.scope(read).sigmoid())
        offset = F.pixel_shuffle(offset, self.scale) if self.style == "lp" else offset
        (b, _, h, w), groups = offset.shape, x.shape[0] * self.groups
        even = torch.eye(2, 3, device=x.device, dtype=x.dtype).expand(groups, 2, 3)
        grid = F.affine_grid(even, [groups, 1, h, w], align_corners=False)
        moved = offset.reshape(groups, 2, h, w).permute(0, 2, 3, 1) * 2 / x.new_tensor([x.shape[3], x.shape[2]])
        maps = x.reshape(groups, -1, *x.shape[2:])
        return F.grid_sample(maps, grid + moved, padding_mode="border", align_corners=False).view(b, -1, h, w)


@register
class BiFPN_Concat2(nn.Module):
    """Concatenation of two maps with learnt weights that add up to one. arXiv 1911.09070, section 3.3."""

    inputs = 2

    def __init__(self, dimension: int = 1):
        super().__init__()
        self.d = dimension
        self.w = nn.Parameter(torch.ones(self.inputs))

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        w = self.w.relu()
        w = w / (w.sum() + 1e-4)
        return torch.cat([w[i] * y for i, y in enumerate(x)], self.d)


@register
class BiFPN_Concat3(BiFPN_Concat2):
    """The same for three maps."""

    inputs = 3
