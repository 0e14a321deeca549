"""TorchScript: a traced graph in one file, run by PyTorch or LibTorch."""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics.nn.formats.job import HalfInside, Job, from_text, to_text
from ultralytics.nn.formats.nms import WithNMS
from ultralytics.nn.formats.scripts import checked_script
from ultralytics.utils.errors import ModelError

METADATA = "metadata.json"  # name of the extra file inside


def write(job: Job) -> None:
    """Trace the model and write it; half precision is that of the weights, pictures stay float32."""
    net = job.net if job.nms is None else WithNMS(job.net, job.nms)
    net = HalfInside(net) if job.half else net
    traced = torch.jit.trace(net, job.x, strict=False, check_trace=False)
    content = traced.save_to_buffer(_extra_files={METADATA: to_text(job.metadata)})
    job.file.write_bytes(content)  # PyTorch's own writing to a full disk ends the process


class Runner:
    """Runs a TorchScript file."""

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        extra, content = {METADATA: ""}, checked_script(file)
        try:
            self.net = torch.jit.load(content, map_location=device, _extra_files=extra).eval()
        except (RuntimeError, ValueError, OSError) as e:
            raise ModelError(f"'{file}' is no TorchScript file that can be read: damaged, or of another kind.") from e
        text = extra[METADATA]
        self.metadata = from_text(text.decode(errors="replace") if isinstance(text, bytes) else text, file)
        self.device = device

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.net(x.to(self.device))
        return [y] if isinstance(y, torch.Tensor) else [*y]
