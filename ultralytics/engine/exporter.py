"""Export of a model to a file of another runtime, which is compared with the model before it is moved into place.

The formats are modules of `ultralytics.nn.formats`. A file takes float32 images `images` (batch, channels, height,
width) in 0..1, and gives `output0`: the decoded predictions of a detector, the probabilities of a classifier. A
segmenter also gives its prototypes, `output1`. With `nms=True`, and for a model that needs no NMS, the first output is
(batch, max_det, 6 + extra).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from ultralytics import __build__
from ultralytics.cfg import get_cfg
from ultralytics.cfg.schema import DEFAULTS
from ultralytics.engine.callbacks import Callbacks, get_default_callbacks
from ultralytics.engine.parity import Parity, check_parity
from ultralytics.engine.training.progress import NOT_YET
from ultralytics.nn.formats import FORMATS, Format, format_named
from ultralytics.nn.formats.facts import Metadata
from ultralytics.nn.formats.job import Exportable, Job
from ultralytics.nn.formats.nms import NMS
from ultralytics.nn.modules import Detect, Segment
from ultralytics.nn.rewrite import rewrite
from ultralytics.utils import ASSETS, DEFAULT_CFG, LOGGER, colorstr
from ultralytics.utils.checks import check_imgsz
from ultralytics.utils.errors import ConfigError, ModelError, UserError
from ultralytics.utils.files import file_size, move_into_place
from ultralytics.utils.flops import input_channels, sides
from ultralytics.utils.helpers import get_default_args
from ultralytics.utils.torch_utils import unwrap

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

Images = Callable[[], Iterable[np.ndarray]]
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}  # faults of the disk
FULL = 1 << 20  # a disk with fewer free bytes is full
NMS_ONLY = ("conf", "iou", "max_det", "agnostic_nms")  # no effect without nms=True
INT8_ONLY = ("data", "split", "fraction")  # no effect without int8=True
ON_GPU = ("torchscript", "onnx", "engine")  # formats whose files run on a GPU
OPTIONS = ("half", "int8", "dynamic", "nms", "opset")  # refused where a format does not support them


class GraphNode(Protocol):
    """A node of a TensorFlow graph."""

    name: str
    input: Sequence[str]


class GraphDef(Protocol):
    """A TensorFlow graph."""

    node: Sequence[GraphNode]


class Predictions(Exportable):
    """A fused float32 copy of a model for inference on the CPU; it gives the predictions without the raw maps.

    Args:
        model: to copy.
        optimize: rewrite the graph so that runtimes compute the same outputs faster (`nn.rewrite`).
    """

    def __init__(self, model: nn.Module, optimize: bool = False):
        super().__init__()
        self.model: nn.Module = deepcopy(unwrap(model)).cpu().float().eval().requires_grad_(False)
        if callable(fuse := getattr(self.model, "fuse", None)):
            fuse(verbose=False)
        self.rewritten = rewrite(self.model) if optimize else {}
        for m in self.model.modules():
            if isinstance(m, Detect):  # constants of the graph, whose values a tracer cannot read from a tensor
                strides = m.stride.tolist()
                del m.stride
                vars(m)["stride"] = strides
        self.eval()
        self.outputs = ["output0", "output1"][: 1 + any(isinstance(m, Segment) for m in self.model.modules())]

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        y = self.model(x)
        if isinstance(y, torch.Tensor):
            return y
        return (y[0], y[1][-1]) if len(self.outputs) > 1 else y[0]


class Exporter(Callbacks):
    """Exports a model with the settings of `yolo export`: `Exporter(overrides={"format": "onnx"})(model)`.

    The method `export_NAME` of a format, if there is one, writes the file; a subclass may override it.

    Attributes:
        args: the settings.
        model: to export; this and what follows is known once the exporter is called.
        file: the weight file, which may not exist, beside which the exported file is written.
        imgsz: [height, width] of the images.
        parity: how much the written file differs from the model.
    """

    model: BaseModel
    file: Path
    imgsz: list[int]

    def __init__(
        self,
        cfg: str | Path | dict | SimpleNamespace = DEFAULT_CFG,
        overrides: dict | None = None,
        _callbacks: dict | None = None,
    ):
        self.args = get_cfg(cfg, {"mode": "export", **(overrides or {})})
        self.callbacks = _callbacks or get_default_callbacks()
        self.parity: Parity | None = None
        self.model, self.file, self.imgsz = NOT_YET, NOT_YET, NOT_YET

    def __call__(self, model: BaseModel, stem: str | Path | None = None) -> str:
        """Write the file beside `stem` (a path without suffix; by default the model's weights) and return its path.

        Raises:
            UserError: the format or a setting does not fit, or the outputs of file and model differ.
        """
        args, start = self.args, time.perf_counter()
        form = format_named(args.format)
        self._check(form, model)
        self._warn_of_unused(form)
        self.run_callbacks("on_export_start")
        stem = Path(stem) if stem else Path(str(args.model or getattr(model, "yaml_file", "model"))).with_suffix("")
        stride = max(int(torch.as_tensor(getattr(model, "stride", 32)).max()), 32)
        imgsz = check_imgsz(args.imgsz, stride=stride, min_dim=2)
        assert isinstance(imgsz, list)  # by min_dim
        self.model, self.imgsz, self.file = model, imgsz, stem.with_name(f"{stem.name}.pt")
        size = f"{imgsz[1]} x {imgsz[0]} pixels"
        LOGGER.info(f"{colorstr('Export:')} {form.title} of '{args.model or stem.name}', {size}")
        own = getattr(self, f"export_{form.name}", None)
        file = own()[0] if own else self._write(form.name)[0]
        said = f"{self.parity}\n" if self.parity else ""
        LOGGER.info(
            f"{said}Saved '{file}', {file_size(file):.1f} MB, in {time.perf_counter() - start:.1f} s.\n"
            f"Use it as the weights: yolo predict model={file} imgsz={_shown(imgsz)}"
        )
        self.run_callbacks("on_export_end")
        return str(file)

    # Formats that 8.3.0 has too; each method returns the path of the file, and how much it differs from the model
    def export_torchscript(self, prefix: str = "TorchScript:") -> tuple[str, Parity | None]:
        return self._write("torchscript")

    def export_onnx(self, prefix: str = "ONNX:") -> tuple[str, Parity | None]:
        return self._write("onnx")

    def export_openvino(self, prefix: str = "OpenVINO:") -> tuple[str, Parity | None]:
        return self._write("openvino")

    def export_engine(self, prefix: str = "TensorRT:") -> tuple[str, Parity | None]:
        return self._write("engine")

    def export_ncnn(self, prefix: str = "NCNN:") -> tuple[str, Parity | None]:
        return self._write("ncnn")

    def export_tflite(self, prefix: str = "TensorFlow Lite:") -> tuple[str, Parity | None]:
        return self._write("tflite")

    def __getattr__(self, name: str) -> object:
        if name.startswith("export_"):
            known = ", ".join(FORMATS)
            raise AttributeError(f"'{name}': this package does not write that format. It writes {known}.")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @property
    def im(self) -> torch.Tensor:
        """The images (batch, channels, height, width) in 0..1 with which the model is traced."""
        return image_batch(self.model, self.imgsz, self._batch)

    @property
    def _batch(self) -> int:
        return 1 if self.args.batch == -1 else int(self.args.batch)

    def _write(self, name: str) -> tuple[str, Parity | None]:
        """Write the model in a format; return the path and how much the file differs from the model."""
        args, form = self.args, format_named(name)
        file, self.parity = export(
            self.model, form, form.file(self.file.with_suffix("")), self.imgsz, self._batch,
            half=args.half, int8=args.int8, dynamic=args.dynamic, simplify=args.simplify, opset=args.opset,
            workspace=args.workspace, optimize=args.optimize, nms=self._nms() if args.nms else None,
            images=self._images() if args.int8 else None,
        )  # fmt: skip
        return str(file), self.parity

    def _check(self, form: Format, model: BaseModel) -> None:
        """Raise UserError if packages are missing or settings do not fit."""
        form.require(writing=True)
        for key in OPTIONS:
            if getattr(self.args, key) and key not in form.options:
                able = [f.name for f in FORMATS.values() if key in f.options]
                raise ConfigError(
                    f"{form.title} has no '{key}': leave it out, or choose a format that has it: {', '.join(able)}."
                )
        if self.args.half and self.args.int8:
            raise ConfigError("half=True and int8=True exclude each other: choose one precision.")
        if self.args.batch != -1 and (self.args.batch < 1 or self.args.batch != int(self.args.batch)):
            raise ConfigError(
                f"batch={self.args.batch} is a share of a GPU's memory, for training: a file takes a whole number of "
                "images, such as batch=1."
            )
        if self.args.nms and model.task == "classify":
            raise ConfigError("nms=True is for models that find objects; a classifier has none: leave it out.")
        if self.args.nms and getattr(model, "end2end", False):
            raise ConfigError(
                "nms=True is for models whose boxes overlap; this one gives each object once: leave it out."
            )

    def _warn_of_unused(self, form: Format) -> None:
        """Log one line with the changed settings that have no effect on this format."""
        args, form_needs = self.args, {key for key in ("simplify", "workspace") if key not in form.options}
        idle = {"keras", *form_needs, *(() if args.nms else NMS_ONLY), *(() if args.int8 else INT8_ONLY)}
        idle |= set() if form.name == "engine" or str(args.device) in {"None", "", "cpu"} else {"device"}
        said = [f"{key}={value}" for key, value in vars(args).items() if key in idle and value != DEFAULTS[key]]
        if said:
            LOGGER.warning(f"WARNING: no effect on this {form.title} export: {', '.join(said)}.")

    def _nms(self) -> NMS:
        args, model = self.args, self.model
        conf = 0.25 if args.conf is None else args.conf
        return NMS(len(model.names), conf, args.iou, args.max_det, args.agnostic_nms, rotated=model.task == "obb")

    def get_int8_calibration_dataloader(self, prefix: str = "") -> Iterable[dict[str, torch.Tensor]]:
        """Return batches of the user's images to calibrate on: `img` (b, 3, h, w) uint8 RGB."""
        from ultralytics.data.calibration import CalibrationImages

        if not self.args.data:
            raise ConfigError(
                "int8=True calibrates on images of your data: add data= and the YAML that the model was trained with."
            )
        return CalibrationImages(self.args.data, self.model.task, self.imgsz, self.args.split, self.args.fraction)

    def _images(self) -> Images:
        """Return a function that gives the images to calibrate on one by one, as a `Job` takes them."""
        loader = self.get_int8_calibration_dataloader()
        return lambda: (np.asarray(image[None], np.float32) / 255 for batch in loader for image in batch["img"])


def export_formats() -> dict[str, tuple]:
    """Return the formats as columns of a table: Format, Argument, Suffix, CPU, GPU."""
    own = ((f.title, f.name, f.suffix, f.name != "engine", f.name in ON_GPU) for f in FORMATS.values())
    rows = [("PyTorch", "-", ".pt", True, True), *own]
    return dict(zip(("Format", "Argument", "Suffix", "CPU", "GPU"), zip(*rows)))


def try_export(inner_func: Callable[..., tuple[str | Path, object]]) -> Callable[..., tuple[str | Path, object]]:
    """Decorate a function that exports: log how long it took and what it wrote, or that it failed, which it raises.

    The function has an argument `prefix` with a default, for the log, and returns the file and something of its own.
    """
    prefix = get_default_args(inner_func)["prefix"]

    @functools.wraps(inner_func)
    def outer(*args, **kwargs) -> tuple[str | Path, object]:
        start = time.perf_counter()
        try:
            file, more = inner_func(*args, **kwargs)
        except Exception as e:
            LOGGER.warning(f"{prefix} export failure after {time.perf_counter() - start:.1f} s: {e}")
            raise
        LOGGER.info(f"{prefix} wrote '{file}', {file_size(file):.1f} MB, in {time.perf_counter() - start:.1f} s.")
        return file, more

    return outer


def gd_outputs(gd: GraphDef) -> list[str]:
    """Return the outputs of a frozen TensorFlow graph, `name:0`: nodes that no other node reads."""
    read = {name for node in gd.node for name in node.input}
    return sorted(f"{node.name}:0" for node in gd.node if node.name not in read and not node.name.startswith("NoOp"))


def export(
    model: nn.Module,
    form: Format | str,
    file: str | Path,
    imgsz: int | list[int] = 640,
    batch: int = 1,
    *,
    optimize: bool = True,
    nms: NMS | None = None,
    check: bool = True,
    **settings: Any,
) -> tuple[Path, Parity | None]:
    """Write a model as a file and return its path and how much the file differs from the model.

    Args:
        model: fused or not; it stays as it is.
        form: the format, or its name.
        file: to write; an existing one is replaced once the new one is complete.
        imgsz: a side or [height, width] in pixels, multiples of the model's stride.
        batch: images in one run.
        optimize: rewrite the graph first (`nn.rewrite`); the outputs stay the same.
        nms: append NMS to the model.
        check: run the file and compare it; skipped where the packages that run it are missing.
        settings: other attributes of `nn.formats.job.Job`.

    Raises:
        MissingPackageError: the packages that write the format are not installed.
        ModelError: the model cannot be written, or the outputs of file and model differ.
    """
    form, file = format_named(form) if isinstance(form, str) else form, Path(file)
    form.require(writing=True)
    there = next(folder for folder in file.absolute().parents if folder.exists())
    if not os.access(there, os.W_OK):
        raise ModelError(
            f"'{file}' cannot be written: the folder '{there}' is not writable. Use a model in another folder."
        )
    x = image_batch(model, imgsz, batch)
    metadata = describe(model, x, nms, settings)
    parity = None
    with _disk_faults(file), tempfile.TemporaryDirectory() as folder:
        job = Job(Predictions(model, optimize), x, Path(folder) / f"model{form.suffix}", metadata, nms=nms, **settings)
        with explained(form.title):
            form.load().write(job)
        if check:
            parity = check_parity(form, job, Predictions(model), str(file))
        move_into_place(job.file, file)
    return file, parity


def describe(model: nn.Module, x: torch.Tensor, nms: NMS | None, settings: Mapping[str, object]) -> Metadata:
    """Return the metadata of a file: what a runner must know, and where the file comes from."""
    names = getattr(model, "names", None) or {}
    layers = getattr(model, "model", None)
    kpt_shape = getattr(layers[-1] if isinstance(layers, nn.Sequential) else model, "kpt_shape", None)
    return {
        "task": getattr(model, "task", None),
        "names": {str(k): v for k, v in (names.items() if isinstance(names, dict) else enumerate(names))},
        "stride": max(int(torch.as_tensor(getattr(model, "stride", 32)).max()), 1),
        "imgsz": list(x.shape[-2:]),
        "batch": len(x),
        "channels": x.shape[1],
        "kpt_shape": list(kpt_shape) if kpt_shape else None,
        "nms": nms is not None,
        "half": bool(settings.get("half")),
        "int8": bool(settings.get("int8")),
        "dynamic": bool(settings.get("dynamic")),
        "end2end": bool(getattr(model, "end2end", False)),
        "yaml": getattr(model, "yaml", None),
        "author": "ultralytics-ghost",
        "version": __build__,
    }


def image_batch(model: nn.Module, imgsz: int | list[int], batch: int) -> torch.Tensor:
    """Return the same images (batch, channels, height, width) in 0..1 each time: the package's own with noise."""
    import cv2

    h, w = sides(imgsz)
    noise = torch.rand(batch, input_channels(model), h, w, generator=torch.Generator().manual_seed(0))
    file = next((f for f in sorted(ASSETS.glob("*.jpg"))), None)
    image = None if file is None else cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return noise
    rows = torch.from_numpy(cv2.resize(image, (w, h))[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    rows = rows.repeat(-(-noise.shape[1] // 3), 1, 1)[: noise.shape[1]]
    return (rows + 0.1 * (noise - 0.5)).clamp(0, 1)


@contextlib.contextmanager
def explained(form: str) -> Iterator[None]:
    """Silence the converters, and turn their exceptions into ModelError with a sentence."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir", "nncf")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as e:  # converters raise anything
        if isinstance(e, OSError) and e.errno in DISK:
            raise
        if shutil.disk_usage(tempfile.gettempdir()).free < FULL:  # native code only says that it failed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir()) from e
        reason = " ".join(str(e).split())[:300]
        raise ModelError(f"The model cannot be written as {form}: {type(e).__name__}: {reason}") from e
    finally:
        for log, level in zip(loggers, levels):
            log.setLevel(level)


@contextlib.contextmanager
def _disk_faults(file: Path) -> Iterator[None]:
    """Turn the errors of a full or read-only disk into ModelError with a sentence."""
    try:
        yield
    except OSError as e:
        if isinstance(e, UserError) or e.errno not in DISK:
            raise
        place = e.filename2 or e.filename  # of a copy, its destination
        where = f" ('{place}')" if place else ""
        raise ModelError(
            f"'{file}' was not written: {e.strerror}{where}. What was there before is untouched. Make room, or use a "
            "model in another folder; $TMPDIR names the folder for temporary files."
        ) from e


def _shown(imgsz: list[int]) -> str:
    return str(imgsz[0]) if imgsz[0] == imgsz[1] else str(imgsz).replace(" ", "")
