"""TensorRT: one engine, built for the NVIDIA GPU that it is written on, with the metadata in front.

The file begins with the length of the metadata (four bytes, little-endian) and the metadata as JSON; then comes the
engine.
"""

from __future__ import annotations

import struct
from pathlib import Path

import torch

from ultralytics.nn.formats import onnx
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.facts import Metadata
from ultralytics.nn.formats.job import Job, from_text, to_text
from ultralytics.utils.errors import ConfigError, ModelError

FORMAT = Format(
    "engine", "TensorRT", ".engine", __name__, ("tensorrt", "onnx", "onnxscript"), ("tensorrt",),
    frozenset({"half", "opset", "simplify", "workspace"}), "NVIDIA GPUs",
    threaded=False,
)  # fmt: skip

MAX_BYTES = 2**24  # of metadata


def write(job: Job) -> None:
    """Build the engine from ONNX, every layer in the precision that the graph states (TensorRT 10 or later)."""
    _need_gpu("Writing")
    import tensorrt

    if int(tensorrt.__version__.split(".")[0]) < 10:
        raise ModelError(f"TensorRT {tensorrt.__version__} is too old: pip install -U tensorrt brings 10 or later.")
    source = job.file.with_name("model.onnx")
    onnx.write(Job(job.net, job.x, source, job.metadata, half=job.half, opset=job.opset, simplify=job.simplify))
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only kind since 11
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(source)):
        raise ModelError(f"TensorRT cannot read the graph: {parser.get_error(0)}")
    config = builder.create_builder_config()
    if job.workspace:
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, int(job.workspace * 2**30))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ModelError("TensorRT cannot build an engine of the graph on this GPU.")
    job.file.write_bytes(with_header(job.metadata, bytes(engine)))


def with_header(metadata: Metadata, engine: bytes) -> bytes:
    """Return the content of a file: the metadata, followed by the engine."""
    text = to_text(metadata).encode()
    return struct.pack("<I", len(text)) + text + engine


def split_header(file: str | Path) -> tuple[Metadata, bytes]:
    """Return the metadata and the engine of a file; raise ModelError if it has no such header."""
    content = Path(file).read_bytes()
    length = struct.unpack("<I", content[:4])[0] if len(content) > 4 else 0
    if not 0 < length < min(len(content) - 4, MAX_BYTES) or content[4:5] != b"{":
        raise ModelError(f"'{file}' is not a TensorRT file that `yolo export` wrote: it is damaged or from elsewhere.")
    return from_text(content[4 : 4 + length].decode(errors="replace"), file), content[4 + length :]


def _need_gpu(doing: str) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"{doing} TensorRT needs an NVIDIA GPU, and PyTorch finds none here: use format=onnx.")


class Runner:
    """Runs an engine on the GPU that it was built for.

    Args:
        file: to run.
        device: a CUDA device.
        threads, providers: not used.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cuda", threads: int = 0, providers: str = ""):
        self.metadata, engine = split_header(file)
        self.device = torch.device(device)
        _need_gpu("Running")
        if self.device.type != "cuda":
            raise ConfigError(f"'{file}' runs on NVIDIA GPUs only: give device=0 instead of device={device}.")
        import tensorrt

        with torch.cuda.device(self.device):
            self.engine = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR)).deserialize_cuda_engine(engine)
            if self.engine is None:
                raise ModelError(
                    f"'{file}' is damaged, or was built for another GPU or TensorRT than {tensorrt.__version__}: "
                    "export it on this machine."
                )
            self.context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        inputs = [self.engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT for name in names]
        self.input = names[inputs.index(True)]
        self.outputs = {
            name: torch.empty(tuple(self.engine.get_tensor_shape(name)), device=self.device)
            for name, is_input in zip(names, inputs)
            if not is_input
        }

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        with torch.cuda.device(self.device):
            image = x.to(self.device).contiguous()
            for name, tensor in {self.input: image, **self.outputs}.items():
                self.context.set_tensor_address(name, tensor.data_ptr())
            stream = torch.cuda.current_stream()
            done = self.context.execute_async_v3(stream.cuda_stream)
            stream.synchronize()
        if not done:
            raise ModelError("TensorRT could not run the engine.")
        return [y.to(x.device, copy=True) for y in self.outputs.values()]
