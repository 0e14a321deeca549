"""Time the designs of docs/ghost-design.md: `python docs/ghost_search.py [models|blocks] [rounds]`, in the root.

Takes onnx and onnxruntime or openvino. One thread, one picture, model after model within each round; what is printed
is the median over all rounds of the ratio to the first model, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package of this clone, installed or not

import numpy as np
import torch
from torch import nn

from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils.torch_utils import get_flops, get_num_params

# Changes of one thing each in yolo11n-ghost.yaml: {layer: its new line}.
DESIGNS: dict[str, dict[int, list]] = {
    "dense box branch (Detect)": {13: [[8, 10, 12], 1, "Detect", ["nc"]]},
    "stride 4: nothing after the dense 3x3": {1: [-1, 1, "Conv", [128, 3, 2]]},
    "stride 8: 96 channels, chain of 48": {2: [-1, 2, "GhostStage", [384, 0.5, 2]]},
    "stride 4: 48 channels": {1: [-1, 0, "GhostStage", [192, 1.0, 2]]},
    "stride 32: chain of 128": {4: [-1, 2, "GhostStage", [1024, 0.5, 2]]},
    "neck: dense down-sampling": {9: [-1, 1, "Conv", [256, 3, 2]], 11: [-1, 1, "Conv", [512, 3, 2]]},
    "neck: two pairs at stride 16, top-down": {7: [[-1, 3], 4, "GhostStage", [512, 0.5, 1, True]]},
}
BLOCKS = [(64, 64, 160), (128, 128, 80), (128, 256, 40)]  # input and output channels, side of the input


def changed(name: str) -> DetectionModel:
    """Build yolo11n-ghost with the lines of a design in it."""
    d = yaml_model_load("yolo11n-ghost.yaml")
    for i, line in DESIGNS[name].items():
        part, j = (d["backbone"], i) if i < len(d["backbone"]) else (d["head"], i - len(d["backbone"]))
        part[j] = line
    return DetectionModel(d, verbose=False)


def slim() -> DetectionModel:
    """Build YOLO11 with three quarters of the width of n."""
    d = yaml_model_load("yolo11n.yaml")
    d["scales"]["n"][1] = 0.1875
    return DetectionModel(d, verbose=False)


class Split(nn.Module):
    """A Ghost pair and the 1x1 convolution that reads it, as two convolutions that are added or of a concatenation."""

    def __init__(self, c1: int, c2: int, concat: bool):
        super().__init__()
        half = c2 // 2
        self.p, self.g = Conv(c1, half, 3, 2), Conv(half, half, 3, g=half)
        self.a = Conv(c2 if concat else half, c2, act=False)
        self.b = None if concat else Conv(half, c2, act=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = self.p(x)
        g = self.g(p)
        y = self.a(torch.cat((p, g), 1)) if self.b is None else self.a(p) + self.b(g)
        return nn.functional.silu(y)


def blocks(c1: int, c2: int) -> dict[str, nn.Module]:
    """Return ways to halve a map's sides, each followed by the 1x1 convolution that reads it."""
    return {
        "dense 3x3": nn.Sequential(Conv(c1, c2, 3, 2), Conv(c2, c2)),
        "Ghost pair, concatenated": Split(c1, c2, True),
        "Ghost pair, split": Split(c1, c2, False),
        "half as many channels": nn.Sequential(Conv(c1, c2 // 2, 3, 2), Conv(c2 // 2, c2)),
        "depthwise, then 1x1": nn.Sequential(Conv(c1, c1, 3, 2, g=c1), Conv(c1, c2), Conv(c2, c2)),
    }


class First(nn.Module):
    """The decoded predictions alone of a model that gives more."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.model(x)
        return y if isinstance(y, torch.Tensor) else y[0]


def fused(model: nn.Module) -> nn.Module:
    """Return a copy with the batch norms folded in."""
    model = deepcopy(model).eval()
    for m in [*model.modules()]:
        if callable(getattr(m, "fuse", None)) and not isinstance(m, DetectionModel):
            m.fuse()
    return model


def runners(files: list[str]) -> dict[str, list[Callable[[], object]]]:
    """Return, for each runtime that is installed, a function for each file that runs it once."""
    found = {}
    try:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        sessions = [ort.InferenceSession(f, options, providers=["CPUExecutionProvider"]) for f in files]
        inputs = [{"x": np.random.default_rng(0).random(s.get_inputs()[0].shape, dtype=np.float32)} for s in sessions]
        found[f"ONNX Runtime {ort.__version__}"] = [lambda s=s, x=x: s.run(None, x) for s, x in zip(sessions, inputs)]
    except ImportError:
        pass
    try:
        import openvino as ov

        how = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        requests = [ov.Core().compile_model(f, "CPU", how).create_infer_request() for f in files]
        tensors = [
            ov.Tensor(np.random.default_rng(0).random([*r.model_inputs[0].shape], dtype=np.float32)) for r in requests
        ]
        found[f"OpenVINO {ov.__version__.split('-')[0]}"] = [
            lambda r=r, x=x: r.infer({0: x}) for r, x in zip(requests, tensors)
        ]
    except ImportError:
        pass
    return found


def ratios(models: list[nn.Module], shapes: list[tuple[int, ...]], rounds: int) -> dict[str, list[float]]:
    """Return, for each runtime, each model's latency as a share of the first one's."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [str(Path(folder) / f"{i}.onnx") for i in range(len(models))]
        for model, shape, file in zip(models, shapes, files):
            x = torch.zeros(shape)
            torch.onnx.export(First(fused(model)), (x,), file, dynamo=False, opset_version=17, input_names=["x"])
        result = {}
        for name, runs in runners(files).items():
            times = np.zeros((rounds + 2, len(runs)))
            for row in times:
                for i, run in enumerate(runs):
                    start = perf_counter()
                    run()
                    row[i] = perf_counter() - start
            result[name] = np.median(times[2:] / times[2:, :1], 0).tolist()
        return result


def print_models(rounds: int) -> None:
    models = {n: DetectionModel(f"{n}.yaml", verbose=False) for n in ("yolo11n", "yolo11n-GhostConv")}
    models["yolo11 at width 0.1875"] = slim()
    models["yolo11n-ghost"] = DetectionModel("yolo11n-ghost.yaml", verbose=False)
    models |= {name: changed(name) for name in DESIGNS}
    found = ratios([*models.values()], [(1, 3, 640, 640)] * len(models), rounds)
    print(" | ".join(["| model", "parameters", "GFLOPs", "fused", *found]), "|")
    for i, (name, model) in enumerate(models.items()):
        costs = f"{get_num_params(model):,} | {get_flops(model):.2f} | {get_flops(fused(model)):.2f}"
        print(f"| {name} | {costs} | {' | '.join(f'{r[i]:.2f}' for r in found.values())} |", flush=True)


def print_blocks(rounds: int) -> None:
    for c1, c2, side in BLOCKS:
        rows = blocks(c1, c2)
        found = ratios([*rows.values()], [(1, c1, side, side)] * len(rows), rounds)
        print(" | ".join([f"| {c1} to {c2} channels, {side} to {side // 2} pixels", *found]), "|")
        for i, name in enumerate(rows):
            print(f"| {name} | {' | '.join(f'{r[i]:.2f}' for r in found.values())} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, rounds = (*sys.argv[1:3], *("models", "20")[len(sys.argv) - 1 :])
    {"models": print_models, "blocks": print_blocks}[what](int(rounds))
