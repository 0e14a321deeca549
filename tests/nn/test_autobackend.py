"""Exported files run as weight files do: any number of images, one sentence for what cannot be."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_model

from fill import fill, image
from ultralytics import YOLO
from ultralytics.engine.exporter import export
from ultralytics.nn import autobackend
from ultralytics.nn.autobackend import AutoBackend, fastest
from ultralytics.nn.formats import FORMATS, format_named, format_of
from ultralytics.nn.formats.job import from_text, from_texts
from ultralytics.utils.errors import ConfigError, MissingFileError, MissingPackageError, ModelError

INSTALLED = ("torchscript", "onnx", "openvino")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> YOLO:
    """A detector of a few thousand parameters."""
    torch.manual_seed(0)
    model = YOLO(tiny_model(tmp_path_factory.mktemp("tiny")))
    fill(model.model)
    model.model.names = {0: "火", 1: "smoke"}
    return model


@pytest.fixture(scope="module", params=INSTALLED)
def file(request, tiny, tmp_path_factory) -> Path:
    """The detector, exported for two images of 64 x 96 at once."""
    form = FORMATS[request.param]
    for package in (*form.writing, *form.running):
        pytest.importorskip(package, reason=f"writes or runs {form.title}")
    return export(tiny.model, form, form.file(tmp_path_factory.mktemp("火") / "best"), [64, 96], batch=2)[0]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_any_number_of_images(file, tiny, n):
    backend, x = AutoBackend(file, threads=1), image(n, 64, 96, seed=n)
    tiny.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(backend(x), tiny.model(x)[0], rtol=0, atol=1e-3)
    assert (backend.names, backend.stride, backend.task, backend.nc) == ({0: "火", 1: "smoke"}, 32, "detect", 2)
    assert backend.imgsz == (64, 96) and not backend.pt and not backend.end2end


def test_other_sizes_and_wishes_are_refused(file):
    backend = AutoBackend(file, threads=1)
    with pytest.raises(ConfigError, match=r"64 x 96 pixels, not of 64 x 64: give imgsz=\[64, 96\]"):
        backend(image(1, 64, 64))
    with pytest.raises(ConfigError, match="augment: only PyTorch models"):
        backend(image(1, 64, 96), augment=True)
    with pytest.raises(ConfigError, match="Features come from PyTorch models"):
        backend.embed(image(1, 64, 96), [1])


def test_predict_is_that_of_the_weights(file, tiny):
    images = [np.random.default_rng(i).integers(0, 255, (50, 80, 3), dtype=np.uint8) for i in range(3)]
    opened = YOLO(file)
    assert opened.names == tiny.names and opened.task == "detect"
    settings = {"verbose": False, "imgsz": [64, 96], "conf": 0.001, "max_det": 20, "batch": 3}
    got, wanted = opened.predict(images, threads=1, **settings), tiny.predict(images, rect=False, **settings)
    assert sum(len(r) for r in wanted) > 3
    for a, b in zip(got, wanted):
        torch.testing.assert_close(a.boxes.data, b.boxes.data, rtol=0, atol=1e-2)


@pytest.mark.parametrize("verb", ["train", "export", "info", "fuse", "tune", "embed", "benchmark", "half", "save"])
def test_what_needs_the_network_says_so(file, verb):
    with pytest.raises(ConfigError, match=r"is an exported file and cannot .*take the weight file"):
        getattr(YOLO(file), verb)()


# Names, metadata and damage -------------------------------------------------------------------------------------------


def test_names_tell_the_format():
    assert format_of("a/best.onnx").name == "onnx" and format_of("best_openvino_model/").name == "openvino"
    assert format_of("best.pt") is None and format_of("x.yaml") is None
    with pytest.raises(ConfigError, match=r"format='opnvino' is not known.*Did you mean 'openvino'"):
        format_named("opnvino")
    with pytest.raises(ModelError, match=r"its name must end in \.pt, .*\.onnx"):
        AutoBackend("best.xyz")


def test_a_file_that_is_not_there():
    with pytest.raises(MissingFileError, match=r"yolo export model=best\.pt format=torchscript"):
        YOLO("nowhere/best.torchscript")
    with pytest.raises(MissingFileError):
        AutoBackend("nowhere/best.torchscript")


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(range(256)) * 40], ids=["empty", "text", "bytes"])
def test_damaged_files_give_one_sentence(name, content, tmp_path):
    form = FORMATS[name]
    for package in form.running:
        pytest.importorskip(package)
    path = form.file(tmp_path / "best")
    if form.suffix.startswith("."):
        path.write_bytes(content)
    else:
        path.mkdir()
        (path / "model.xml").write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged|holds 0") as e:
        YOLO(path)
    assert "\n" not in str(e.value)


def test_a_cut_file_gives_one_sentence(file, tmp_path):
    whole = file if file.is_file() else file / "model.xml"
    cut = tmp_path / file.name if file.is_file() else tmp_path / file.name / "model.xml"
    cut.parent.mkdir(exist_ok=True)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ModelError, match="damaged"):
        YOLO(tmp_path / file.name)


def test_a_foreign_onnx_file_is_named_as_such(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 8, 8]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"does not say its task, names, stride, imgsz, so it was not exported"):
        YOLO(tmp_path / "a.onnx")


def test_metadata_is_data():
    texts = {"names": "{0: 'a', 1: 'b'}", "stride": "32", "imgsz": "[64, 96]", "task": "detect", "version": "8.3.0"}
    assert from_texts(texts, "a.onnx")["names"] == {0: "a", 1: "b"}  # as 8.x writes it
    assert from_text(json.dumps({"names": ["a"], "stride": 8, "imgsz": 64, "task": "obb"}), "a")["imgsz"] == [64, 64]
    for names in ("__import__('os').getcwd()", "{0: open('/etc/passwd')}"):
        with pytest.raises(ModelError, match="cannot be understood"):
            from_texts({**texts, "names": names}, "a.onnx")
    for text in ("{", "[]", '{"names": 3, "stride": 8, "imgsz": 64, "task": "obb"}', '{"names": {}}'):
        with pytest.raises(ModelError, match=r"metadata|does not say"):
            from_text(text, "a.onnx")


@pytest.mark.parametrize("file", [name for name in INSTALLED if FORMATS[name].running], indirect=True)
def test_missing_packages_are_named(file, monkeypatch):
    form = format_of(file)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=rf"pip install {form.running[0]}"):
        YOLO(file)


# Threads --------------------------------------------------------------------------------------------------------------


def test_the_fastest_number_of_threads_is_taken(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(autobackend.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(autobackend.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    made = []

    def make(n: int) -> types.SimpleNamespace:
        made.append(n)

        class Run:
            threads = n

            def __call__(self, x):
                now[0] += {0: 0.04, 8: 0.05, 4: 0.02, 1: 0.1}[n]

        return Run()

    assert fastest(make, torch.zeros(1)).threads == 4
    assert sorted(made) == [0, 1, 4, 8] and now[0] < 1.8


def test_threads_are_tried_only_when_not_given(tiny, tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    file, _ = export(tiny.model, "onnx", tmp_path / "a.onnx", 64)
    tried = []
    monkeypatch.setattr(autobackend, "fastest", lambda make, x: tried.append(1) or make(1))
    AutoBackend(file, threads=0)
    AutoBackend(file, threads=2)
    assert not tried
    AutoBackend(file)
    assert tried
    with pytest.raises(ConfigError, match=r"ONNX Runtime has no FastestProvider here, but .*CPUExecutionProvider"):
        AutoBackend(file, providers="FastestProvider")
