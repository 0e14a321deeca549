"""Files for other runtimes compute what the eager model computes, and a failure leaves nothing behind."""

from __future__ import annotations

import importlib.util
import types
from copy import deepcopy

import numpy as np
import pytest
import torch
import zoo
from torch import nn

from fill import fill, image
from ultralytics.engine import exporter, parity
from ultralytics.engine.exporter import Exporter, Predictions, export
from ultralytics.engine.parity import compare
from ultralytics.nn.formats import FORMATS, torchscript
from ultralytics.nn.formats.job import Job
from ultralytics.nn.formats.nms import NMS
from ultralytics.nn.rewrite import RULES
from ultralytics.utils.errors import ConfigError, MissingPackageError, ModelError

MODELS = ("yolo11n-cls",)
MORE = (
    "yolo11n",
    "yolo11n-GhostConv",
    "yolov8n-pose",
    "yolo11n-GhostNetV2",
    "yolo11n-GhostNetV3",
    "yolo11n-seg",
    "yolo11n-obb",
)


def installed(name: str) -> None:
    """Skip the test if what writes or runs a format is missing."""
    for package in (*FORMATS[name].writing, *FORMATS[name].running):
        pytest.importorskip(package, reason=f"writes or runs {name}")


def trained(name: str) -> nn.Module:
    """A model with weights of all kinds; GhostNet V2 or V3, where they outgrow float32, with its first ones."""
    torch.manual_seed(0)
    model = zoo.build(name, nc=3)
    return (model if "GhostNetV2" in name or "GhostNetV3" in name else fill(model)).eval()


