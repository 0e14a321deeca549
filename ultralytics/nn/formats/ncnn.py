"""NCNN: a folder with a graph (.param), its weights (.bin) and metadata.json, for phones and small boards."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import torch

from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.folder import find_one, read_metadata, write_metadata
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import ConfigError, ModelError

FORMAT = Format(
    "ncnn", "NCNN", "_ncnn_model", __name__, ("pnnx", "ncnn"), ("ncnn",),
    frozenset({"half"}), "phones and small ARM boards",
)  # fmt: skip

MAGIC = b"7767517\n"  # first line of a .param file


def write(job: Job) -> None:
    """Write the folder by pnnx, from TorchScript; ncnn has no batches, so images are run one by one."""
    import pnnx

    job.file.mkdir()
    x = job.x[:1]
    traced = job.file / "traced.pt"
    traced.write_bytes(torch.jit.trace(job.net, x, strict=False, check_trace=False).save_to_buffer())
    shape = f"[{','.join(map(str, x.shape))}]"
    options = {"inputshape": shape, "fp16": int(job.half), "ncnnparam": "model.ncnn.param", "ncnnbin": "model.ncnn.bin"}
    done = subprocess.run(
        [pnnx.EXEC_PATH, traced.name, *(f"{key}={value}" for key, value in options.items())],
        cwd=job.file, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    for file in job.file.iterdir():
        if ".ncnn." not in file.name:
            file.unlink()
    param = job.file / "model.ncnn.param"
    if done.returncode or not param.is_file():
        raise ModelError(f"pnnx cannot convert the model: {' '.join(done.stderr.split())[-300:]}")
    kinds = dict.fromkeys(line.split()[0] for line in param.read_text(encoding="utf-8").splitlines()[2:])
    unknown = [kind for kind in kinds if not kind.isalnum()]  # operators that pnnx left as they were: pnnx.x, aten::x
    if unknown:
        raise ModelError(f"ncnn has no layers for {', '.join(unknown)}.")
    write_metadata(job.file, job.metadata)


class Runner:
    """Runs an NCNN folder, in half precision if it was written so.

    Args:
        file: the folder.
        device: 'cpu'.
        threads: of one run; 0 leaves it to ncnn.
        providers: 'vulkan' for a GPU with a Vulkan driver.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        import ncnn

        folder = Path(file)
        param, weights = find_one(folder, "*.param", "NCNN"), find_one(folder, "*.bin", "NCNN")
        self.metadata = read_metadata(folder)
        if not param.read_bytes().startswith(MAGIC):
            raise ModelError(f"'{param}' is not an NCNN graph: it is damaged or of another kind.")
        if providers not in {"", "cpu", "vulkan"}:
            raise ConfigError(f"providers='{providers}' is not known to NCNN. Choose cpu or vulkan.")
        self.net = ncnn.Net()
        options = self.net.opt
        options.use_vulkan_compute = providers == "vulkan"
        for key in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(options, key, bool(self.metadata.get("half")) and "fp16" in key)
        if threads:
            options.num_threads = threads
        if self.net.load_param(str(param)) or self.net.load_model(str(weights)):
            raise ModelError(f"'{file}' is not an NCNN model that can be read: it is damaged or of another kind.")
        self.inputs, self.outputs = self.net.input_names(), sorted(self.net.output_names())
        self.ncnn = ncnn

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        rows = [self._run(np.ascontiguousarray(each)) for each in x.cpu().numpy()]
        return [torch.from_numpy(np.stack(ys)) for ys in zip(*rows)]

    def _run(self, x: np.ndarray) -> list[np.ndarray]:
        """Run one image (c, h, w)."""
        extractor = self.net.create_extractor()
        extractor.input(self.inputs[0], self.ncnn.Mat(x))
        return [np.array(extractor.extract(name)[1]) for name in self.outputs]
