"""Feature maps of the layers, their pooled features, and test-time augmentation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import scale_img

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

T = TypeVar("T")
Output = torch.Tensor | Sequence  # of a model: a tensor, or several, some of them in lists
VIEWS = ((1.0, False), (0.83, True), (0.67, False))  # scale, and whether mirrored left to right


class _Reached(Exception):
    """The last layer that is wanted has run; the others are skipped."""


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Return the layers of a model of this package, or the children of any other module."""
    inner = getattr(model, "model", None)
    return list(inner if isinstance(inner, nn.Sequential) else model.children())


def watch_layers(run: Callable[[], T], model: nn.Module, see: Callable[[int, nn.Module, object], object]) -> T:
    """Return the result of `run`, during which `see(index, layer, output)` is called after each layer of the model."""

    def hook(layer: nn.Module, _: object, out: object) -> None:  # what a hook returns would replace the output
        see(getattr(layer, "i", numbers[layer]), layer, out)

    numbers = {layer: i for i, layer in enumerate(layers_of(model))}
    handles = [layer.register_forward_hook(hook) for layer in numbers]
    try:
        return run()
    finally:
        for handle in handles:
            handle.remove()


def network_of(model: nn.Module) -> nn.Module:
    """Return the module whose children are the layers: the model, or the blocks of a network on one line."""
    layers = layers_of(model)
    if len(layers) > 2 or getattr(layers[0], "span", 1) > 1:
        return model
    inner = [m for m in layers[0].children() if isinstance(m, nn.Sequential)]
    return max(inner, key=len, default=model)


def feature_maps(run: Callable[[], T], model: nn.Module) -> tuple[T, dict[int, tuple[str, torch.Tensor]]]:
    """Return the result of `run`, and the feature maps (b, channels, h, w) of the layers meanwhile, by YAML index.

    A backbone on one line fills an index with each of its maps. Layers without a map, such as heads, are missing.
    """
    found: dict[int, tuple[str, torch.Tensor]] = {}

    def see(i: int, layer: nn.Module, out: object) -> None:
        outputs = out if isinstance(out, (list, tuple)) and getattr(layer, "span", 1) > 1 else [out]
        maps = {i + k: y for k, y in enumerate(outputs) if isinstance(y, torch.Tensor) and y.ndim == 4}
        found.update({index: (type(layer).__name__, y) for index, y in maps.items()})

    return watch_layers(run, network_of(model), see), found


def choose_layers(
    model: nn.Module, maps: dict[int, tuple[str, torch.Tensor]], wanted: Sequence[int] | None
) -> list[int]:
    """Return the layers to show: those wanted, else those that the head reads, else the last with a feature map.

    Raises:
        ConfigError: a wanted layer has no feature map.
    """
    if wanted:
        if missing := [i for i in wanted if i not in maps]:
            raise ConfigError(
                f"layers={list(wanted)}: layer {missing[0]} gives no feature map. Choose from {_ranges(sorted(maps))}."
            )
        return list(dict.fromkeys(wanted))
    head = layers_of(network_of(model))[-1]
    at, reads = getattr(head, "i", None), getattr(head, "f", -1)
    reads = reads if isinstance(reads, list) else [reads]
    read = [j if j >= 0 else at + j for j in reads] if at is not None else []
    useful = [i for i in read if i in maps and maps[i][1].shape[2:].numel() > 1]
    last = [i for i in sorted(maps) if maps[i][1].shape[2:].numel() > 1][-1:]
    if not (useful or last):
        raise ConfigError("No layer of this model gives a feature map of more than one position, so it has no image.")
    return useful or last


def _ranges(numbers: Sequence[int]) -> str:
    """Return '0 to 9, 12, 15' for ascending numbers."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def embed(model: nn.Module, x: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
    """Return the features of layers, each averaged over the image, side by side: (b, sum of channels).

    Args:
        model: of any task.
        x: (b, ch, h, w) images.
        layers: indices as in the model's YAML, less than the head's.

    Raises:
        ConfigError: there is no such layer, or its output is not a feature map.
    """
    wanted, last = set(layers), max(layers)
    found: dict[int, object] = {}

    def see(i: int, layer: nn.Module, out: object) -> None:
        outputs = out if isinstance(out, (list, tuple)) and getattr(layer, "span", 1) > 1 else [out]
        found.update({i + k: y for k, y in enumerate(outputs) if i + k in wanted})
        if i + len(outputs) > last:
            raise _Reached

    with contextlib.suppress(_Reached):
        watch_layers(lambda: model(x), model, see)
    pooled = []
    for i in layers:
        y = found.get(i)
        if not isinstance(y, torch.Tensor) or y.ndim not in {2, 4}:
            count = getattr(layers_of(model)[-1], "i", len(layers_of(model)) - 1)
            raise ConfigError(f"embed={list(layers)}: layer {i} gives no features. Choose from 0 to {count - 1}.")
        pooled.append(adaptive_avg_pool2d(y, 1).flatten(1) if y.ndim == 4 else y)
    return torch.cat(pooled, 1)


def predict_augmented(model: BaseModel, x: torch.Tensor) -> Output:
    """Return the predictions of a detector for a batch and for smaller and mirrored copies of it, side by side.

    Copies show objects at other sizes. Positions of the coarsest map at full size, and of the finest at the smallest,
    are left out: their objects are found better at another scale. Other tasks predict on the batch alone.

    Returns:
        (b, 4 + nc, positions of all copies) boxes as xywh in pixels of `x`, and None instead of the maps.
    """
    if getattr(model, "task", "detect") != "detect":
        LOGGER.warning(f"WARNING: augment=True is for detection; {model.task} predicts on the image itself.")
        return model.predict(x)
    if getattr(model, "end2end", False):
        LOGGER.warning("WARNING: augment=True is for models with NMS; this one predicts on the image itself.")
        return model.predict(x)
    height, width = x.shape[2:]
    stride, found = max(int(model.stride.max()), 32), []
    for n, (scale, mirrored) in enumerate(VIEWS):
        view = scale_img(x.flip(3) if mirrored else x, scale, gs=stride)
        decoded, maps = model.predict(view)
        # The copy is resized to whole pixels, so its true scale is that of its rounded sides
        sx, sy = (int(width * scale) / width, int(height * scale) / height) if scale != 1 else (1.0, 1.0)
        boxes = decoded[:, :4] / decoded.new_tensor((sx, sy, sx, sy)).view(4, 1)
        if mirrored:
            boxes = torch.cat((width - boxes[:, :1], boxes[:, 1:]), 1)
        sizes = [m.shape[-2:].numel() for m in maps]
        start = sizes[0] if n == len(VIEWS) - 1 and len(sizes) > 1 else 0
        stop = decoded.shape[-1] - (sizes[-1] if n == 0 and len(sizes) > 1 else 0)
        found.append(torch.cat((boxes, decoded[:, 4:]), 1)[..., start:stop])
    return torch.cat(found, 2), None