def eager(model: nn.Module, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        y = model(x)
    return (y if isinstance(y, torch.Tensor) else y[0]).numpy()


@pytest.mark.parametrize("form", ["torchscript", "onnx", "openvino"])
@pytest.mark.parametrize("name", [*MODELS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_a_file_equals_the_eager_model(name, form, tmp_path):
    installed(form)
    model, x = trained(name), image(2, 64, 96, seed=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    file, found = export(model, form, FORMATS[form].file(tmp_path / "模型"), [64, 96], batch=2)
    runner = FORMATS[form].load().Runner(file, threads=1)
    got, wanted = runner(x)[0].numpy(), eager(model, x)
    assert got.shape == wanted.shape and np.abs(wanted).max() > 0
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3)  # pixels and probabilities
    assert found.holds and found.precision == "float32"
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    assert not model.is_fused() and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    told = runner.metadata
    assert (told["task"], told["imgsz"], told["batch"], told["names"]) == (model.task, [64, 96], 2, model.names)
    assert told["yaml"]["nc"] == 3 and told["stride"] == int(max(model.stride))


def test_onnx_states_its_opset_and_names(tmp_path):
    installed("onnx")
    import onnx

    from ultralytics.nn.formats.onnx import OPSET

    file, _ = export(zoo.build("yolo11n-cls", nc=2), "onnx", tmp_path / "a.onnx", imgsz=32)
    graph = onnx.load(file)
    assert {o.domain: o.version for o in graph.opset_import}[""] == OPSET
    assert [i.name for i in graph.graph.input] == ["images"]
    assert [o.name for o in graph.graph.output] == ["output0"]
    assert not [n for n in graph.graph.node if n.op_type == "BatchNormalization"]  # fused


@pytest.mark.slow
def test_a_segmenter_gives_its_prototypes_too(tmp_path):
    model, x = trained("yolo11n-seg"), image(1, 64, 64)
    file, _ = export(model, "torchscript", tmp_path / "a.torchscript", imgsz=64)
    with torch.no_grad():
        wanted = [model(x)[0], model(x)[1][-1]]
    got = torchscript.Runner(file)(x)
    assert [g.shape for g in got] == [w.shape for w in wanted]
    np.testing.assert_allclose(got[1].numpy(), wanted[1].numpy(), rtol=1e-3, atol=1e-3)


def test_the_copy_gives_predictions_alone():
    model, x = trained("yolo11n"), image(1, 64, 64)
    net = Predictions(model.train())
    assert not net.training and net.model.is_fused() and model.training and not model.is_fused()
    np.testing.assert_allclose(net(x).numpy(), eager(model.eval(), x), atol=1e-3)
    assert model.model[-1].stride.tolist() == [8, 16, 32] and "stride" in model.model[-1]._buffers


@pytest.mark.slow
def test_the_file_holds_the_rewritten_graph(tmp_path):
    installed("onnx")
    import onnx

    model, counts = trained("yolo11n"), {}
    for optimize in (False, True):
        file, _ = export(model, "onnx", tmp_path / "a.onnx", imgsz=64, optimize=optimize)
        kinds = [n.op_type for n in onnx.load(file).graph.node]
        counts[optimize] = {kind: kinds.count(kind) for kind in ("Softmax", "Concat", "Split")}
    assert counts[False]["Softmax"] == 2 and counts[True]["Softmax"] == 1  # of the attention
    assert counts[True]["Concat"] <= 5 < counts[False]["Concat"]  # of the decoded boxes
    assert counts[True]["Split"] <= 3 < counts[False]["Split"]


def test_a_rewriting_that_is_not_lossless_is_found(tmp_path, monkeypatch):
    def spoil(model: nn.Module) -> int:
        model.model[-1].linear.bias.data[0] += 0.1
        return 1

    monkeypatch.setitem(RULES, "spoil", spoil)
    with pytest.raises(ModelError, match="was not written"):
        export(trained("yolo11n-cls"), "torchscript", tmp_path / "a.torchscript", imgsz=32)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "form", ["torchscript", *(pytest.param(f, marks=pytest.mark.slow) for f in ("onnx", "openvino"))]
)
def test_half_precision_is_near_and_half_as_large(form, tmp_path):
    installed(form)
    model = zoo.build("yolo11n-cls", nc=3)
    whole, _ = export(model, form, FORMATS[form].file(tmp_path / "a"), imgsz=64)
    half, found = export(model, form, FORMATS[form].file(tmp_path / "b"), imgsz=64, half=True)
    sizes = [exporter.file_size(file) for file in (half, whole)]
    assert found.precision == "float16" and 0 < found.scores < 0.01 and sizes[0] < 0.6 * sizes[1]


# Parity ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path) -> Job:
    model = trained("yolo11n-cls")
    return Job(Predictions(model), image(1, 32, 32), tmp_path / "a.x", {"task": "classify", "names": {0: "a", 1: "b"}})


def test_what_differs_is_measured(job):
    job.metadata["kpt_shape"] = None
    same = job.net(job.x)
    assert compare(lambda x: [same], job.net, job).scores == 0
    far = compare(lambda x: [same + 0.01], job.net, job)
    assert far.scores == pytest.approx(0.01, rel=1e-3) and not far.holds
    assert not compare(lambda x: [same * np.nan], job.net, job).holds
    with pytest.raises(ModelError, match=r"gives \[\(1, 2\)\], but the model gives"):
        compare(lambda x: [same[:, :2]], job.net, job)
    job.int8 = True
    assert compare(lambda x: [same + 0.01], job.net, job).holds


def test_pixels_scores_and_the_rest_are_told_apart(tmp_path):
    model, x = trained("yolo11n-pose"), image(1, 64, 64)
    net = Predictions(model)
    job = Job(net, x, tmp_path / "a.x", exporter.describe(model, x, None, {}))
    same = net(x)
    columns = parity.columns_of(net, job)
    assert columns[:7] == ["pixels"] * 4 + ["scores"] * 3 and columns[7:10] == ["pixels", "pixels", "scores"]
    moved = same.clone()
    moved[:, 0] += 2  # a box
    moved[:, 9] += 0.5  # a visibility
    found = compare(lambda x: [moved], net, job)
    assert found.pixels == pytest.approx(2, rel=1e-2) and found.scores == pytest.approx(0.5, rel=1e-2)


def spoiling(layer: int) -> types.SimpleNamespace:
    """A format whose writer computes one layer wrongly."""

    def write(job: Job) -> None:
        net = deepcopy(job.net)
        layers = net.layers if hasattr(net, "layers") else net.model.model
        if layer < len(layers):
            layers[layer].register_forward_hook(lambda m, args, out: out * 1.5)
        torchscript.write(Job(net, job.x, job.file, job.metadata))

    return types.SimpleNamespace(write=write, Runner=torchscript.Runner)


@pytest.mark.parametrize("layer", [pytest.param(0, marks=pytest.mark.slow), 4])
def test_the_layer_to_blame_is_found(layer, tmp_path, monkeypatch):
    monkeypatch.setattr(type(FORMATS["torchscript"]), "load", lambda self: spoiling(layer))
    old = tmp_path / "a.torchscript"
    old.write_text("the file of before")
    with pytest.raises(ModelError, match=rf"differs from the model.* whose outputs differ is {layer}, "):
        export(trained("yolo11n-cls"), "torchscript", old, imgsz=32)
    assert old.read_text() == "the file of before" and [*tmp_path.iterdir()] == [old]


class Stubborn(nn.Module):
    """Reads values, which no file can."""

    def forward(self, x):
        return x * len(x.nonzero().tolist())


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    installed("onnx")
    with pytest.raises(ModelError, match="cannot be written as ONNX"):
        export(Stubborn(), "onnx", tmp_path / "a.onnx", imgsz=8)
    assert not [*tmp_path.iterdir()]


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_missing_packages_are_named(form, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=rf"pip install {form}"):
        export(nn.Identity(), form, tmp_path / "a", imgsz=8)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"format": "onx"}, "format='onx' is not known.*onnx"),
        ({"format": "torchscript", "int8": True}, "TorchScript has no 'int8'.*openvino"),
        ({"format": "torchscript", "dynamic": True}, "TorchScript has no 'dynamic'.*onnx"),
        ({"format": "torchscript", "nms": True}, "a classifier has none"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(settings, told):
    with pytest.raises(ConfigError, match=told):
        Exporter(overrides=settings)(zoo.build("yolo11n-cls", nc=2))


def test_8_bits_need_images():
    installed("openvino")
    with pytest.raises(ConfigError, match="add data="):
        Exporter(overrides={"format": "openvino", "int8": True, "imgsz": 32})(zoo.build("yolo11n-cls", nc=2))


def test_a_bare_module_can_be_written(tmp_path):
    file, found = export(nn.Conv2d(3, 4, 1).eval(), "torchscript", tmp_path / "a.torchscript", imgsz=8)
    assert file.exists() and found.rest == 0


@pytest.mark.parametrize(
    "form", ["torchscript", *(pytest.param(f, marks=pytest.mark.slow) for f in ("onnx", "openvino"))]
)
def test_nms_in_the_file_is_that_behind_the_model(form, tmp_path):
    installed(form)
    from ultralytics.utils.geometry.nms import non_max_suppression

    model, x = trained("yolo11n-seg"), image(2, 64, 64, seed=3)
    pred = torch.from_numpy(eager(model, x))
    conf = float(pred[:, 4:7].amax(1).quantile(0.6))
    nms = NMS(3, conf, 0.5, max_det=20)
    file, _ = export(model, form, FORMATS[form].file(tmp_path / "a"), imgsz=64, batch=2, nms=nms)
    rows, protos = FORMATS[form].load().Runner(file)(x)
    assert rows.shape == (2, 20, 6 + 32) and protos.shape[:2] == (2, 32)
    for got, wanted in zip(rows, non_max_suppression(pred, conf, 0.5, max_det=20, nc=3)):
        assert len(wanted) > 2 and not got[len(wanted) :].any()
        torch.testing.assert_close(got[: len(wanted)], wanted.float(), rtol=1e-3, atol=1e-2)
