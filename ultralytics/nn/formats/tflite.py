"""TensorFlow Lite: one file that takes images as (batch, height, width, channels), written without TensorFlow."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch

from ultralytics.nn.formats.attached import attach, read_attached
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import ModelError

FORMAT = Format(
    "tflite", "TensorFlow Lite", ".tflite", __name__, ("litert-torch",), ("ai-edge-litert",),
    frozenset({"half", "int8"}), "Android, iOS and small boards",
)  # fmt: skip

SIGNATURE = "serving_default"


def write(job: Job) -> None:
    """Write the file by litert-torch; half and int8 by ai-edge-quantizer, int8 calibrated on the user's images."""
    import litert_torch

    net = litert_torch.to_channel_last_io(job.net, args=[0]).eval()
    litert_torch.convert(net, (job.x.permute(0, 2, 3, 1).contiguous(),)).export(str(job.file))
    if job.half or job.int8:
        _quantize(job)
    attach(job.file, job.metadata)


def _quantize(job: Job) -> None:
    """Replace the file by one of lower precision: 16-bit weights, or 8 bits for all but the decoding of boxes."""
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    work, every = quantizer.Quantizer(str(job.file)), qtyping.TFLOperationName.ALL_SUPPORTED
    if job.half:
        weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        config = qtyping.OpQuantizationConfig(weight_tensor_config=weights, explicit_dequantize=True)
        work.update_quantization_recipe(".*", every, config, AlgorithmName.FLOAT_CASTING)
    else:
        head = job.head  # operators are named after their modules, with a number behind
        work.add_static_config(".*", every, activation_num_bits=8, weight_num_bits=8)
        for kept in (rf"head[.]\w+_{head}(;|$)|_dfl(;|/|$)", "^serving_default"):
            work.update_quantization_recipe(kept, every, algorithm_key=AlgorithmName.NO_QUANTIZE)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        seen = work.calibrate({SIGNATURE: _samples(job)}, num_threads=1) if job.int8 else None
        job.file.write_bytes(work.quantize(seen).quantized_model)


def _samples(job: Job) -> list[dict[str, np.ndarray]]:
    """Return the user's images as the file takes them."""
    batch = len(job.x)
    assert job.images is not None  # the exporter gives them with int8
    return [{"args_0": np.repeat(each[:1].transpose(0, 2, 3, 1), batch, 0)} for each in job.images()]


class Runner:
    """Runs a TensorFlow Lite file by LiteRT.

    Args:
        file: to run.
        device: 'cpu'.
        threads: of one run; 0 leaves it to LiteRT.
        providers: not used.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        payload, self.metadata = read_attached(file, "TensorFlow Lite")
        from ai_edge_litert.interpreter import Interpreter

        try:
            self.net = Interpreter(model_content=payload, num_threads=threads or None)
            self.net.allocate_tensors()
        except (RuntimeError, ValueError) as e:
            raise ModelError(f"'{file}' is not a TensorFlow Lite file that LiteRT can run: export it again.") from e
        self.run = self.net.get_signature_runner(SIGNATURE)
        self.input = next(iter(self.run.get_input_details()))
        self.outputs = sorted(self.run.get_output_details())

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.run(**{self.input: np.ascontiguousarray(x.cpu().permute(0, 2, 3, 1).numpy())})
        return [torch.from_numpy(np.array(y[name])) for name in self.outputs]
