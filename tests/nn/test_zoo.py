"""Every model of the zoo has the layers, sizes and weights of 8.3.0, or those that were published."""

import json
import zlib
from pathlib import Path

import pytest
import torch
import zoo

from ultralytics.cfg import get_cfg, model_yamls
from ultralytics.engine.training.autobatch import trial_batch
from ultralytics.nn.ghostnet import GhostNetV1, GhostNetV2, GhostNetV3
from ultralytics.nn.modules import Conv, DWConv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import get_flops, get_num_params, single_values

ZOO = json.loads((Path(__file__).parents[1] / "reference" / "zoo.json").read_text())


def build(key):
    name, _, nc = key.partition("@nc=")
    return zoo.build(name, nc=int(nc) if nc else None)


def is_large(key: str) -> bool:
    """Whether a smaller scale of the same YAML says the same of a model of seconds."""
    return key[6] in "lx" and key not in {"yolo11l.yaml", "yolo11x.yaml"}


@pytest.mark.parametrize("key", [pytest.param(k, marks=[pytest.mark.slow] * is_large(k)) for k in ZOO])
def test_model_equals_reference(key):
    model, figures = build(key), ZOO[key]
    state = model.state_dict()
    assert model.names == {i: str(i) for i in range(len(model.names))}
    entries = [[name, [*t.shape], str(t.dtype)] for name, t in state.items()]
    table = [{"i": m.i, "f": m.f, "type": m.type.split(".")[-1], "params": m.np} for m in model.model]
    assert table == figures["table"]
    assert zlib.crc32(json.dumps(entries).encode()) == figures["state_dict_crc32"]
    assert len(state) == figures["state_dict_entries"]
    assert model.save == figures["save"]
    assert model.stride.tolist() == figures["stride"]
    assert get_num_params(model) == figures["params"]
    assert len([*model.modules()]) == figures["layers"]


COSTED = [k for k in ZOO if k[6] == "n" or (k[6] == "s" and "GhostConv" in k)]
COSTED += [
    pytest.param(k, marks=pytest.mark.slow) for k in ZOO if k[6] == "s" or k in {f"yolo11{s}.yaml" for s in "mlx"}
]


@pytest.mark.parametrize("key", COSTED)
def test_cost_equals_reference_before_and_after_fusing(key):
    model, figures = build(key), ZOO[key]
    unfused = 0.05 if "-cls" in key else 0.02  # batch norms count there, and a classifier has little beside them
    assert get_flops(model, 640) == pytest.approx(figures["gflops_640"], rel=unfused)
    model.fuse(verbose=False)
    assert get_flops(model, 640) == pytest.approx(figures["fused_gflops_640"], rel=0.015)
    assert get_num_params(model) == figures["fused_params"]
    assert len([*model.modules()]) == figures["fused_layers"]


def test_ghost_conv_with_one_class():
    assert (
        ZOO["yolo11n-GhostConv.yaml@nc=1"]["params"] == get_num_params(build("yolo11n-GhostConv.yaml@nc=1")) == 2264339
    )
    assert get_num_params(build("yolo11n.yaml@nc=1")) == 2590035


@pytest.mark.parametrize(
    ("name", "params", "gflops", "strides"),
    [
        ("yolov8n", 3157200, 8.9, [8, 16, 32]),
        ("yolov8n-ghost", 1865316, 5.8, [8, 16, 32]),
        pytest.param("yolov8s-ghost", 5960072, 16.4, [8, 16, 32], marks=pytest.mark.slow),
        pytest.param("yolov8n-ghost-p2", 2033944, 13.8, [4, 8, 16, 32], marks=pytest.mark.slow),
        ("yolov8n-ghost-p6", 2901100, 5.8, [8, 16, 32, 64]),
        ("yolov8n-seg", 3409968, None, [8, 16, 32]),
        ("yolov8n-pose", 3295470, 9.2, [8, 16, 32]),
        ("yolov8n-cls", 2719288, None, [1]),
    ],
)
def test_yolov8_has_the_published_size(name, params, gflops, strides):
    model = zoo.build(name)
    assert get_num_params(model) == params
    assert gflops is None or get_flops(model, 640) == pytest.approx(gflops, rel=0.02)  # batch norms count there
    assert model.stride.tolist() == strides


FAMILIES = (
    "yolov3",
    "yolov5",
    "yolov6",
    "yolov9",
    "yolov10s",
    "yolov10m",
    "yolov10b",
    "yolov10l",
    "yolov10x",
    "yolov8-cls-",
)
HEAVY = tuple(f"yolo11-ghostnetv{v}-{task}" for v in (2, 3) for task in ("obb", "pose", "seg"))
YAMLS = [pytest.param(k, marks=pytest.mark.slow) if k.startswith(FAMILIES + HEAVY) else k for k in model_yamls()]


@pytest.mark.parametrize("key", YAMLS)
def test_every_yaml_builds_and_runs(key):
    model = zoo.build(key, nc=3).eval()
    with torch.no_grad():
        y = model(torch.zeros(1, 3, 64, 64))
    assert (y if model.task == "classify" else y[0]).isfinite().all()


def test_head_of_yolov8_is_plain_and_of_yolo11_depthwise():
    plain, light = (zoo.build(name, nc=2).model[-1].cv3[0][0] for name in ("yolov8n-obb", "yolo11n-GhostNetV1-obb"))
    assert type(plain) is Conv
    assert [type(m) for m in light] == [DWConv, Conv]


@pytest.mark.parametrize(
    ("version", "width", "letter"), [(1, 0.5, "n"), (1, 1.0, "s"), (2, 1.0, "s"), (2, 1.6, "l"), (3, 0.5, "n")]
)
def test_ghostnet_yaml_is_the_published_network(version, width, letter):
    model = zoo.build(f"ghostnetv{version}{letter}-cls", nc=1000)
    official = (GhostNetV1, GhostNetV2, GhostNetV3)[version - 1](width)
    names = {k.removeprefix("model.0."): v.shape for k, v in model.state_dict().items()}
    assert names == {k: v.shape for k, v in official.state_dict().items()}
    assert model.task == "classify"
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-5}
    assert model.train()(torch.zeros(2, 3, 32, 32)).shape == (2, 1000)
    assert model.eval()(torch.zeros(2, 3, 32, 32)).sum(1).tolist() == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_ghostnet_backbone_feeds_the_yolo11_head(version):
    model = DetectionModel(f"yolo11n-GhostNetV{version}.yaml", nc=3, verbose=False)
    assert model.stride.tolist() == [8, 16, 32]
    backbone, head = model.model[0], model.model[-1]
    assert (backbone.i, backbone.span, backbone.out_channels) == (0, 5, [16, 24, 40, 112, 160])
    assert (head.i, head.f) == (19, [12, 15, 18])
    assert model.save == [2, 3, 6, 9, 12, 15, 18]


@pytest.mark.slow
@pytest.mark.parametrize("name", model_yamls())
def test_one_image_of_the_least_size_can_be_learnt_from(name):
    """Its map of the highest stride is a single value for each channel, and has no variance."""
    model = zoo.build(name)
    model.args = get_cfg()
    batch = trial_batch(model, 1, max(int(model.stride.max()), 32), torch.device("cpu"))
    with single_values(model, 1):
        loss, _ = model(batch)
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
