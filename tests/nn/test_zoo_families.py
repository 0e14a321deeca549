"""The YOLO families beside YOLO11: layers, sizes, outputs and loss equal to those of 8.3.0."""

import json
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zoo
from family_names import NAMES, SINGLE, SMALLEST
from module_cases import MODES, flat, samples

from fill import fill, image
from ultralytics.nn.parse import build_layers, yaml_model_load
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils.torch_utils import get_flops, get_num_params

REFERENCE = Path(__file__).parents[1] / "reference"
FIGURES = json.loads((REFERENCE / "families.json").read_text())
FORWARD = np.load(REFERENCE / "families_forward.npz")
QUICK = {("yolov10n", mode) for mode in MODES} | {("yolov9t", "fused"), ("yolov5n", "eval"), ("yolov8n-p6", "eval")}


def crc(value):
    return zlib.crc32(json.dumps(value).encode())


def entries(state, prefix=""):
    return [[f"{prefix}{name}", [*t.shape], str(t.dtype)] for name, t in state.items()]


def build(name: str) -> BaseModel:
    """Build a model as 8.3.0 does, where all YAMLs give the class branch of YOLO11."""
    return zoo.build(name, {"legacy": False})


def slow_if(condition, *values):
    return pytest.param(*values, marks=pytest.mark.slow if condition else ())


SOME = [slow_if(name not in SINGLE and name[6] != "n", name) for name in NAMES]


@pytest.mark.parametrize("name", SOME)
def test_layers_and_weights_equal_the_reference(name):
    with torch.device("meta"):  # shapes without values
        layers, save = build_layers({**yaml_model_load(f"{name}.yaml"), "legacy": False}, 3, verbose=False)
    figures = FIGURES[name]
    assert crc([[m.i, m.f, m.type.split(".")[-1], m.np] for m in layers]) == figures["table_crc32"]
    assert crc(entries(layers.state_dict(), "model.")) == figures["state_dict_crc32"]
    assert save == sorted({*figures["save"]})  # there an index is named once for each reader
    assert get_num_params(layers) == figures["params"]


@pytest.mark.parametrize("name", [slow_if(n != "yolov10n", n) for n in NAMES])
def test_cost_equals_the_reference_before_and_after_fusing(name):
    model, figures = build(name), FIGURES[name]
    assert model.stride.tolist() == figures["stride"]
    assert len([*model.modules()]) == figures["layers"]
    assert get_flops(model, 640) == pytest.approx(figures["gflops_640"], rel=0.03)  # batch norms count there
    model.fuse(verbose=False)
    assert get_num_params(model) == figures["fused_params"]
    assert len([*model.modules()]) == figures["fused_layers"]
    assert crc(entries(model.state_dict())) == figures["fused_state_dict_crc32"]
    assert get_flops(model, 640) == pytest.approx(figures["fused_gflops_640"], rel=0.015)


@pytest.mark.parametrize(
    ("name", "mode"), [slow_if((n, mode) not in QUICK, n, mode) for n in SMALLEST for mode in MODES]
)
def test_outputs_equal_the_reference(name, mode):
    model, share = fill(build(name)).train(mode == "train"), 3e-4 if mode == "train" else 1e-4
    if mode == "fused":
        model.fuse(verbose=False)
    with torch.no_grad():
        outputs = flat(model(image(2, 128, 64)))
    kinds = {"": samples(outputs, 96)} | ({"/rows": outputs[0].numpy()} if f"{name}/{mode}/rows" in FORWARD else {})
    for kind, values in kinds.items():
        wanted = FORWARD[f"{name}/{mode}{kind}"]
        np.testing.assert_allclose(values, wanted, atol=share * np.abs(wanted).max(), rtol=0)


def test_loss_without_nms_equals_the_reference():
    model = fill(build("yolov10n")).train()
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    with np.load(REFERENCE / "loss_targets.npz") as data:
        batch = {k.split("/")[1]: torch.from_numpy(data[k]) for k in data if k.startswith("detect/")}
    loss, items = model({**batch, "img": image(3, 128, 96, seed=3)})
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    wanted = FIGURES["yolov10n"]["loss"]
    assert loss.item() == pytest.approx(wanted["loss"], rel=1e-4)
    assert items.tolist() == pytest.approx(wanted["items"], rel=1e-4)
    assert norm.item() == pytest.approx(wanted["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("yolov3-tiny", 12.1),
        ("yolov5s", 9.1),
        ("yolov9m", 20.1),
        ("yolov9c", 25.5),
    ],
)
def test_sizes_are_the_published_ones(name, millions):
    """Published weights have YOLOv8's class branch, as the YAMLs have here; those of 8.3.0 have YOLO11's."""
    with torch.device("meta"):
        layers, _ = build_layers(yaml_model_load(f"{name}.yaml"), 3, verbose=False)
    assert get_num_params(layers) / 1e6 == pytest.approx(millions, rel=0.02)
