"""OpenVINO: a folder with a graph (.xml), its weights (.bin) and metadata.json."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.facts import Shape
from ultralytics.nn.formats.folder import find_one, read_metadata, write_metadata
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import MissingPackageError, ModelError
from ultralytics.utils.system.telemetry import quiet_import

FORMAT = Format(
    "openvino", "OpenVINO", "_openvino_model", __name__, ("openvino",), ("openvino",),
    frozenset({"half", "int8", "dynamic", "nms"}), "Intel processors, graphics and NPUs",
)  # fmt: skip


def write(job: Job) -> None:
    """Write the folder; int8 is calibrated by NNCF on the user's images, half halves the file and not the time."""
    openvino = quiet_import("openvino")
    graph = _from_onnx(job) if job.nms else openvino.convert_model(job.net, example_input=job.x)
    if job.dynamic:
        graph.reshape([-1, job.x.shape[1], -1, -1])
    else:
        graph.reshape(list(job.x.shape))  # a fixed size is faster than any
    graph.inputs[0].get_tensor().set_names({"images"})
    for output, name in zip(graph.outputs, job.outputs):
        output.get_tensor().set_names({name})
    if job.int8:
        graph = _quantized(graph, job)
    job.file.mkdir()
    openvino.save_model(graph, job.file / "model.xml", compress_to_fp16=job.half)
    write_metadata(job.file, job.metadata)


def _from_onnx(job: Job) -> Any:
    """Return the graph by way of ONNX, whose operator for the suppression of boxes OpenVINO knows."""
    from ultralytics.nn.formats import onnx

    onnx.FORMAT.require(writing=True)
    file = job.file.with_name("model.onnx")
    onnx.write(Job(job.net, job.x, file, job.metadata, dynamic=job.dynamic, nms=job.nms))
    return quiet_import("openvino").convert_model(file)


def _quantized(graph: Any, job: Job) -> Any:
    """Return the graph in 8 bits; the boxes' last steps stay as they are, for pixels do not fit into 8 bits."""
    try:
        nncf = quiet_import("nncf")
    except ImportError as e:
        raise MissingPackageError("int8=True quantises by NNCF, not installed here: pip install nncf.") from e
    head = f"{len(job.net.model.model) - 1}"
    decoding = [op.get_friendly_name() for op in graph.get_ops() if _decodes(op, head)]
    return nncf.quantize(
        graph,
        nncf.Dataset(list(job.images())),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(names=decoding, validate=False),
    )


def _decodes(op: Any, head: str) -> bool:
    """Tell whether an operator is one of the head's that are no convolutions."""
    kept = {"Convolution", "GroupConvolution", "Constant", "Parameter", "Result"}
    return f"model.model.{head}." in f"{op.get_friendly_name()}." and op.get_type_name() not in kept


def _shape(shape: Any) -> Shape:
    """Return the sizes of an OpenVINO shape, None for those that are open."""
    return [side.get_length() if side.is_static else None for side in shape] if shape.rank.is_static else []


@lru_cache(maxsize=1)
def _core(process: int) -> Any:
    """Return the process's only OpenVINO, kept to its end.

    Each gives the thread a stack for signals and takes it away when it goes. Of two, the first of which goes first, the
    second brings back the stack of the first, which is freed by then: the next signal, as Ctrl-C, ends the process.
    """
    return quiet_import("openvino").Core()


class Runner:
    """Runs an OpenVINO folder (or its .xml, or a graph in memory) in float32 or, if quantised, in 8 bits.

    Args:
        file: to run.
        device: 'cpu' is the CPU; 'cuda' is not of OpenVINO.
        threads: of one run; 0 leaves it to OpenVINO.
        providers: an OpenVINO device instead of CPU, such as GPU, NPU or AUTO.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        self.folder = Path(file)
        xml = self.folder if self.folder.suffix == ".xml" else find_one(self.folder, "*.xml", "OpenVINO")
        hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
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
        ends = compiled.inputs, compiled.outputs
        self.shapes = tuple([_shape(port.get_partial_shape()) for port in end] for end in ends)

    @property
    def metadata(self) -> dict[str, Any]:
        """What the folder says of itself."""
        return read_metadata(self.folder)

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(y.copy()) for y in self.request.infer([x.cpu().numpy()]).values()]
