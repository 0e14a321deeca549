"""Transformer layers, under their names of 8.3.0."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.registry import register
from ultralytics.utils.errors import ModelError


class TransformerEncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a shortcut and a layer norm.

    Vaswani et al., arXiv 1706.03762, section 3.1.

    Args:
        c1: channels.
        cm: hidden channels of the feed-forward network.
        num_heads: of the attention; they divide the channels.
        dropout: share of values that training drops.
        act: activation of the feed-forward network.
        normalize_before: normalize the input of each part instead of its output.
    """

    def __init__(
        self,
        c1: int,
        cm: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.0,
        act: nn.Module | None = None,
        normalize_before: bool = False,
    ):
        super().__init__()
        self.ma = nn.MultiheadAttention(c1, num_heads, dropout=dropout, batch_first=True)
        self.fc1 = nn.Linear(c1, cm)
        self.fc2 = nn.Linear(cm, c1)
        self.norm1 = nn.LayerNorm(c1)
        self.norm2 = nn.LayerNorm(c1)
        self.dropout = nn.Dropout(dropout)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.act = act or nn.GELU()
        self.normalize_before = normalize_before

    def forward(
        self,
        src: torch.Tensor,
        src_mask: torch.Tensor | None = None,
        src_key_padding_mask: torch.Tensor | None = None,
        pos: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the layer's output (b, n, c1).

        Args:
            src: (b, n, c1).
            src_mask: (n, n) which positions attend to which (see `nn.MultiheadAttention`).
            src_key_padding_mask: (b, n) true for positions to ignore.
            pos: added to the input of the attention's queries and keys.
        """
        masks = {"attn_mask": src_mask, "key_padding_mask": src_key_padding_mask}
        if self.normalize_before:
            src = src + self.dropout1(self._attend(self.norm1(src), pos, masks))
            return src + self.dropout2(self._feed(self.norm2(src)))
        src = self.norm1(src + self.dropout1(self._attend(src, pos, masks)))
        return self.norm2(src + self.dropout2(self._feed(src)))

    def _attend(self, x: torch.Tensor, pos: torch.Tensor | None, masks: dict) -> torch.Tensor:
        placed = x if pos is None else x + pos
        return self.ma(placed, placed, value=x, **masks)[0]

    def _feed(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(self.act(self.fc1(x))))


@register
class AIFI(TransformerEncoderLayer):
    """A transformer encoder layer over all positions of a map (b, c, h, w), with sine and cosine position embeddings.

    Zhao et al., RT-DETR, arXiv 2304.08069, section 4.2.
    """

    def __init__(
        self,
        c1: int,
        cm: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.0,
        act: nn.Module | None = None,
        normalize_before: bool = False,
    ):
        super().__init__(c1, cm, num_heads, dropout, act, normalize_before)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # a map, not a sequence
        _, c, h, w = x.shape
        pos = self.build_2d_sincos_position_embedding(w, h, c).to(x)
        y = super().forward(x.flatten(2).transpose(1, 2), pos=pos)
        return y.transpose(1, 2).unflatten(2, (h, w)).contiguous()

    @staticmethod
    def build_2d_sincos_position_embedding(
        w: int, h: int, embed_dim: int = 256, temperature: float = 10000.0
    ) -> torch.Tensor:
        """Return the embeddings (1, w * h, embed_dim): a quarter each sine and cosine of x, sine and cosine of y.

        Positions run down the columns, as in 8.3.0, although those of a map run along its rows: weights trained there
        depend on it.
        """
        if embed_dim % 4:
            raise ModelError(f"{embed_dim} channels cannot carry positions of two axes: choose a multiple of 4.")
        x, y = torch.meshgrid(torch.arange(w).float(), torch.arange(h).float(), indexing="ij")
        rates = temperature ** -(torch.arange(embed_dim // 4).float() / (embed_dim // 4))
        angles = [place.flatten()[:, None] * rates for place in (x, y)]
        return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], 1)[None]


class TransformerLayer(nn.Module):
    """Self-attention and a linear feed-forward network, each with a shortcut, without norms: (n, b, c)."""

    def __init__(self, c: int, num_heads: int):
        super().__init__()
        self.q = nn.Linear(c, c, bias=False)
        self.k = nn.Linear(c, c, bias=False)
        self.v = nn.Linear(c, c, bias=False)
        self.ma = nn.MultiheadAttention(embed_dim=c, num_heads=num_heads)
        self.fc1 = nn.Linear(c, c, bias=False)
        self.fc2 = nn.Linear(c, c, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.ma(self.q(x), self.k(x), self.v(x))[0] + x
        return self.fc2(self.fc1(x)) + x


class TransformerBlock(nn.Module):
    """Transformer layers over all positions of a map (b, c1, h, w), with a linear layer as position encoding.

    A convolution comes first where `c1` and `c2` differ. Vision transformer, arXiv 2010.11929.
    """

    def __init__(self, c1: int, c2: int, num_heads: int, num_layers: int):
        super().__init__()
        self.conv = Conv(c1, c2) if c1 != c2 else None
        self.linear = nn.Linear(c2, c2)
        self.tr = nn.Sequential(*(TransformerLayer(c2, num_heads) for _ in range(num_layers)))
        self.c2 = c2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.conv is None else self.conv(x)
        sequence = x.flatten(2).permute(2, 0, 1)
        y = self.tr(sequence + self.linear(sequence))
        return y.permute(1, 2, 0).unflatten(2, x.shape[2:])


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, embedding_dim: int, mlp_dim: int, act: type[nn.Module] = nn.GELU):
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lin2(self.act(self.lin1(x)))


class MLP(nn.Module):
    """`num_layers` linear layers with an activation between them, and a sigmoid at the end if asked for."""

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        act: type[nn.Module] = nn.ReLU,
        sigmoid: bool = False,
    ):
        super().__init__()
        self.num_layers = num_layers
        widths = [input_dim, *[hidden_dim] * (num_layers - 1), output_dim]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.sigmoid = sigmoid
        self.act = act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x) if i == self.num_layers - 1 else self.act(layer(x))
        return x.sigmoid() if self.sigmoid else x


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of each position of a map (b, c, h, w)."""

    def __init__(self, num_channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, self.eps).movedim(-1, 1)
