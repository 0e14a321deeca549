"""ExecuTorch: one program, run by a small runtime on phones and boards; its convolutions by XNNPACK.

The programs of `torch.export.save` (.pt2) are not supported: opening one may run code that it holds.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ultralytics.nn.formats.attached import attach, read_attached
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.job import Job
from ultralytics.utils.errors import ModelError

FORMAT = Format(
    "executorch", "ExecuTorch", ".pte", __name__, ("executorch",), ("executorch",),
    frozenset(), "phones and boards, with PyTorch's own runtime",
    threaded=False,
)  # fmt: skip


def write(job: Job) -> None:
    """Write the program: XNNPACK takes the operators that it knows, portable kernels the rest."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(job.net, (job.x,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    job.file.write_bytes(lowered.buffer)
    attach(job.file, job.metadata)


class Runner:
    """Runs an ExecuTorch program on the CPU, with as many threads as it chooses.

    Args:
        file: to run.
        device: 'cpu'.
        threads, providers: not used.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        payload, self.metadata = read_attached(file, "ExecuTorch")
        from executorch.runtime import Runtime

        try:
            self.program = Runtime.get().load_program(payload)
            self.method = self.program.load_method("forward")
        except RuntimeError as e:
            raise ModelError(f"'{file}' is not a program that this ExecuTorch can run: export it again.") from e

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [y.float() for y in self.method.execute([x.cpu().contiguous()])]
