"""TorchScript: a traced graph in one file, run by PyTorch or LibTorch."""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.job import HalfInside, Job, from_text, to_text
from ultralytics.nn.formats.nms import WithNMS
from ultralytics.nn.formats.scripts import METADATA, checked_script, trust
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError

FORMAT = Format(
    "torchscript", "TorchScript", ".torchscript", __name__,
    options=frozenset({"half", "nms"}), note="PyTorch and LibTorch without this package",
    threaded=False,
)  # fmt: skip


def write(job: Job) -> None:
    """Trace the model and write it; half is the precision of the weights, images stay float32."""
    whole = job.net if job.nms is None else WithNMS(job.net, job.nms)
    net = HalfInside(whole) if job.half else whole
    traced = torch.jit.trace(net, job.x, strict=False, check_trace=False)
    content = traced.save_to_buffer(_extra_files={METADATA[0]: to_text(job.metadata)})
    job.file.write_bytes(content)  # PyTorch's own writer crashes the process where the disk is full
    _warn_if_unusual(job.file)


def _warn_if_unusual(file: Path) -> None:
    """Warn of a new file that holds more than an untrusted one may, and trust it in this process."""
    try:
        checked_script(file)
    except ModelError as e:
        LOGGER.warning(f"WARNING: the new file opens with trust_modules=True only, as a module in it is unusual. {e}")
        trust(file)


class Runner:
    """Runs a TorchScript file by PyTorch."""

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        extra, content = dict.fromkeys(METADATA, ""), checked_script(file)
        try:
            self.net = torch.jit.load(content, map_location=device, _extra_files=extra).eval()
        except Exception as e:  # each part of PyTorch has its own
            raise ModelError(
                f"'{file}' is not a TorchScript file that can be read: it is damaged or of another kind."
            ) from e
        text = next((text for text in extra.values() if text), "")
        self.metadata = from_text(text.decode(errors="replace") if isinstance(text, bytes) else text, file)
        self.device = device

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.net(x.to(self.device))
        return [y] if isinstance(y, torch.Tensor) else [*y]
