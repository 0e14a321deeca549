"""ONNX for Rockchip NPUs: a folder with a graph that ends at the head's raw maps, and metadata.json.

An NPU computes in 8 bits, into which pixels do not fit; so the graph ends before the boxes are decoded, and whoever
runs it decodes them. Of each map, finest first, it gives `box` (b, 64, h, w), the logits of the distances to left, top,
right and bottom, 16 bins each; `cls` (b, nc, h, w), probabilities; and where the task has more, `more` (b, n, h, w):
mask coefficients, raw key points or the logits of the angle. A segmenter's prototypes `proto` come last.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from ultralytics.nn.formats import onnx
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.folder import find_one, read_metadata, write_metadata
from ultralytics.nn.formats.job import Job
from ultralytics.nn.modules import DFL, Detect
from ultralytics.utils import LOGGER
from ultralytics.utils.checks import installed_version
from ultralytics.utils.tal import dist2bbox, dist2rbox, make_anchors

FORMAT = Format(
    "rknn", "RKNN-ready ONNX", "_rknn_model", __name__, ("onnx", "onnxscript"), ("onnxruntime",),
    frozenset({"opset", "simplify"}), "Rockchip NPUs, via rknn-toolkit2",
)  # fmt: skip

OPSETS = range(12, 20)  # that rknn-toolkit2 reads
BINS = 16


class RawHead(nn.Module):
    """What a head computes up to its last convolutions, map by map."""

    def __init__(self, head: Detect):
        super().__init__()
        self.head, self.f, self.i, self.span = head, head.f, head.i, head.span
        self.branches = {"box": head.cv2, "cls": head.cv3, **({"more": head.cv4} if hasattr(head, "cv4") else {})}
        names = [f"{kind}{level}" for level in range(head.nl) for kind in self.branches]
        self.outputs = [*names, *(["proto"] if hasattr(head, "proto") else [])]

    def forward(self, x: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        y = []
        for level, features in enumerate(x):
            for kind, branch in self.branches.items():
                raw = branch[level](features)
                y.append(raw.sigmoid() if kind == "cls" else raw)
        return (*y, self.head.proto(x[0])) if "proto" in self.outputs else tuple(y)


class Raw(nn.Module):
    """A model that ends with a `RawHead`; the model that is given is spoilt."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.model, self.outputs = net.model, net.outputs
        if isinstance(net.model.model[-1], Detect):
            net.model.model[-1] = RawHead(net.model.model[-1])
            self.outputs = net.model.model[-1].outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        return self.model(x)


def write(job: Job) -> None:
    """Write the folder, and say how to go on from it."""
    opset = onnx.checked_opset(job.opset, OPSETS, "rknn-toolkit2 reads")
    job.file.mkdir()
    onnx.write(Job(Raw(job.net), job.x, job.file / "model.onnx", job.metadata, opset=opset, simplify=job.simplify))
    write_metadata(job.file, job.metadata)
    version = installed_version("rknn-toolkit2")
    toolkit = f"rknn-toolkit2 {version}" if version else "rknn-toolkit2 (pip install rknn-toolkit2, on Linux)"
    LOGGER.info(
        f"For the NPU, convert its model.onnx by {toolkit}: config(mean_values=[[0, 0, 0]], "
        "std_values=[[255, 255, 255]], target_platform='rk3588'), load_onnx, build, export_rknn."
    )


class Runner:
    """Runs the folder by ONNX Runtime on this machine, and decodes what it gives.

    Args: as those of `onnx.Runner`; file is the folder.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        graph = find_one(Path(file), "*.onnx", "RKNN")
        self.metadata = read_metadata(Path(file))
        self.run = onnx.Runner(graph, device, threads, providers)
        self.names = [output.name for output in self.run.session.get_outputs()]

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.run(x)
        return (
            y if self.metadata["task"] == "classify" else decode(dict(zip(self.names, y)), x.shape[-1], self.metadata)
        )


@torch.no_grad()
def decode(raw: dict[str, torch.Tensor], width: int, metadata: dict) -> list[torch.Tensor]:
    """Return from raw maps what the model gives: predictions (b, 4 + nc + extra, positions), and prototypes if any.

    Args:
        raw: maps by their names.
        width: of the images, pixels.
        metadata: of the file.
    """
    box = [raw[f"box{i}"] for i in range(sum(name.startswith("box") for name in raw))]
    points, strides = (part.T for part in make_anchors(box, [width / each.shape[-1] for each in box]))
    distances, scores, more = (_rows(raw, kind) for kind in ("box", "cls", "more"))
    distances = DFL(BINS)(distances)
    task = metadata["task"]
    if task == "obb":
        more = (more.sigmoid() - 0.25) * math.pi
        boxes = dist2rbox(distances, more, points[None], dim=1)
    else:
        boxes = dist2bbox(distances, points[None], dim=1)
    if task == "pose":
        y = more.unflatten(1, tuple(metadata["kpt_shape"]))
        more = torch.cat(((y[:, :, :2] * 2 + (points - 0.5)) * strides, y[:, :, 2:].sigmoid()), 2).flatten(1, 2)
    parts = [boxes * strides, scores, *([more] if more is not None else [])]
    return [torch.cat(parts, 1), *([raw["proto"]] if "proto" in raw else [])]


def _rows(raw: dict[str, torch.Tensor], kind: str) -> torch.Tensor | None:
    """Return the maps of a kind side by side (b, channels, positions), or None if there are none."""
    maps = [raw[name].flatten(2) for name in raw if name.startswith(kind)]
    return torch.cat(maps, 2) if maps else None
