"""Batch norm with exact statistics on a CPU also for tensors that are channels-last in memory."""

from __future__ import annotations

import torch
from torch import nn

MOST_ROWS = 2048  # values that may be added up one by one before rounding matters


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d`, also exact where torch's own is not: in training, on a CPU, channels last.

    There torch adds up the values of a channel, 200,000 in the first layer for 8 images of 320 pixels, one by one in
    single precision, so that each is rounded relative to the growing sum. In uniform images, whose values are nearly
    equal, all are rounded the same way: statistics are off by thousandths of the deviation, and gradients by up to a
    tenth. Channels-first tensors it adds up in double precision.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.training and self._rounded(x)):
            return super().forward(x)
        assert self.momentum is not None and self.num_batches_tracked is not None
        assert self.running_mean is not None and self.running_var is not None  # all by `_rounded`
        self.num_batches_tracked.add_(1)
        y, mean, var = _Normalize.apply(x, self.weight, self.bias, self.eps)
        n = x.numel() // self.num_features
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (n / (n - 1)), self.momentum)
        return y

    def _rounded(self, x: torch.Tensor) -> bool:
        """Return whether torch's own sums over x are inexact; settings that no model here uses are left to torch."""
        usual = self.momentum is not None and self.weight is not None and self.running_mean is not None
        many = x.numel() > MOST_ROWS * self.num_features
        return usual and many and x.device.type == "cpu" and x.dtype == torch.float32 and _channels_last(x)


class _Normalize(torch.autograd.Function):
    """Batch norm of a channels-last tensor by torch's own kernels, applied to short columns.

    Ioffe and Szegedy, Batch Normalization, arXiv 1502.03167, section 3.
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float):
        c = x.shape[1]
        means, variances = (v.view(-1, c).double() for v in torch.batch_norm_update_stats(_columns(x), None, None, 0.0))
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square_().mean(0)
        mean, var = mean.float(), var.float()
        ctx.save_for_backward(x, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)
        ctx.eps = eps
        return _scaled(x, weight, bias, mean, var, eps), mean, var

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: torch.Tensor, *_):
        x, weight, mean, var = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        c = x.shape[1]
        n = x.numel() // c
        columns = _columns(x)
        repeats = columns.shape[1] // c
        _, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            _columns(dy), columns, None, mean.repeat(repeats), var.repeat(repeats), None, None, False, ctx.eps,
            [False, True, True],
        )  # fmt: skip
        dweight, dbias = (v.view(-1, c).double().sum(0) for v in (dweight, dbias))
        # dx = weight * scale * (dy - mean of dy - normalized x * mean of dy * normalized x), as factor * dy + line of x
        scale = (var.double() + ctx.eps).rsqrt()
        factor = weight * scale
        slope = -factor * scale * dweight / n
        start = -factor * dbias / n
        dx = _scaled(x, slope.float(), start.float(), mean, torch.ones_like(var), 0.0)
        return dx.addcmul_(dy, factor.float().view(1, -1, 1, 1)), dweight.float(), dbias.float(), None


def _channels_last(x: torch.Tensor) -> bool:
    """Return whether a tensor is dense, channels last, and not also channels first, as one of a single pixel is."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _columns(x: torch.Tensor) -> torch.Tensor:
    """Return a view of a channels-last tensor (1, columns, rows, 1), a channel's values in many short columns."""
    rows = x.shape[0] * x.shape[2]
    while rows > MOST_ROWS and rows % 2 == 0:
        rows //= 2
    return x.permute(0, 2, 3, 1).reshape(1, rows, 1, -1).permute(0, 3, 1, 2)


def _scaled(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, eps: float
) -> torch.Tensor:
    """Return (x - mean) / sqrt(var + eps) * weight + bias, by channel, in one pass."""
    return torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
