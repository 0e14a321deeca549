"""Files for other runtimes compute what the eager model computes, and a failure leaves nothing behind."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
import zoo
from torch import nn

from fill import fill, image
from ultralytics.engine import exporter
from ultralytics.nn.rewrite import RULES
from ultralytics.utils.errors import MissingPackageError, ModelError

MODELS = ("yolo11n-GhostConv", "yolo11n-GhostNetV2", "yolov8n-pose", "yolo11n-cls")
MORE = ("yolo11n", "yolo11n-seg", "yolo11n-obb")


def trained(name: str) -> nn.Module:
    """A model with weights of all kinds; GhostNet V2, where they outgrow float32, with those that it starts with."""
    torch.manual_seed(0)
    model = zoo.build(name, nc=3)
    return (model if "GhostNetV2" in name else fill(model)).eval()


def eager(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        y = model(x)
    return (y if isinstance(y, torch.Tensor) else y[0]).numpy()


@pytest.mark.parametrize("name", [*MODELS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_onnx_equals_the_eager_model(name, tmp_path):
    for package in (*exporter.ONNX_PACKAGES, "onnxruntime"):
        pytest.importorskip(package, reason="writes or runs ONNX")
    model, x = trained(name), image(2, 64, 96, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    file = exporter.export_onnx(model, tmp_path / "模型.onnx", imgsz=[64, 96], batch=2)
    got, wanted = exporter.open_onnx(file)(x)[0], eager(model, x)
    assert got.shape == wanted.shape and np.abs(wanted).max() > 0
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3)  # pixels and probabilities
    assert [p.name for p in tmp_path.iterdir()] == ["模型.onnx"]
    assert not model.is_fused() and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_onnx_states_its_opset_and_names(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    file = exporter.export_onnx(zoo.build("yolo11n-cls", nc=2), tmp_path / "a.onnx", imgsz=32)
    graph = onnx.load(file)
    assert {o.domain: o.version for o in graph.opset_import}[""] == exporter.OPSET
    assert [i.name for i in graph.graph.input] == ["images"]
    assert [o.name for o in graph.graph.output] == ["output0"]
    assert not [n for n in graph.graph.node if n.op_type == "BatchNormalization"]  # fused


@pytest.mark.parametrize("name", ["yolo11n-GhostConv", "yolo11n-cls"])
def test_openvino_equals_the_eager_model(name, tmp_path):
    openvino = pytest.importorskip("openvino")
    model, x = trained(name), image(1, 64, 96, seed=1)
    file = exporter.export_openvino(model, tmp_path / "a", imgsz=[64, 96])
    np.testing.assert_allclose(exporter.compile_openvino(file)(x)[0], eager(model, x), rtol=0, atol=1e-3)
    assert {p.name for p in file.parent.iterdir()} == {"model.xml", "model.bin"}
    graph = openvino.Core().read_model(file)
    assert (graph.input().any_name, graph.output().any_name) == ("images", "output0")
    assert list(graph.input().shape) == [1, 3, 64, 96]


def test_the_copy_gives_predictions_alone():
    model, x = trained("yolo11n"), image(1, 64, 64)
    net = exporter.Predictions(model.train())
    assert not net.training and net.model.is_fused() and model.training and not model.is_fused()
    np.testing.assert_allclose(net(x).numpy(), eager(model.eval(), x), atol=1e-3)
    assert model.model[-1].stride.tolist() == [8, 16, 32] and "stride" in model.model[-1]._buffers


def test_the_file_holds_the_rewritten_graph(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = trained("yolo11n")
    nodes = onnx.load(exporter.export_onnx(model, tmp_path / "a.onnx", imgsz=64)).graph.node
    kinds = [n.op_type for n in nodes]
    assert kinds.count("Softmax") == 1  # of the attention
    assert kinds.count("Concat") <= 5 and kinds.count("Split") <= 3  # of the decoded boxes and the attention


def test_a_rewriting_that_is_not_lossless_is_found(tmp_path, monkeypatch):
    for package in (*exporter.ONNX_PACKAGES, "onnxruntime"):
        pytest.importorskip(package, reason="writes or runs ONNX")

    def spoil(model: nn.Module) -> int:
        model.model[-1].linear.bias.data[0] += 0.1
        return 1

    monkeypatch.setitem(RULES, "spoil", spoil)
    with pytest.raises(ModelError, match="was not written"):
        exporter.export_onnx(trained("yolo11n-cls"), tmp_path / "a.onnx", imgsz=32)
    assert not [*tmp_path.iterdir()]


def test_a_segmenter_gives_its_prototypes_too(tmp_path):
    pytest.importorskip("openvino", reason="writes OpenVINO")
    model, x = trained("yolo11n-seg"), image(1, 64, 64)
    file = exporter.export_openvino(model, tmp_path, imgsz=64)
    with torch.no_grad():
        wanted = [model(x)[0], model(x)[1][-1]]
    got = exporter.compile_openvino(file)(x)
    assert [g.shape for g in got] == [tuple(w.shape) for w in wanted]
    np.testing.assert_allclose(got[1], wanted[1].numpy(), rtol=1e-3, atol=1e-3)


def test_a_file_that_computes_something_else_is_refused():
    net, x = exporter.Predictions(trained("yolo11n-cls")), image(1, 32, 32)
    same = net(x).numpy()
    assert exporter.check_equal(lambda x: [same], net, x, "a.onnx") == 0
    with pytest.raises(ModelError, match=r"'a\.onnx' was not written"):
        exporter.check_equal(lambda x: [same + 0.01], net, x, "a.onnx")
    with pytest.raises(ModelError, match=r"'a\.onnx' was not written"):
        exporter.check_equal(lambda x: [same * np.nan], net, x, "a.onnx")
    with pytest.raises(ModelError, match=r"gives \[\(1, 2\)\]"):
        exporter.check_equal(lambda x: [same[:, :2]], net, x, "a.onnx")


class Stubborn(nn.Module):
    """Reads values, which no file can."""

    def forward(self, x):
        return x * len(x.nonzero().tolist())


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        exporter.export_onnx(Stubborn(), tmp_path / "a.onnx", imgsz=8)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("write", [exporter.export_onnx, exporter.export_openvino])
def test_missing_packages_are_named(write, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install (onnx|openvino)"):
        write(nn.Identity(), tmp_path / "a", imgsz=8)
    assert not [*tmp_path.iterdir()]
