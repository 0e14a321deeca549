"""Blocks of several convolutions, most of them cross-stage partial ones; re-exports are where 8.3.0 has them."""

from __future__ import annotations

import torch
from torch import nn

from ultralytics.nn.modules.cib import CIB, RepVGGDW  # noqa: F401
from ultralytics.nn.modules.composite import CBFuse, CBLinear  # noqa: F401
from ultralytics.nn.modules.conv import Conv, Ghost, RepConv
from ultralytics.nn.modules.norm import BatchNorm2d
from ultralytics.nn.modules.pointwise import halves, joined
from ultralytics.nn.modules.resnet import HGBlock, HGStem, ResNetBlock, ResNetLayer  # noqa: F401
from ultralytics.nn.modules.sampling import SPP, SPPELAN, AConv, ADown, SCDown  # noqa: F401
from ultralytics.nn.modules.transformer import TransformerBlock
from ultralytics.nn.registry import register
from ultralytics.utils.errors import ModelError


class DFL(nn.Module):
    """Expectation of the distribution over `c1` bins that the head predicts for each side of a box.

    Generalized Focal Loss, arXiv 2006.04388, section 3.2: (b, 4 * c1, anchors) logits to (b, 4, anchors) distances.
    """

    def __init__(self, c1: int = 16):
        super().__init__()
        self.c1 = c1
        self.conv = nn.Conv2d(c1, 1, 1, bias=False).requires_grad_(False)
        self.conv.weight.data[:] = torch.arange(c1, dtype=torch.float).view(1, c1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, a = x.shape
        return self.conv(x.view(b, 4, self.c1, a).transpose(2, 1).softmax(1)).view(b, 4, a)


class Proto(nn.Module):
    """Prototype maps for masks: (b, c1, h, w) to (b, c2, 2h, 2w), with `c_` channels between. arXiv 1904.02689."""

    def __init__(self, c1: int, c_: int = 256, c2: int = 32):
        super().__init__()
        self.cv1 = Conv(c1, c_, 3)
        self.upsample = nn.ConvTranspose2d(c_, c_, 2, 2, 0, bias=True)
        self.cv2 = Conv(c_, c_, 3)
        self.cv3 = Conv(c_, c2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv3(self.cv2(self.upsample(self.cv1(x))))


@register
class SPPF(nn.Module):
    """Spatial pyramid pooling, fast: three max-pools of size `k` in sequence see 5, 9 and 13 pixels."""

    def __init__(self, c1: int, c2: int, k: int = 5):
        super().__init__()
        hidden = c1 // 2
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(hidden * 4, c2, 1, 1)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(self.m(y[-1]))
        return joined(self.cv2, y)


@register
class Bottleneck(nn.Module):
    """Two convolutions with `e * c2` channels between them, and a shortcut where the channels allow one."""

    def __init__(
        self,
        c1: int,
        c2: int,
        shortcut: bool = True,
        g: int = 1,
        k: tuple[int | tuple[int, int], int | tuple[int, int]] = (3, 3),
        e: float = 0.5,
    ):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1: nn.Module = Conv(c1, hidden, k[0], 1)
        self.cv2 = Conv(hidden, c2, k[1], 1, g=g)
        self.add = shortcut and c1 == c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.add else y


@register
class C2f(nn.Module):
    """Cross-stage partial block with two halves: one passes through `n` bottlenecks, whose outputs are all kept."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5):
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv((2 + n) * self.c, c2, 1)
        self.m = nn.ModuleList(self.inner(shortcut, g) for _ in range(n))

    def inner(self, shortcut: bool, g: int) -> nn.Module:
        """Return one of the `n` inner blocks."""
        return Bottleneck(self.c, self.c, shortcut, g, k=((3, 3), (3, 3)), e=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [*halves(self.cv1, x)]
        for m in self.m:
            y.append(m(y[-1]))
        return joined(self.cv2, y)

    def forward_split(self, x: torch.Tensor) -> torch.Tensor:
        """Return what `forward` does, by torch.split instead of torch.chunk."""
        y = [*self.cv1(x).split((self.c, self.c), 1)]
        for m in self.m:
            y.append(m(y[-1]))
        return self.cv2(torch.cat(y, 1))


@register
class C1(nn.Module):
    """A 1x1 convolution, then `n` of size 3 with a shortcut around them."""

    def __init__(self, c1: int, c2: int, n: int = 1):
        super().__init__()
        self.cv1 = Conv(c1, c2, 1, 1)
        self.m = nn.Sequential(*(Conv(c2, c2, 3) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.cv1(x)
        return self.m(y) + y


@register
class C2(nn.Module):
    """Cross-stage partial block with two halves: one passes through `n` bottlenecks, the other stays as it is."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5):
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c2, 1)
        self.m = nn.Sequential(*(Bottleneck(self.c, self.c, shortcut, g, k=((3, 3), (3, 3)), e=1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = halves(self.cv1, x)
        return joined(self.cv2, [self.m(a), b])


@register
class C3f(nn.Module):
    """As `C2f`, with a convolution of its own for each branch; the output of each of `n` bottlenecks is kept."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv((2 + n) * hidden, c2, 1)
        self.m = nn.ModuleList(Bottleneck(hidden, hidden, shortcut, g, k=((3, 3), (3, 3)), e=1.0) for _ in range(n))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [self.cv2(x), self.cv1(x)]
        for m in self.m:
            y.append(m(y[-1]))
        return self.cv3(torch.cat(y, 1))


@register
class C3(nn.Module):
    """Cross-stage partial block with three convolutions: one branch through `n` bottlenecks, one beside them."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c2, 1)
        self.m: nn.Module = nn.Sequential(*(self.inner(hidden, shortcut, g) for _ in range(n)))

    def inner(self, c: int, shortcut: bool, g: int) -> nn.Module:
        """Return one of the `n` inner blocks on `c` channels."""
        return Bottleneck(c, c, shortcut, g, k=((1, 1), (3, 3)), e=1.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return joined(self.cv3, [self.m(self.cv1(x)), self.cv2(x)])


@register
class C3k(C3):
    """C3 whose bottlenecks have kernels of size `k` throughout."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5, k: int = 3):
        self.k = k
        super().__init__(c1, c2, n, shortcut, g, e)

    def inner(self, c: int, shortcut: bool, g: int) -> nn.Module:
        return Bottleneck(c, c, shortcut, g, k=(self.k, self.k), e=1.0)


@register
class C3x(C3):
    """C3 whose bottlenecks have kernels of 1x3 and 3x1."""

    def inner(self, c: int, shortcut: bool, g: int) -> nn.Module:
        return Bottleneck(c, c, shortcut, g, k=((1, 3), (3, 1)), e=1.0)


@register
class C3TR(C3):
    """C3 with `n` transformer layers of 4 heads in place of the bottlenecks."""

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5):
        super().__init__(c1, c2, 0, shortcut, g, e)
        hidden = int(c2 * e)
        self.m = TransformerBlock(hidden, hidden, 4, n)


@register
class RepC3(nn.Module):
    """Two 1x1 convolutions side by side, one with `n` RepConvs after it; their sum. RT-DETR, arXiv 2304.08069."""

    def __init__(self, c1: int, c2: int, n: int = 3, e: float = 1.0):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, c2, 1, 1)
        self.cv2 = Conv(c1, c2, 1, 1)
        self.m = nn.Sequential(*(RepConv(hidden, hidden) for _ in range(n)))
        self.cv3 = Conv(hidden, c2, 1, 1) if hidden != c2 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cv3(self.m(self.cv1(x)) + self.cv2(x))


@register
class BottleneckCSP(nn.Module):
    """The first form of `C3`: plain convolutions end both branches, and one batch norm follows them.

    Wang et al., CSPNet, arXiv 1911.11929.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = True, g: int = 1, e: float = 0.5):
        super().__init__()
        hidden = int(c2 * e)
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = nn.Conv2d(c1, hidden, 1, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, 1, bias=False)
        self.cv4 = Conv(2 * hidden, c2, 1, 1)
        self.bn = BatchNorm2d(2 * hidden)
        self.act = nn.SiLU()
        self.m = nn.Sequential(*(Bottleneck(hidden, hidden, shortcut, g, e=1.0) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        return self.cv4(self.act(self.bn(branches)))


class RepBottleneck(Bottleneck):
    """`Bottleneck` whose first convolution is a RepConv, so of size 3."""

    def __init__(
        self,
        c1: int,
        c2: int,
        shortcut: bool = True,
        g: int = 1,
        k: tuple[int, int | tuple[int, int]] = (3, 3),
        e: float = 0.5,
    ):
        super().__init__(c1, c2, shortcut, g, k, e)
        self.cv1 = RepConv(c1, int(c2 * e), k[0], 1)


class RepCSP(C3):
    """C3 whose bottlenecks begin with a RepConv."""

    def inner(self, c: int, shortcut: bool, g: int) -> nn.Module:
        return RepBottleneck(c, c, shortcut, g, e=1.0)


@register
class RepNCSPELAN4(nn.Module):
    """The block of YOLOv9: halves of `c3` channels, one of which passes through two RepCSPs; all four are kept.

    Generalized efficient layer aggregation network (GELAN): arXiv 2402.13616, section 4.2.

    Args:
        c1: input channels.
        c2: output channels.
        c3: channels of the two halves together.
        c4: channels of each of the two maps made from them.
        n: number of bottlenecks in each RepCSP.
    """

    def __init__(self, c1: int, c2: int, c3: int, c4: int, n: int = 1):
        super().__init__()
        self.c = c3 // 2
        self.cv1 = Conv(c1, c3, 1, 1)
        self.cv2: nn.Module = nn.Sequential(RepCSP(c3 // 2, c4, n), Conv(c4, c4, 3, 1))
        self.cv3: nn.Module = nn.Sequential(RepCSP(c4, c4, n), Conv(c4, c4, 3, 1))
        self.cv4 = Conv(c3 + 2 * c4, c2, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = [*self.cv1(x).chunk(2, 1)]
        for m in (self.cv2, self.cv3):
            y.append(m(y[-1]))
        return self.cv4(torch.cat(y, 1))

    def forward_split(self, x: torch.Tensor) -> torch.Tensor:
        """Return what `forward` does, by torch.split instead of torch.chunk."""
        y = [*self.cv1(x).split((self.c, self.c), 1)]
        for m in (self.cv2, self.cv3):
            y.append(m(y[-1]))
        return self.cv4(torch.cat(y, 1))


@register
class ELAN1(RepNCSPELAN4):
    """`RepNCSPELAN4` with plain 3x3 convolutions in place of the RepCSPs."""

    def __init__(self, c1: int, c2: int, c3: int, c4: int):
        super().__init__(c1, c2, c3, c4)
        self.cv2 = Conv(c3 // 2, c4, 3, 1)
        self.cv3 = Conv(c4, c4, 3, 1)


@register
class C3k2(C2f):
    """C2f whose inner blocks are C3k (`c3k=True`) or bottlenecks; the block of YOLO11."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5, g: int = 1, shortcut: bool = True
    ):
        self.c3k = c3k
        super().__init__(c1, c2, n, shortcut, g, e)

    def inner(self, shortcut: bool, g: int) -> nn.Module:
        return C3k(self.c, self.c, 2, shortcut, g) if self.c3k else Bottleneck(self.c, self.c, shortcut, g)


class Attention(nn.Module):
    """Multi-head self-attention over all positions, with a depthwise 3x3 convolution as position encoding.

    YOLOv10, arXiv 2405.14458, section 3.2 (partial self-attention).
    """

    def __init__(self, dim: int, num_heads: int = 8, attn_ratio: float = 0.5):
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = dim // num_heads
        self.key_dim = int(self.head_dim * attn_ratio)
        self.scale = self.key_dim**-0.5
        self.qkv = Conv(dim, dim + 2 * self.key_dim * num_heads, 1, act=False)
        self.proj = Conv(dim, dim, 1, act=False)
        self.pe = Conv(dim, dim, 3, 1, g=dim, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(x).view(b, self.num_heads, 2 * self.key_dim + self.head_dim, h * w)
        q, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
        weights = ((q.transpose(-2, -1) @ k) * self.scale).softmax(dim=-1)
        y = (v @ weights.transpose(-2, -1)).view(b, c, h, w)
        return self.proj(y + self.pe(v.reshape(b, c, h, w)))


class PSABlock(nn.Module):
    """Self-attention and a two-layer feed-forward network, each with a shortcut."""

    def __init__(self, c: int, attn_ratio: float = 0.5, num_heads: int = 4, shortcut: bool = True):
        super().__init__()
        self.attn = Attention(c, attn_ratio=attn_ratio, num_heads=num_heads)
        self.ffn = nn.Sequential(Conv(c, c * 2, 1), Conv(c * 2, c, 1, act=False))
        self.add = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(x) if self.add else self.attn(x)
        return x + self.ffn(x) if self.add else self.ffn(x)


@register
class C2fCIB(C2f):
    """C2f whose inner blocks are compact inverted blocks, with large kernels if `lk` (YOLOv10, arXiv 2405.14458)."""

    def __init__(
        self, c1: int, c2: int, n: int = 1, shortcut: bool = False, lk: bool = False, g: int = 1, e: float = 0.5
    ):
        self.lk = lk
        super().__init__(c1, c2, n, shortcut, g, e)

    def inner(self, shortcut: bool, g: int) -> nn.Module:
        return CIB(self.c, self.c, shortcut, e=1.0, lk=self.lk)


def _attention_heads(c: int) -> int:
    return max(c // 64, 1)


@register
class PSA(nn.Module):
    """Partial self-attention: one half of the channels passes through attention and feed-forward. arXiv 2405.14458."""

    def __init__(self, c1: int, c2: int, e: float = 0.5):
        super().__init__()
        self.c = int(c1 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c2, 1)
        self.attn = Attention(self.c, attn_ratio=0.5, num_heads=_attention_heads(self.c))
        self.ffn = nn.Sequential(Conv(self.c, self.c * 2, 1), Conv(self.c * 2, self.c, 1, act=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = halves(self.cv1, x)
        b = b + self.attn(b)
        return joined(self.cv2, [a, b + self.ffn(b)])


@register
class C2PSA(nn.Module):
    """Cross-stage partial block whose second half passes through `n` PSABlocks."""

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5):
        super().__init__()
        self.c = int(c1 * e)
        self.cv1 = Conv(c1, 2 * self.c, 1, 1)
        self.cv2 = Conv(2 * self.c, c2, 1)
        self.m = nn.Sequential(*(PSABlock(self.c, 0.5, _attention_heads(self.c)) for _ in range(n)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = halves(self.cv1, x)
        return joined(self.cv2, [a, self.m(b)])


@register
class C2fPSA(C2f):
    """C2f whose inner blocks are `n` PSABlocks; `c1` must equal `c2`."""

    def __init__(self, c1: int, c2: int, n: int = 1, e: float = 0.5):
        if c1 != c2:
            raise ModelError(f"C2fPSA keeps its channels, so c2={c2} must be the {c1} channels of its input.")
        super().__init__(c1, c2, n=n, e=e)

    def inner(self, shortcut: bool, g: int) -> nn.Module:
        return PSABlock(self.c, attn_ratio=0.5, num_heads=self.c // 64)


@register
class GhostBottleneck(Ghost):
    """The Ghost bottleneck under the name that 8.3.0 gives it; see `Ghost`."""


@register
class C3Ghost(C3):
    """C3 whose inner blocks are Ghost bottlenecks.

    It saves parameters and FLOPs, but hardly any latency: many small layers and concatenations replace a few dense
    ones. Where latency counts, see `GhostStage`.
    """

    def inner(self, c: int, shortcut: bool, g: int) -> nn.Module:
        return GhostBottleneck(c, c)
