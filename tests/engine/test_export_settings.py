"""What `yolo export` is asked for is done, refused by name, or said to have no effect; a bad disk costs no file."""

from __future__ import annotations

import errno
import os
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import HEADS, tiny_model, tiny_of

from fill import fill, image
from ultralytics import YOLO
from ultralytics.engine import exporter
from ultralytics.engine.exporter import export
from ultralytics.nn.formats import FORMATS, format_named, onnx
from ultralytics.nn.formats.nms import NMS
from ultralytics.utils.errors import ConfigError, ModelError


def installed() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)


# The opset of ONNX ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "opset"),
    [("detect", 11), ("pose", 12), ("segment", 17),
     *(pytest.param(task, opset, marks=pytest.mark.slow) for task in HEADS for opset in (11, 12, 13, 15, 17, 20, 23))],
)  # fmt: skip
def test_the_opset_is_the_one_that_was_asked_for(task, opset, tmp_path):
    installed()
    import onnx as package

    model = fill(tiny_of(task, tmp_path))
    file, parity = export(model, "onnx", tmp_path / "a.onnx", 64, opset=opset)
    assert {o.domain: o.version for o in package.load(file).opset_import}[""] == opset
    assert parity.holds
    y = model.eval()(image(1, 64, 64, seed=3))
    got = onnx.Runner(file, threads=1)(image(1, 64, 64, seed=3))[0]
    np.testing.assert_allclose(got.numpy(), (y if isinstance(y, torch.Tensor) else y[0]).detach().numpy(), atol=2e-3)


@pytest.mark.parametrize("key", ["nms", "dynamic", "half"])
def test_old_opsets_with_other_settings(key, tmp_path):
    installed()
    import onnx as package

    more = {key: NMS(2, 1e-4, 0.5, 20) if key == "nms" else True}
    file, parity = export(fill(tiny_of("detect", tmp_path)), "onnx", tmp_path / "a.onnx", 64, opset=12, **more)
    assert package.load(file).opset_import[0].version == 12 and parity.holds
    if key == "dynamic":
        assert onnx.Runner(file, threads=1)(image(3, 96, 32))[0].shape[0] == 3


@pytest.mark.parametrize("opset", [1, 10, 24, 99])
@pytest.mark.parametrize("form", ["onnx", "mnn", "rknn"])
def test_an_opset_that_cannot_be_is_refused_by_name(form, opset, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr(type(FORMATS[form]), "require", lambda *args, **kwargs: None)
    with pytest.raises(ConfigError, match=rf"opset={opset} is not possible: .* 1\d to \d\d\. Give one of them"):
        export(tiny_of("detect", tmp_path), form, FORMATS[form].file(tmp_path / "a"), 64, opset=opset)
    assert not FORMATS[form].file(tmp_path / "a").exists()


def test_an_exporter_that_writes_another_opset_is_found_out(tmp_path, monkeypatch):
    """As PyTorch's did, which wrote opset 18 for 12."""
    installed()
    real = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kw: real(*args, **{**kw, "opset_version": 13}))
    with pytest.raises(ModelError, match="wrote opset 13, not 12"):
        export(tiny_of("classify", tmp_path), "onnx", tmp_path / "a.onnx", 64, opset=12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, [32, 96]])
def test_open_sizes_from_a_side_as_small_as_the_stride(size, tmp_path):
    """Maps of one pixel are no constants."""
    installed()
    model = fill(tiny_of("detect", tmp_path)).eval()
    file, parity = export(model, "onnx", tmp_path / "a.onnx", size, dynamic=True)
    run = onnx.Runner(file, threads=1)
    assert parity.holds and run.metadata["imgsz"] == (size if isinstance(size, list) else [32, 32])
    for x in (image(1, 32, 32), image(2, 64, 96), image(1, 32, 160)):
        np.testing.assert_allclose(run(x)[0].numpy(), model(x)[0].detach().numpy(), atol=2e-3)


# Other settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelt", "name"), [("ONNX", "onnx"), ("TorchScript", "torchscript"), (" OpenVINO ", "openvino"),
                        ("TensorRT", "engine"), ("trt", "engine"), ("NCNN", "ncnn"), ("Engine", "engine")],
)  # fmt: skip
def test_names_of_formats_in_letters_of_either_case(spelt, name):
    assert format_named(spelt) is FORMATS[name]


