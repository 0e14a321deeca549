"""ONNX for Rockchip NPUs: a folder with a graph that ends at the head's raw maps, and metadata.json.

An NPU computes in 8 bits, into which pixels do not fit, so the graph ends before the boxes are decoded; the caller does
that. For each map, finest first, it gives `box` (b, 64, h, w), the logits of the distances to left, top, right and
bottom, 16 bins each; `cls` (b, nc, h, w), probabilities; and where the task has more, `more` (b, n, h, w): mask
coefficients, raw keypoints or the logits of the angle. A segmenter's prototypes `proto` come last.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from ultralytics.nn.formats import onnx
from ultralytics.nn.formats.base import Format
from ultralytics.nn.formats.facts import Metadata
from ultralytics.nn.formats.folder import find_one, read_metadata, write_metadata
from ultralytics.nn.formats.job import Exportable, Job
from ultralytics.nn.modules import DFL, Detect, Segment
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
    """A head up to its last convolutions, map by map."""

    def __init__(self, head: Detect):
        super().__init__()
        self.head, self.f, self.i, self.span = head, head.f, head.i, head.span
        self.branches: dict[str, nn.ModuleList] = {
            "box": head.one2one_cv2 or head.cv2,
            "cls": head.one2one_cv3 or head.cv3,
        }
        if isinstance(more := getattr(head, "cv4", None), nn.ModuleList):
            self.branches["more"] = more
        names = [f"{kind}{level}" for level in range(head.nl) for kind in self.branches]
        self.outputs = [*names, *(["proto"] if isinstance(head, Segment) else [])]

    def forward(self, x: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        y = []
        for level, features in enumerate(x):
            for kind, branch in self.branches.items():
                raw = branch[level](features)
                y.append(raw.sigmoid() if kind == "cls" else raw)
        return (*y, self.head.proto(x[0])) if isinstance(self.head, Segment) else tuple(y)


class Raw(Exportable):
    """A model whose head, replaced in place, is a `RawHead`."""

    def __init__(self, net: Exportable):
        super().__init__()
        self.model, self.outputs = net.get_submodule("model"), net.outputs
        layers = net.get_submodule("model.model")
        if isinstance(layers, nn.Sequential) and isinstance(head := layers[-1], Detect):
            layers[-1] = raw = RawHead(head)
            self.outputs = raw.outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        return self.model(x)


def write(job: Job) -> None:
    """Write the folder, and log how to convert it for an NPU."""
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
    """Runs the folder by ONNX Runtime on this machine, and decodes its outputs.

    Args: as for `onnx.Runner`; `file` is the folder.
    """

    def __init__(self, file: str | Path, device: torch.device | str = "cpu", threads: int = 0, providers: str = ""):
        graph = find_one(Path(file), "*.onnx", "RKNN")
        self.metadata = read_metadata(Path(file))
        self.run = onnx.Runner(graph, device, threads, providers)
        self.names = [output.name for output in self.run.session.get_outputs()]

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        y = self.run(x)
        if self.metadata["task"] == "classify":
            return y
        return decode(dict(zip(self.names, y)), x.shape[-1], self.metadata)


@torch.no_grad()
def decode(raw: dict[str, torch.Tensor], width: int, metadata: Metadata) -> list[torch.Tensor]:
    """Turn raw maps into the model's outputs: its predictions, and prototypes if any.

    Args:
        raw: maps by their names.
        width: of the images, pixels.
        metadata: of the file.
    """
    box = [raw[f"box{i}"] for i in range(sum(name.startswith("box") for name in raw))]
    points, strides = (part.T for part in make_anchors(box, [width / each.shape[-1] for each in box]))
    distances, scores = DFL(BINS)(_rows(raw, "box")), _rows(raw, "cls")
    more = [_rows(raw, "more")] if "more0" in raw else []
    task, kpt_shape = metadata["task"], metadata["kpt_shape"]
    if task == "obb":
        more = [(more[0].sigmoid() - 0.25) * math.pi]
        boxes = dist2rbox(distances, more[0], points[None], dim=1)
    else:
        boxes = dist2bbox(distances, points[None], xywh=not metadata.get("end2end"), dim=1)
    if task == "pose" and kpt_shape:
        y = more[0].unflatten(1, tuple(kpt_shape))
        more = [torch.cat(((y[:, :, :2] * 2 + (points - 0.5)) * strides, y[:, :, 2:].sigmoid()), 2).flatten(1, 2)]
    y = torch.cat([boxes * strides, scores, *more], 1)
    if metadata.get("end2end"):
        y = Detect.postprocess(y.transpose(1, 2), Detect.max_det, scores.shape[1])
    return [y, *([raw["proto"]] if "proto" in raw else [])]


def _rows(raw: dict[str, torch.Tensor], kind: str) -> torch.Tensor:
    """Return the maps of a kind side by side (b, channels, positions)."""
    return torch.cat([raw[name].flatten(2) for name in raw if name.startswith(kind)], 2)
