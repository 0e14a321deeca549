"""Writes a model as a file of another runtime: ONNX and OpenVINO.

A file takes float32 pictures `images` (batch, channels, height, width) in 0..1 of one fixed size, and gives `output0`:
the decoded predictions of a detector, the probabilities of a classifier. That of a segmenter gives its prototypes,
`output1`, as well.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ultralytics.nn.modules import Detect, Segment
from ultralytics.nn.rewrite import rewrite
from ultralytics.utils.checks import check_version
from ultralytics.utils.errors import MissingPackageError, ModelError
from ultralytics.utils.files import atomic_write
from ultralytics.utils.flops import input_channels, sides
from ultralytics.utils.torch_utils import unwrap

# Since 2.9 torch exports by torch.export and ONNX Script as it comes; older ones trace, up to opset 17.
MODERN = check_version(torch.__version__, ">=2.9")
OPSET = 18 if MODERN else 17
ONNX_PACKAGES = ("onnx", "onnxscript") if MODERN else ("onnx",)
TOLERANCE = 1e-4  # of the greatest output: what a file may differ from the eager model
Run = Callable[[torch.Tensor], list[np.ndarray]]


class Predictions(nn.Module):
    """A fused float32 copy of a model for inference on the CPU; it gives the predictions without the raw maps."""

    def __init__(self, model: nn.Module, optimize: bool = True):
        super().__init__()
        self.model = deepcopy(unwrap(model)).cpu().float().eval().requires_grad_(False)
        if hasattr(self.model, "fuse"):
            self.model.fuse(verbose=False)
        if optimize:
            rewrite(self.model)
        for m in self.model.modules():
            if isinstance(m, Detect):  # constants of the graph, whose values a tracer cannot read from a tensor
                strides = m.stride.tolist()
                del m.stride
                m.stride = strides
        self.eval()

        self.outputs = ["output0", "output1"][: 1 + any(isinstance(m, Segment) for m in self.model.modules())]

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        y = self.model(x)
        if isinstance(y, torch.Tensor):
            return y
        return (y[0], y[1][-1]) if len(self.outputs) > 1 else y[0]


def export_onnx(model: nn.Module, file: str | Path, imgsz: int | list[int] = 640, batch: int = 1) -> Path:
    """Write a model as an ONNX file of opset `OPSET` and return its path.

    Where ONNX Runtime is installed the file is run and compared with the eager model before it takes its place.

    Args:
        model: it is not touched, and may be fused or not.
        file: to write; one that is there is replaced once the new one is whole.
        imgsz: pixels, a side or [height, width], multiples of the model's stride.
        batch: pictures in one run.

    Raises:
        MissingPackageError: the packages that write ONNX are not installed.
        ModelError: the model cannot be written, or the file computes something else.
    """
    require("Writing ONNX", ONNX_PACKAGES)
    file, net, x = Path(file), Predictions(model), random_batch(model, imgsz, batch)
    options = {"dynamo": True, "external_data": False, "verbose": False} if MODERN else {}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "model.onnx"
        with _explained("ONNX"):
            names = {"input_names": ["images"], "output_names": net.outputs}
            torch.onnx.export(net, (x,), str(whole), opset_version=OPSET, **names, **options)
        if importlib.util.find_spec("onnxruntime"):
            check_equal(open_onnx(whole), Predictions(model, optimize=False), x, str(file))
        with atomic_write(file) as out, open(whole, "rb") as made:
            shutil.copyfileobj(made, out)
    return file


def export_openvino(model: nn.Module, folder: str | Path, imgsz: int | list[int] = 640, batch: int = 1) -> Path:
    """Write a model as OpenVINO's pair of files into a folder and return the path of its .xml.

    Weights stay float32; the files are run and compared with the eager model before they take their places. Arguments
    and errors are those of `export_onnx`.
    """
    require("Writing OpenVINO", ("openvino",))
    import openvino

    folder, net, x = Path(folder), Predictions(model), random_batch(model, imgsz, batch)
    with _explained("OpenVINO"):
        graph = openvino.convert_model(net, example_input=x)
        graph.reshape(list(x.shape))  # a fixed size is faster than any
    graph.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(graph.outputs, net.outputs):
        output.get_tensor().set_names({name})
    check_equal(compile_openvino(graph), Predictions(model, optimize=False), x, str(folder))
    with tempfile.TemporaryDirectory() as place:
        openvino.save_model(graph, Path(place) / "model.xml", compress_to_fp16=False)
        for suffix in (".bin", ".xml"):  # the .xml, by which the pair is opened, comes last
            with atomic_write(folder / f"model{suffix}") as out, open(Path(place) / f"model{suffix}", "rb") as made:
                shutil.copyfileobj(made, out)
    return folder / "model.xml"


def open_onnx(file: str | Path, threads: int = 1) -> Run:
    """Return a function that runs an ONNX file by ONNX Runtime on the CPU."""
    require("Running ONNX", ("onnxruntime",))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would slow what runs next
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.numpy()})


def compile_openvino(model: object, threads: int = 1) -> Run:
    """Return a function that runs an OpenVINO model (its .xml, or one in memory) on the CPU in float32."""
    require("Running OpenVINO", ("openvino",))
    import openvino

    model = str(model) if isinstance(model, (str, Path)) else model
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    request = compiled.create_infer_request()
    return lambda x: [*request.infer([x.numpy()]).values()]


def random_batch(model: nn.Module, imgsz: int | list[int], batch: int) -> torch.Tensor:
    """Return pictures of noise (batch, channels, height, width) in 0..1, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, input_channels(model), *sides(imgsz), generator=generator)