@pytest.mark.parametrize("batch", [0.5, 0.9, 0, 1.5])
def test_a_share_of_memory_is_no_batch_of_a_file(batch, tmp_path):
    with pytest.raises(ConfigError, match=r"batch=.*whole number"):
        YOLO(tiny_model(tmp_path)).export(format="torchscript", imgsz=64, batch=batch)
    assert not [*tmp_path.glob("*.torchscript")]


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"keras": True}, "keras=True"), ({"workspace": 8}, "workspace=8"), ({"simplify": False}, "simplify=False"),
     ({"conf": 0.4, "iou": 0.3}, "conf=0.4, iou=0.3"), ({"data": "fire.yaml", "fraction": 0.5}, "fraction=0.5"),
     ({"device": 0}, "device=0"), ({}, ""), ({"device": "cpu"}, ""), ({"nms": True, "conf": 0.4}, "")],
    ids=str,
)  # fmt: skip
def test_settings_without_an_effect_are_named_in_one_line(settings, said, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(exporter, "export", lambda *args, **kwargs: (tmp_path / "a.torchscript", None))
    YOLO(tiny_model(tmp_path)).export(format="torchscript", imgsz=64, **settings)
    lines = [r.getMessage() for r in caplog.records if "no effect" in r.getMessage()]
    assert len(lines) == bool(said)
    assert not said or (said in lines[0] and "TorchScript" in lines[0])


# Disks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["temporary", "writing", "moving"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_a_full_or_read_only_disk_leaves_what_was_there(place, code, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(code, os.strerror(code), "somewhere")

    spots = {
        "temporary": (exporter.tempfile, "TemporaryDirectory"),
        "writing": (Path, "write_bytes"),
        "moving": (exporter, "move_into_place"),
    }
    model, file = tiny_of("classify", tmp_path), tmp_path / "out" / "a.torchscript"
    file.parent.mkdir()
    file.write_text("the good file of before")
    monkeypatch.setattr(*spots[place], fails)
    with pytest.raises(
        ModelError, match=rf"a.torchscript' was not written: {os.strerror(code)} \('somewhere'\).*untouched"
    ):
        export(model, "torchscript", file, 64)
    assert [p.name for p in file.parent.iterdir()] == [file.name] and file.read_text() == "the good file of before"


def test_native_code_on_a_full_disk(tmp_path, monkeypatch):
    """OpenVINO says `basic_ios::clear: iostream error`."""
    monkeypatch.setattr(Path, "write_bytes", lambda *args: 1 / 0)
    monkeypatch.setattr(exporter.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=4096))
    with pytest.raises(ModelError, match=r"a\.torchscript' was not written: No space left"):
        export(tiny_of("classify", tmp_path), "torchscript", tmp_path / "a.torchscript", 64)


def test_a_folder_that_takes_no_files_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    monkeypatch.setattr(exporter, "Predictions", lambda *args: pytest.fail("it began"))
    with pytest.raises(ModelError, match=r"cannot be written: .*' is not writable"):
        export(torch.nn.Identity(), "torchscript", tmp_path / "new" / "a.torchscript", 8)
    assert not [*tmp_path.iterdir()]


# Exported files where layers are wanted -------------------------------------------------------------------------------


def test_what_needs_layers_says_so(tmp_path):
    from ultralytics.lab.explain import Explainer
    from ultralytics.lab.receptive_field import report

    file, _ = export(fill(tiny_of("detect", tmp_path)), "torchscript", tmp_path / "a.torchscript", 64)
    image = np.zeros((64, 64, 3), np.uint8)
    calls = [
        lambda: YOLO(file).predict(image, visualize=True, verbose=False, project=tmp_path / "runs"),
        lambda: YOLO(file).predict(image, embed=[1], verbose=False),
        lambda: YOLO(file).embed(image),
        lambda: Explainer(file),
        lambda: report(YOLO(file), tmp_path),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=r"a\.torchscript' is (not one|an exported file).*\.pt"):
            call()
    assert not (tmp_path / "runs").exists()
