"""A limit on the compute of a forward pass, checked before each layer: an untrusted YAML may ask for hours of it."""

from __future__ import annotations

from math import prod

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from ultralytics.utils.errors import ModelError
from ultralytics.utils.hostile import limits

COUNTED = (_ConvNd, _MaxPoolNd, _AvgPoolNd, nn.Upsample)  # layers that may compute much with few weights


def limit_work(model: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
    """Make a forward pass raise ModelError before it computes more than `utils/hostile/limits.py` allows a model.

    Returns:
        the hooks that do so, to be removed after the pass.
    """
    done: float = 0

    def add(module: nn.Module, inputs: tuple) -> None:
        nonlocal done
        if not inputs or not isinstance(inputs[0], torch.Tensor):  # passed by keyword, in a user's own module
            return
        if isinstance(module, _ConvNd) and max(module.kernel_size) > limits.KERNEL:
            raise ModelError(f"a convolution has the kernel {max(module.kernel_size)}; allowed are {limits.KERNEL}.")
        work, values = cost(module, inputs[0])
        done += work
        if done > limits.WORK:
            raise ModelError(f"a small image would take {done:.1e} multiplications; allowed are {limits.WORK:.0e}.")
        if values > limits.VALUES:
            raise ModelError(f"a small image would give {values:.1e} values; allowed are {limits.VALUES:.0e}.")

    return [m.register_forward_pre_hook(add) for m in model.modules() if isinstance(m, COUNTED)]


def cost(module: nn.Module, x: torch.Tensor) -> tuple[float, float]:
    """Return the number of multiplications or comparisons of a layer for an input (b, c, h, w), and of its outputs."""
    if isinstance(module, nn.Upsample):
        scaled = [n * s for n, s in zip(x.shape[2:], _each_side(module.scale_factor or 1, x))]
        values = int(x.shape[0] * x.shape[1] * prod(_each_side(module.size or scaled, x)))
        return 0, values
    kernel, stride, pad, step = (
        _each_side(getattr(module, name, 1), x) for name in ("kernel_size", "stride", "padding", "dilation")
    )
    channels = module.out_channels if isinstance(module, _ConvNd) else x.shape[1]
    each = module.weight.numel() if isinstance(module, _ConvNd) else channels * prod(kernel)  # for one place
    if isinstance(module, _ConvTransposeNd):
        sides = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, step)]
        return x.shape[0] * prod(x.shape[2:]) * each, x.shape[0] * channels * prod(sides)
    spans = (n + 2 * p - d * (k - 1) - 1 for n, k, p, d in zip(x.shape[2:], kernel, pad, step))
    places = x.shape[0] * prod(max(span // max(s, 1) + 1, 0) for span, s in zip(spans, stride))
    return places * each, places * channels


def _each_side(given: float | str | tuple[float, ...] | list[float], x: torch.Tensor) -> tuple[float, ...]:
    """Return a setting such as a stride for each side of the input; words such as 'same' count as 0."""
    if isinstance(given, (tuple, list)):
        return tuple(given)
    return (0 if isinstance(given, str) else given,) * (x.ndim - 2)
