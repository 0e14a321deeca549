"""MNN: one file, for phones and small boards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from ultralytics.nn.formats import onnx
from ultralytics.nn.formats.attached import attach, read_attached
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import ConfigError, ModelError

FORMAT = Format(
    "mnn", "MNN", ".mnn", __name__, ("MNN", "onnx", "onnxscript"), ("MNN",),
    frozenset({"half", "int8", "opset", "simplify"}), "phones and small boards",
)  # fmt: skip

# The converter without the command around it (MNN.tools), which installs a package and reports to a server
CONVERT = "import sys, MNN, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
BACKENDS = ("CPU", "OPENCL", "VULKAN", "METAL", "CUDA", "NN")


def write(job: Job) -> None:
    """Write the file by way of ONNX; half and int8 are the precision of the weights, it computes in float32."""
    source = job.file.with_name("model.onnx")
    onnx.write(Job(job.net, job.x, source, job.metadata, opset=job.opset, simplify=job.simplify))
    options = [*(["--fp16"] if job.half else []), *(["--weightQuantBits", "8"] if job.int8 else [])]
    files = ["--modelFile", source.name, "--MNNModel", job.file.name]
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, "-f", "ONNX", *files, *options],
        cwd=job.file.parent, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode or not job.file.is_file():
        raise ModelError(f"MNN cannot convert the model: {' '.join((done.stderr + done.stdout).split())[-300:]}")
    attach(job.file, job.metadata)


class Runner:
    """Runs an MNN file in float32.

    Args:
        file: to run.
        device: 'cpu'.
        threads: of one run; 0 takes one for each core.
        providers: an MNN backend instead of CPU, such as OPENCL or VULKAN.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        _, self.metadata = read_attached(file, "MNN")
        import MNN

        backend = providers.upper() or "CPU"
        if backend not in BACKENDS:
            raise ConfigError(f"providers='{providers}' is not known to MNN. Choose {', '.join(BACKENDS)}.")
        options = {"backend": backend, "precision": "high", "numThread": threads or os.cpu_count() or 1}
        self.manager = MNN.nn.create_runtime_manager((options,))
        self.net = MNN.nn.load_module_from_file(str(file), [], [], runtime_manager=self.manager, rearrange=True)
        if self.net is None:
            raise ModelError(f"'{file}' is not an MNN file that can be read: it is damaged or of another kind.")
        self.mnn = MNN

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        image = np.ascontiguousarray(x.cpu().numpy())
        y = self.net.onForward([self.mnn.expr.const(image, list(image.shape), self.mnn.expr.NCHW)])
        return [torch.from_numpy(np.array(each.read())) for each in y]
