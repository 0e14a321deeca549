"""What a model costs: parameters, GFLOPs before and after fusing, and the size of its weight file.

`python -m ultralytics.lab.profile yolo11n.yaml yolo11n-GhostConv.yaml` prints a Markdown table of models at 80 classes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ultralytics.nn.checkpoint import save_checkpoint
from ultralytics.nn.tasks import DetectionModel, describe
from ultralytics.utils.files import file_size
from ultralytics.utils.torch_utils import get_flops, get_num_params


@dataclass(frozen=True)
class Cost:
    """Figures of one model at one picture size."""

    params: int
    params_fused: int
    gflops: float
    gflops_fused: float
    size_mb: float  # of the weight file as it is after training, in half precision where that is exact


def cost_of(model: nn.Module, imgsz: int = 640, weights: str | Path | None = None) -> Cost:
    """Return the cost of a model that is not fused; without a weight file one is written, weighed and removed."""
    model = deepcopy(model).cpu().float().eval()
    params, gflops = get_num_params(model), get_flops(model, imgsz)
    size = file_size(weights) if weights else _weigh(model)
    model.fuse(verbose=False)
    return Cost(params, get_num_params(model), gflops, get_flops(model, imgsz), size)


def _weigh(model: nn.Module) -> float:
    """Return the megabytes of the model's weight file in half precision."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        save_checkpoint(file, {**describe(deepcopy(model).half()), "args": {}})
        return file_size(file)


def lightening_table(first: tuple[str, Cost], second: tuple[str, Cost], nc: int, imgsz: int = 640) -> str:
    """Return a table of two models side by side, and what the second one saves."""
    (name1, a), (name2, b) = first, second
    rows = [
        ("parameters", f"{a.params:,}", f"{b.params:,}", a.params, b.params),
        ("parameters, fused", f"{a.params_fused:,}", f"{b.params_fused:,}", a.params_fused, b.params_fused),
        (f"GFLOPs at {imgsz}", f"{a.gflops:.2f}", f"{b.gflops:.2f}", a.gflops, b.gflops),
        (f"GFLOPs at {imgsz}, fused", f"{a.gflops_fused:.2f}", f"{b.gflops_fused:.2f}", a.gflops_fused, b.gflops_fused),
        ("weight file, MB", f"{a.size_mb:.2f}", f"{b.size_mb:.2f}", a.size_mb, b.size_mb),
    ]
    wide = max(len(name1), len(name2), 12) + 2
    head = f"{f'nc={nc}':<24}{name1:>{wide}}{name2:>{wide}}{'change':>10}"
    lines = [f"{what:<24}{x:>{wide}}{y:>{wide}}{(v - u) / u:>+10.1%}" for what, x, y, u, v in rows]
    return "\n".join([head, "-" * len(head), *lines])


def markdown_table(models: Sequence[str], nc: int = 80, imgsz: int = 640) -> str:
    """Return a Markdown table of what model YAMLs cost, each compared with the first."""
    costs = [cost_of(DetectionModel(name, nc=nc, verbose=False), imgsz) for name in models]
    lines = [
        f"| model (nc={nc}, {imgsz} pixels) | parameters | fused | GFLOPs | fused | weight file |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, c in zip(models, costs):
        share = f" ({(c.params - costs[0].params) / costs[0].params:+.0%})" if c is not costs[0] else ""
        less = f" ({(c.gflops - costs[0].gflops) / costs[0].gflops:+.0%})" if c is not costs[0] else ""
        lines.append(
            f"| {Path(name).stem} | {c.params:,}{share} | {c.params_fused:,} | {c.gflops:.2f}{less} "
            f"| {c.gflops_fused:.2f} | {c.size_mb:.1f} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table(sys.argv[1:] or ["yolo11n.yaml", "yolo11n-GhostConv.yaml"]))