@torch.no_grad()
def check_equal(run: Run, net: Predictions, x: torch.Tensor, name: str) -> float:
    """Return how much a written model differs from the eager one at most; raise ModelError if that is too much.

    It may differ by `TOLERANCE`, or by a few times what rounding alone makes of the eager model's own output.
    """
    wanted, got = _several(net(x)), [torch.from_numpy(y.copy()) for y in run(x)]
    shapes = [[tuple(y.shape) for y in ys] for ys in (got, wanted)]
    if shapes[0] != shapes[1]:
        raise ModelError(f"'{name}' gives {shapes[0]}, but the model gives {shapes[1]}.")
    differences = [float((a - b).abs().max()) for a, b in zip(got, wanted)]
    if all(d <= TOLERANCE * max(1.0, float(y.abs().max())) for d, y in zip(differences, wanted)):
        return max(differences)
    exact = _several(deepcopy(net).double()(x.double()))
    roundings = [float((a - b).abs().max()) for a, b in zip(wanted, exact)]
    for difference, rounding in zip(differences, roundings):
        if not difference <= 10 * rounding:  # nor if one of them is not a number
            raise ModelError(
                f"'{name}' was not written: its outputs differ by {difference:g} from the eager model's, whose "
                f"rounding makes {rounding:g}. An operator of the model may have another meaning there."
            )
    return max(differences)


def _several(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    return [outputs] if isinstance(outputs, torch.Tensor) else [*outputs]


def require(what: str, packages: tuple[str, ...]) -> None:
    """Raise MissingPackageError with the `pip install` line if one of the packages is not installed."""
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise MissingPackageError(
            f"{what} needs {' and '.join(missing)}, not installed here: pip install {' '.join(missing)}."
        )


@contextlib.contextmanager
def _explained(form: str) -> Iterator[None]:
    """Keep the converters' chatter back, and turn what stops one into a sentence."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace", "onnxscript", "onnx_ir")]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except Exception as e:  # converters raise anything
        reason = " ".join(str(e).split())[:300]
        raise ModelError(f"The model cannot be written as {form}: {type(e).__name__}: {reason}") from e
    finally:
        for log, level in zip(loggers, levels):
            log.setLevel(level)
