"""Runs a model for inference, whatever kind of file or object it comes as."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.nn import features
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError, did_you_mean


class TorchBackend:
    """A PyTorch model, in memory or in a `.pt` file: fused, in eval mode, channels-last on a CPU.

    The caller's model stays as it is: fusing and a change of precision happen on a copy.
    """

    dynamic = True  # takes any batch size and any picture size that the stride divides

    def __init__(self, weights: str | Path | nn.Module, device: torch.device, fp16: bool, fuse: bool, verbose: bool):
        if isinstance(weights, nn.Module):
            model = deepcopy(weights)
        else:
            from ultralytics.nn.tasks import attempt_load_weights

            model = attempt_load_weights(weights, device=device, inplace=True, fuse=False)
        model = model.to(device).eval().requires_grad_(False)
        if fuse and hasattr(model, "fuse") and not (hasattr(model, "is_fused") and model.is_fused()):
            model = model.fuse(verbose=verbose)
        self.fp16 = fp16 and device.type != "cpu"
        model = model.half() if self.fp16 else model.float()
        self.layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        self.model = model.to(memory_format=self.layout)

    def __call__(self, im: torch.Tensor, **kwargs) -> Any:
        return self.model(im.contiguous(memory_format=self.layout), **kwargs)


# How a file is run: its suffix, and what makes a backend of it. A further format is a further row.
FORMATS: dict[str, Callable[..., TorchBackend]] = {".pt": TorchBackend, ".pth": TorchBackend}


class AutoBackend(nn.Module):
    """Gives every kind of model the same call and the same attributes.

    Args:
        weights: path of a weight file, or a model in memory.
        device: to run on.
        fp16: half precision; float32 is used where the device is a CPU.
        batch: batch size that `warmup` uses for backends of a fixed size.
        fuse: merge batch norms into the convolutions before them.
        verbose: let the model say what was fused.

    Attributes:
        model: the module that runs, or None where the backend has none.
        names: {class: name}.
        stride: that picture sides must be multiples of.
        kpt_shape: number of key points and their dimensions, where it finds any, else None.
        task, nc: what the model does, and for how many classes.
        pt: whether this is a PyTorch model, which takes pictures of any shape.
        nn_module: whether it was given in memory.

    Raises:
        ModelError: no backend runs such a file.
    """

    def __init__(
        self,
        weights: str | Path | nn.Module = "yolo11n.pt",
        device: torch.device | str = "cpu",
        fp16: bool = False,
        batch: int = 1,
        fuse: bool = True,
        verbose: bool = True,
    ):
        super().__init__()
        self.device = torch.device(device)
        self.nn_module = isinstance(weights, nn.Module)
        make = TorchBackend if self.nn_module else self._choose(weights)
        self.backend = make(weights, self.device, fp16, fuse, verbose)
        self.fp16, self.batch, self.pt = self.backend.fp16, batch, self.backend.dynamic
        model = self.model = self.backend.model
        self.names = _names(model)
        self.stride = max(int(torch.as_tensor(getattr(model, "stride", 32)).max()), 32)
        self.task = getattr(model, "task", None)
        self.nc = len(self.names)
        self.kpt_shape = getattr(model, "kpt_shape", None)
        if fp16 and not self.fp16 and verbose:
            LOGGER.warning("WARNING: half=True works on a GPU only; this CPU computes in float32.")

    @staticmethod
    def _choose(weights: str | Path) -> Callable[..., TorchBackend]:
        """Return what runs a file, by its suffix."""
        suffix = Path(str(weights)).suffix.lower()
        if suffix not in FORMATS:
            hint = did_you_mean(suffix, FORMATS) if suffix else ""
            raise ModelError(f"'{weights}' cannot be run: files that can are {', '.join(FORMATS)}.{hint}")
        return FORMATS[suffix]

    def forward(self, im: torch.Tensor, **kwargs) -> Any:
        """Run a batch (b, 3, h, w) in 0..1 and return what the model's head gives."""
        return self.backend(im.half() if self.fp16 and im.dtype != torch.float16 else im, **kwargs)

    def embed(self, im: torch.Tensor, layers: list[int]) -> torch.Tensor:
        """Return the pooled features of layers (b, channels); PyTorch models only (see `nn.features.embed`)."""
        return features.embed(self.model, self._laid_out(im), layers)

    def _laid_out(self, im: torch.Tensor) -> torch.Tensor:
        return (im.half() if self.fp16 else im).contiguous(memory_format=self.backend.layout)

    def warmup(self, imgsz: tuple[int, int, int, int] = (1, 3, 640, 640)) -> None:
        """Run once on zeros, so that the first picture does not wait for the GPU to start; a CPU needs none."""
        if self.device.type == "cpu":
            return
        with torch.inference_mode():
            self(torch.zeros(imgsz, dtype=torch.float16 if self.fp16 else torch.float32, device=self.device))


def _names(model: nn.Module) -> dict[int, str]:
    """Return a model's class names as a dict."""
    names = getattr(model, "names", None) or {}
    return dict(names) if isinstance(names, dict) else dict(enumerate(names))
