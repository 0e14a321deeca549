"""OpenVINO: a folder with a graph (.xml), its weights (.bin) and metadata.json."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.facts import Metadata, Shape
from ultralytics.nn.formats.folder import find_one, read_metadata, write_metadata
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import MissingPackageError, ModelError
from ultralytics.utils.system.telemetry import quiet_import

if TYPE_CHECKING:
    import openvino

FORMAT = Format(
    "openvino", "OpenVINO", "_openvino_model", __name__, ("openvino",), ("openvino",),
    frozenset({"half", "int8", "dynamic", "nms"}), "Intel processors, graphics and NPUs",
)  # fmt: skip


def write(job: Job) -> None:
    """Write the folder; int8 is calibrated by NNCF on the user's images, half makes the file smaller, not faster."""
    package = quiet_import("openvino")
    graph = _from_onnx(job) if job.nms else package.convert_model(job.net, example_input=job.x)
    if job.dynamic:
        graph.reshape([-1, job.x.shape[1], -1, -1])
    else:
        graph.reshape(list(job.x.shape))  # a fixed size is faster than an open one
    graph.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(graph.outputs, job.outputs):
        output.get_tensor().set_names({name})
    if job.int8:
        graph = _quantized(graph, job)
    job.file.mkdir()
    package.save_model(graph, job.file / "model.xml", compress_to_fp16=job.half)
    write_metadata(job.file, job.metadata)


def _from_onnx(job: Job) -> openvino.Model:
    """Return the graph by way of ONNX, whose operator for non-maximum suppression OpenVINO knows."""
    from ultralytics.nn.formats import onnx

    onnx.FORMAT.require(writing=True)
    file = job.file.with_name("model.onnx")
    onnx.write(Job(job.net, job.x, file, job.metadata, dynamic=job.dynamic, nms=job.nms))
    return quiet_import("openvino").convert_model(file)


def _quantized(graph: openvino.Model, job: Job) -> openvino.Model:
    """Return the graph in 8 bits, but for the decoding of the boxes, as pixels do not fit into 8 bits."""
    try:
        nncf = quiet_import("nncf")
    except ImportError as e:
        raise MissingPackageError("int8=True quantizes by NNCF, not installed here: pip install nncf.") from e
    assert job.images is not None  # the exporter gives them with int8
    decoding = [op.get_friendly_name() for op in graph.get_ops() if _decodes(op, job.head)]
    return nncf.quantize(
        graph,
        nncf.Dataset(list(job.images())),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=decoding, validate=False),
    )


def _decodes(op: openvino.Node, head: str) -> bool:
    """Return whether an operator belongs to the head and is not a convolution."""
    kept = {"Convolution", "GroupConvolution", "Constant", "Parameter", "Result"}
    return f"model.model.{head}." in f"{op.get_friendly_name()}." and op.get_type_name() not in kept


def _shape(shape: openvino.PartialShape) -> Shape:
    """Return the sizes of an OpenVINO shape, None for those that are open."""
    return [side.get_length() if side.is_static else None for side in shape] if shape.rank.is_static else []


@lru_cache(maxsize=1)
def _core(process: int) -> openvino.Core:
    """Return the process's only OpenVINO core, kept to its end.

    Each core gives the thread a signal stack and removes it when it goes. Of two cores, the one that goes last brings
    back the stack of the other, freed by then, so that the next signal, such as Ctrl-C, crashes the process.
    """
    return quiet_import("openvino").Core()


class Runner:
    """Runs an OpenVINO folder (or its .xml, or a graph in memory) in float32 or, if quantized, in 8 bits.

    Args:
        file: to run.
        device: 'cpu'.
        threads: of one run; 0 leaves it to OpenVINO.
        providers: an OpenVINO device instead of CPU, such as GPU, NPU or AUTO.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        self.folder = Path(file)
        xml = self.folder if self.folder.suffix == ".xml" else find_one(self.folder, "*.xml", "OpenVINO")
        hints: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
        where = providers or "CPU"
        if where == "CPU":
            hints |= {"INFERENCE_PRECISION_HINT": "f32"}
            if threads:
                hints |= {"INFERENCE_NUM_THREADS": min(threads, os.cpu_count() or threads)}
        try:
            core = _core(os.getpid())
            compiled = core.compile_model(core.read_model(xml), where, hints)
        except RuntimeError as e:
            reason = " ".join(str(e).split())[:200]
            raise ModelError(f"'{file}' cannot be run by OpenVINO on {where}; it may be damaged: {reason}") from e
        self.request = compiled.create_infer_request()
        inputs, outputs = (
            [_shape(each.get_partial_shape()) for each in e] for e in (compiled.inputs, compiled.outputs)
        )
        self.shapes = inputs, outputs

    @property
    def metadata(self) -> Metadata:
        """The metadata in the folder."""
        return read_metadata(self.folder)

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(y.copy()) for y in self.request.infer([x.cpu().numpy()]).values()]
