"""Inference with any kind of model: a PyTorch module, a weight file or an exported file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ultralytics.nn import features
from ultralytics.nn.cuda_graphs import quick
from ultralytics.nn.features import Output
from ultralytics.nn.formats import FORMATS, Format, format_of
from ultralytics.nn.formats.facts import Runner, check_outputs, checked_runner, run_once
from ultralytics.nn.trust import trust_modules
from ultralytics.utils import LOGGER, yaml_load
from ultralytics.utils.checks import check_class_names, check_yaml
from ultralytics.utils.drawing.feature_maps import feature_visualization
from ultralytics.utils.errors import ConfigError, MissingFileError, ModelError, did_you_mean
from ultralytics.utils.files import check_regular
from ultralytics.utils.hostile import limits

TORCH = (".pt", ".pth")  # weight files


class TorchBackend:
    """A PyTorch model, in memory or in a `.pt` file: fused, in eval mode, channels-last on a CPU and in half precision.

    The caller's model stays as it is: fusing and a change of precision happen on a copy. `run` is the model as the
    setting `compile` makes it.
    """

    dynamic = True  # takes any batch size and any image size that the stride divides
    nms = False

    def __init__(
        self,
        weights: str | Path | nn.Module,
        device: torch.device,
        fp16: bool,
        fuse: bool,
        verbose: bool,
        compile: bool | str = False,
    ):
        model: nn.Module
        if isinstance(weights, nn.Module):
            model = deepcopy(weights)
        else:
            from ultralytics.nn.tasks import attempt_load_weights

            model = attempt_load_weights(weights, device=device, inplace=True, fuse=False)
        model = model.to(device).eval().requires_grad_(False)
        if fuse:
            model = _fused(model, verbose)
        self.fp16 = fp16 and device.type != "cpu"
        model = model.half() if self.fp16 else model.float()
        # in half precision a GPU convolves channels last; from other tensors it would reorder a copy for each layer
        last = device.type == "cpu" or self.fp16
        self.layout = torch.channels_last if last else torch.contiguous_format
        self.model: nn.Module = model.to(memory_format=self.layout)
        self.run = quick(self.model, compile, device)
        self.end2end = bool(getattr(model, "end2end", False))

    def __call__(self, im: torch.Tensor, **kwargs) -> Output:
        run = self.model if kwargs else self.run
        return run(im.contiguous(memory_format=self.layout), **kwargs)


def _fused(model: nn.Module, verbose: bool) -> nn.Module:
    """Return a model with its batch norms merged, if it has a `fuse` and was not fused before."""
    fuse, is_fused = getattr(model, "fuse", None), getattr(model, "is_fused", None)
    return fuse(verbose=verbose) if fuse and not (is_fused and is_fused()) else model


class FileBackend:
    """A file of any format of `nn.formats`, run by another runtime.

    Batches that are greater or smaller than the file's are split and padded; images must have its size, unless it
    was exported with `dynamic=True`.
    """

    model: nn.Module | None = None
    fp16 = False  # images are float32, whatever the file computes in

    def __init__(self, file: str | Path, form: Format, device: torch.device, threads: int | None, providers: str):
        form.require(writing=False)
        if not Path(file).exists():
            raise MissingFileError(f"The model '{file}' does not exist.")
        check_regular(file)
        make = form.load().Runner
        self.run: Runner = make(file, device, threads or 0, providers)
        self.file, self.device, self.facts = file, device, checked_runner(self.run, file)
        self.dynamic, self.nms, self.end2end = self.facts.dynamic, self.facts.nms, self.facts.rows
        self.imgsz, self.batch = self.facts.imgsz, self.facts.batch
        if threads is None and form.threaded and device.type == "cpu" and self.facts.values <= limits.TRIED_VALUES:
            x = torch.zeros(self.facts.shape)
            run_once(self.run, x, file)
            self.run = fastest(lambda n: make(file, device, n, providers), x)

    def __call__(self, im: torch.Tensor, **kwargs) -> Output:
        """Run a batch; several outputs come as a tuple."""
        if kwargs:
            raise ConfigError(f"{', '.join(kwargs)}: only PyTorch models can do that, and '{self.file}' is not one.")
        if im.shape[1] != self.facts.channels:
            raise ConfigError(f"'{self.file}' takes images of {self.facts.channels} channels, not of {im.shape[1]}.")
        if self.dynamic:
            outputs = self._run(im.float())
        else:
            if tuple(im.shape[-2:]) != self.imgsz:
                raise ConfigError(
                    f"'{self.file}' takes images of {self.imgsz[0]} x {self.imgsz[1]} pixels, not of "
                    f"{im.shape[-2]} x {im.shape[-1]}: give imgsz={[*self.imgsz]}, or export it with dynamic=True."
                )
            parts = [self._filled(part) for part in im.float().split(self.batch)]
            outputs = parts[0] if len(parts) == 1 else [torch.cat(ys) for ys in zip(*parts)]
        outputs = [y.to(self.device) for y in outputs]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _filled(self, im: torch.Tensor) -> list[torch.Tensor]:
        """Run a batch that may be smaller than the file's."""
        n = len(im)
        if n == self.batch:
            return self._run(im)
        return [y[:n] for y in self._run(torch.cat((im, im.new_zeros(self.batch - n, *im.shape[1:]))))]

    def _run(self, im: torch.Tensor) -> list[torch.Tensor]:
        """Run a batch and check its outputs again, as sizes may be open in the graph."""
        outputs = run_once(self.run, im, self.file)
        shapes = [tuple(y.shape) for y in outputs]
        check_outputs(self.facts, shapes, self.file)
        apart = self.facts.task and any(shape[0] != len(im) for shape in shapes)
        classes = outputs[0][..., 5] if self.end2end else outputs[0].new_zeros(1)
        if apart or not ((classes >= 0) & (classes < self.facts.nc)).all():
            raise ModelError(f"'{self.file}' gives rows of other images or classes than it has: export it again.")
        return outputs


