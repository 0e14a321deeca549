"""Least squares on activations: what a convolution reads at sampled positions, and the weights that fit it best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import nn


def positions(height: int, width: int, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows and columns of `count` different positions of a map, or of all if it has no more."""
    chosen = torch.randperm(height * width, generator=generator)[:count]
    return chosen // width, chosen % width


def windows(x: torch.Tensor, conv: nn.Conv2d, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Return what a convolution reads of (b, c, h, w) for chosen outputs: (b * positions, c, kernel height * width)."""
    assert not isinstance(conv.padding, str)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    x = F.pad(x, (pw, pw, ph, ph))
    r = (rows * sh)[:, None, None] + (torch.arange(kh) * dh)[:, None]
    c = (cols * sw)[:, None, None] + torch.arange(kw) * dw
    return x[:, :, r, c].permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(2)


def at(z: torch.Tensor, rows: torch.Tensor, cols: torch.Tensor) -> torch.Tensor:
    """Return the values of maps (b, c, h, w) at positions: (b * positions, c)."""
    return z[:, :, rows, cols].transpose(1, 2).flatten(0, 1)


class NormalEquations:
    """Sums over samples from which least-squares weights follow; of one regression, or of `batch` side by side."""

    def __init__(self, features: int, targets: int, batch: Sequence[int] = ()):
        self.xx = torch.zeros(*batch, features + 1, features + 1, dtype=torch.float64)
        self.xz = torch.zeros(*batch, features + 1, targets, dtype=torch.float64)
        self.n = 0

    def add(self, x: torch.Tensor, z: torch.Tensor) -> None:
        """Add samples: features (..., n, features) and targets (..., n, targets)."""
        x = torch.cat((x, x.new_ones(*x.shape[:-1], 1)), -1)
        self.xx += (x.mT @ x).double()
        self.xz += (x.mT @ z).double()
        self.n += x.shape[-2]

    def solve(self, start: torch.Tensor | None = None, ridge: float = 1e-6) -> torch.Tensor:
        """Return weights (..., features + 1, targets), the bias last.

        `ridge` holds them near `start` (zero without one), in units of the features' mean square.
        """
        features = self.xx.shape[-1] - 1
        scale = self.xx.diagonal(dim1=-2, dim2=-1)[..., :features].mean(-1).clamp_min(1e-12)
        penalty = torch.full(self.xx.shape[:-1], ridge, dtype=torch.float64) * scale[..., None]
        penalty[..., features] = 1e-9 * self.n  # the bias is free
        start = torch.zeros_like(self.xz) if start is None else start.double()
        return start + torch.linalg.solve(self.xx + penalty.diag_embed(), self.xz - self.xx @ start)


def folded(conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a convolution with its batch norm folded in, as in inference."""
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
    if bn is None:
        return conv.weight.detach().clone(), bias.clone()
    assert bn.running_mean is not None and bn.running_var is not None
    scale = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
    weight = conv.weight.detach() * scale[:, None, None, None]
    return weight, bn.bias.detach() + (bias - bn.running_mean) * scale


@torch.no_grad()
def unfold_bn(
    conv: nn.Conv2d,
    bn: nn.BatchNorm2d | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
) -> None:
    """Give a convolution and its batch norm a folded weight and bias, true to the statistics of what they compute.

    Training looks at batch statistics: only if the running ones are those of the folded outputs (mean, var) does the
    layer compute in training what it computes in inference. The weight keeps the norm that the convolution's had.
    """
    if bn is None:
        assert conv.bias is not None
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
        return
    assert bn.running_mean is not None and bn.running_var is not None
    norm = weight.flatten(1).norm(dim=1).clamp_min(1e-12)
    scale = conv.weight.flatten(1).norm(dim=1).clamp_min(1e-3) / norm
    conv.weight.copy_(weight * scale[:, None, None, None])
    bn.running_mean.copy_((mean - bias) * scale)
    bn.running_var.copy_(var * scale.square())
    bn.weight.copy_((var * scale.square() + bn.eps).sqrt() / scale)
    bn.bias.copy_(mean)


def explained(goals: list[torch.Tensor], outs: list[torch.Tensor]) -> float:
    """Return the share of the variance of maps (b, c, h, w) that others explain, over all channels together."""
    mean = sum(g.sum((0, 2, 3), keepdim=True) for g in goals) / sum(g.numel() // g.shape[1] for g in goals)
    total = sum(float((g - mean).square().sum()) for g in goals)
    return 1 - sum(float((g - o).square().sum()) for g, o in zip(goals, outs)) / max(total, 1e-12)


def sums(out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return for each channel of maps (b, c, h, w) the sum, the sum of squares, and how many numbers there are."""
    out = out.double()
    return out.sum((0, 2, 3)), out.square().sum((0, 2, 3)), out.new_full((out.shape[1],), out[:, 0].numel())


def moments(parts: Iterable[Sequence[torch.Tensor] | torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel from the `sums` of batches."""
    total, squares, n = (sum(part) for part in zip(*parts))
    mean = total / n
    return mean.float(), (squares / n - mean.square()).clamp_min(0).float()


def fit_behind(seen: torch.Tensor, z: torch.Tensor, act: nn.Module, rounds: int = 8) -> torch.Tensor:
    """Return filters (c, taps + 1), the bias last, whose outputs behind an activation are nearest to `act(z)`.

    Least squares before the activation, then Gauss-Newton steps (damped, kept only where they help).

    Args:
        seen: (c, n, taps).
        z: (c, n).
    """
    equations = NormalEquations(seen.shape[-1], 1, (len(seen),))
    equations.add(seen, z[..., None])
    weights = equations.solve(ridge=1e-5).float()[..., 0]
    y = act(z.clone())  # it may work in place
    x = torch.cat((seen, seen.new_ones(*seen.shape[:-1], 1)), -1)
    damping = torch.full((len(seen), 1, 1), 1e-3)

    def look(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fit = (x @ w[..., None])[..., 0]
        with torch.enable_grad():
            at = fit.clone().requires_grad_()
            out = act(at.clone())
            slope = torch.autograd.grad(out.sum(), at)[0]
        return (y - out.detach()), slope, (y - out.detach()).square().mean(1)

    left, slope, error = look(weights)
    for _ in range(rounds):
        j = x * slope[..., None]
        jj = (j.mT @ j).double()
        scale = jj.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(1e-9)
        step = torch.linalg.solve(
            jj + damping * scale * torch.eye(jj.shape[-1], dtype=jj.dtype), (j.mT @ left[..., None]).double()
        )
        tried = weights + step[..., 0].float()
        left2, slope2, error2 = look(tried)
        better = error2 < error
        weights = torch.where(better[:, None], tried, weights)
        left, slope = torch.where(better[:, None], left2, left), torch.where(better[:, None], slope2, slope)
        error = torch.where(better, error2, error)
        damping = torch.where(better[:, None, None], damping / 4, damping * 8)
    return weights


def batches(images: torch.Tensor | Iterable[torch.Tensor], size: int = 8) -> list[torch.Tensor]:
    """Split images (n, ch, h, w), or an iterable of images and batches, into float batches."""
    whole = [images] if isinstance(images, torch.Tensor) else [*images]
    whole = [x[None] if x.ndim == 3 else x for x in whole]
    whole = [x.float() / 255 if x.dtype == torch.uint8 else x.float() for x in whole]
    return [part for x in whole for part in x.split(size)]
