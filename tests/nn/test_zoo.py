"""Every detector of the zoo has the layers, sizes and weights of 8.3.0."""

import json
import zlib
from pathlib import Path

import pytest

from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import get_flops, get_num_params

ZOO = json.loads((Path(__file__).parents[1] / "reference" / "zoo.json").read_text())


def build(key):
    name, _, nc = key.partition("@nc=")
    return DetectionModel(name, nc=int(nc) if nc else None, verbose=False)


@pytest.mark.parametrize("key", ZOO)
def test_model_equals_reference(key):
    model, figures = build(key), ZOO[key]
    state = model.state_dict()
    entries = [[name, [*t.shape], str(t.dtype)] for name, t in state.items()]
    table = [{"i": m.i, "f": m.f, "type": m.type.split(".")[-1], "params": m.np} for m in model.model]
    assert table == figures["table"]
    assert zlib.crc32(json.dumps(entries).encode()) == figures["state_dict_crc32"]
    assert len(state) == figures["state_dict_entries"]
    assert model.save == figures["save"]
    assert model.stride.tolist() == figures["stride"]
    assert get_num_params(model) == figures["params"]
    assert len([*model.modules()]) == figures["layers"]


@pytest.mark.parametrize("key", [k for k in ZOO if "@" not in k or k.startswith("yolo11n")])
def test_cost_equals_reference_before_and_after_fusing(key):
    model, figures = build(key), ZOO[key]
    assert get_flops(model, 640) == pytest.approx(figures["gflops_640"], rel=0.015)
    model.fuse(verbose=False)
    assert get_flops(model, 640) == pytest.approx(figures["fused_gflops_640"], rel=0.015)
    assert get_num_params(model) == figures["fused_params"]
    assert len([*model.modules()]) == figures["fused_layers"]


def test_ghost_conv_with_one_class():
    assert (
        ZOO["yolo11n-GhostConv.yaml@nc=1"]["params"] == get_num_params(build("yolo11n-GhostConv.yaml@nc=1")) == 2264339
    )
    assert get_num_params(build("yolo11n.yaml@nc=1")) == 2590035


@pytest.mark.parametrize("version", [1, 2])
def test_ghostnet_backbone_feeds_the_yolo11_head(version):
    model = DetectionModel(f"yolo11n-GhostNetV{version}.yaml", nc=3, verbose=False)
    assert model.stride.tolist() == [8, 16, 32]
    backbone, head = model.model[0], model.model[-1]
    assert (backbone.i, backbone.span, backbone.out_channels) == (0, 5, [16, 24, 40, 112, 160])
    assert (head.i, head.f) == (19, [12, 15, 18])
    assert model.save == [2, 3, 6, 9, 12, 15, 18]