def fastest(make: Callable[[int], Runner], x: torch.Tensor, seconds: float = 1.0) -> Runner:
    """Return the runner that is fastest on this machine: with one thread, half of the cores, all, or its own choice.

    Args:
        make: makes a runner with a number of threads; 0 is its own choice.
        x: the images of a run.
        seconds: duration of the trial, besides starting the runners.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    runners = {n: make(n) for n in dict.fromkeys((0, cores, max(cores // 2, 1), 1))}
    times = dict.fromkeys(runners, float("inf"))
    end = time.perf_counter() + seconds
    for run in runners.values():
        run(x)
    while True:
        for n, run in runners.items():
            start = time.perf_counter()
            run(x)
            times[n] = min(times[n], time.perf_counter() - start)
        if time.perf_counter() > end:
            break
    best = min(times, key=lambda n: times[n])
    LOGGER.debug(f"Threads and milliseconds: { ({n: round(t * 1e3, 1) for n, t in times.items()}) }; {best} it is.")
    return runners[best]


class AutoBackend(nn.Module):
    """One interface to every kind of model.

    Args:
        weights: path of a weight file, or a model in memory.
        device: to run on.
        dnn: has no effect: ONNX files run in ONNX Runtime, not in OpenCV.
        data: dataset YAML, whose class names a module without any takes.
        fp16: half precision; float32 is used where the device is a CPU.
        batch: batch size that `warmup` uses for backends of a fixed size.
        fuse: merge batch norms into the convolutions before them.
        verbose: log the fused model.
        threads: CPU threads of an exported model; None takes the number that is fastest in a trial of one second, 0
            the runtime's default.
        providers: what computes an exported model: ONNX Runtime's providers or OpenVINO's device.
        trusted: run what the file asks to run (see `nn.trust`).
        compile: how a PyTorch model runs, as the setting of that name says.

    Attributes:
        model: the module that runs, or None where the backend has none.
        names: {class: name}.
        stride: of which image sides must be multiples.
        kpt_shape: number of keypoints and their dimensions; None without.
        task, nc: what the model does, and its number of classes.
        pt: whether it takes images of any shape, as PyTorch models do.
        imgsz: (height, width) of the images where the size is fixed, else None.
        nms: whether NMS is in the model, with the settings of its export.
        end2end: whether the predictions need no NMS, for that reason or by the kind of the head.
        nn_module: whether it was given in memory.

    Raises:
        ModelError: no backend runs this kind of file.
    """

    def __init__(
        self,
        weights: str | Path | nn.Module = "yolo11n.pt",
        device: torch.device | str = "cpu",
        dnn: bool = False,
        data: str | Path | None = None,
        fp16: bool = False,
        batch: int = 1,
        fuse: bool = True,
        verbose: bool = True,
        threads: int | None = None,
        providers: str | None = None,
        trusted: bool | str = False,
        compile: bool | str = False,
    ):
        super().__init__()
        trust_modules(weights, trusted)
        if dnn:
            LOGGER.warning("WARNING: dnn=True has no effect: ONNX files run in ONNX Runtime here, not in OpenCV.")
        self.device = torch.device(device)
        self.nn_module = isinstance(weights, nn.Module)
        self.backend = self._choose(weights, fp16, fuse, verbose, threads, providers or "", compile)
        self.fp16, self.batch, self.pt = self.backend.fp16, batch, self.backend.dynamic
        self.nms, self.end2end = self.backend.nms, self.backend.end2end
        self.imgsz: tuple[int, int] | None = None
        self.model = self.backend.model
        if isinstance(self.backend, FileBackend):
            facts = self.backend.facts
            self.names, self.stride, self.task, self.kpt_shape = facts.names, facts.stride, facts.task, facts.kpt_shape
            self.imgsz = None if self.pt else facts.imgsz
        else:
            model = self.backend.model
            self.names, self.task = _names(model), getattr(model, "task", None)
            self.stride = int(torch.as_tensor(getattr(model, "stride", 32)).max())
            self.kpt_shape = getattr(model, "kpt_shape", None)
        if data and not self.names:
            self.names = default_class_names(data)
        self.stride, self.nc = max(self.stride, 32), len(self.names)
        if fp16 and not self.fp16 and verbose:
            LOGGER.warning("WARNING: half=True works on a GPU only; this CPU computes in float32.")

    def _choose(
        self,
        weights: str | Path | nn.Module,
        fp16: bool,
        fuse: bool,
        verbose: bool,
        threads: int | None,
        providers: str,
        compile: bool | str,
    ) -> TorchBackend | FileBackend:
        """Return the backend of a module or, by its name, of a file."""
        if isinstance(weights, nn.Module) or Path(weights).suffix.lower() in TORCH:
            return TorchBackend(weights, self.device, fp16, fuse, verbose, compile)
        form = format_of(weights)
        if form is None:
            known = [*TORCH, *(f.suffix for f in FORMATS.values())]
            suffix = Path(weights).suffix.lower()
            hint = did_you_mean(suffix, known) if suffix else ""
            raise ModelError(f"'{weights}' cannot be run: its name must end in {', '.join(known)}.{hint}")
        return FileBackend(weights, form, self.device, threads, providers)

    def forward(
        self,
        im: torch.Tensor,
        augment: bool = False,
        visualize: bool | str | Path = False,
        embed: list[int] | None = None,
        **kwargs,
    ) -> Output:
        """Return the outputs of the model's head for a batch (b, 3, h, w) in 0..1.

        Args:
            im: the images.
            augment: predict on smaller and mirrored copies, too.
            visualize: folder into which the feature maps of the layers are drawn; True for `runs`.
            embed: return the pooled features (channels,) of these layers instead, a tensor for each image.
        """
        if embed is not None:
            return self.embed(im, embed).unbind()
        if augment:
            kwargs["augment"] = True
        if self.fp16 and im.dtype != torch.float16:
            im = im.half()
        if not visualize:
            return self.backend(im, **kwargs)
        folder = "runs" if visualize is True else visualize
        return features.watch_layers(
            lambda: self.backend(im, **kwargs),
            self.network("Maps of the layers (visualize=True) come"),
            lambda i, layer, out: feature_visualization(out, type(layer).__name__, i, save_dir=folder),
        )

    def from_numpy(self, x: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return an array as a tensor on the device of the model; a tensor stays as it is."""
        return torch.from_numpy(x).to(self.device) if isinstance(x, np.ndarray) else x

    def embed(self, im: torch.Tensor, layers: list[int]) -> torch.Tensor:
        """Return the pooled features of layers (b, channels); PyTorch models only (see `nn.features.embed`)."""
        backend = self._torch("Features come")
        images = (im.half() if self.fp16 else im).contiguous(memory_format=backend.layout)
        return features.embed(backend.model, images, layers)

    def network(self, what: str) -> nn.Module:
        """Return the module with the layers; raise ConfigError, which begins with `what`, for an exported file."""
        return self._torch(what).model

    def _torch(self, what: str) -> TorchBackend:
        """Return the backend of a PyTorch model, see `network`."""
        if isinstance(self.backend, FileBackend):
            raise ConfigError(f"{what} from PyTorch models, and '{self.backend.file}' is not one: give a .pt file.")
        return self.backend

    def warmup(self, imgsz: tuple[int, int, int, int] = (1, 3, 640, 640)) -> None:
        """Run once on zeros, so that the first image does not wait for the GPU to start; a CPU needs none."""
        if self.device.type == "cpu":
            return
        with torch.inference_mode():
            self(torch.zeros(imgsz, dtype=torch.float16 if self.fp16 else torch.float32, device=self.device))


def default_class_names(data: str | Path | None = None) -> dict[int, str]:
    """Return the class names of a dataset YAML, or without one the names 'class0' to 'class998'."""
    if data is None:
        return {i: f"class{i}" for i in range(999)}
    return check_class_names(yaml_load(check_yaml(str(data))).get("names") or {})


def _names(model: nn.Module) -> dict[int, str]:
    """Return a model's class names as a dict."""
    names = getattr(model, "names", None) or {}
    return dict(names) if isinstance(names, dict) else dict(enumerate(names))
