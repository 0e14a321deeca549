"""`yolo benchmark`: every format measured and written down, what is missing named, nothing lost."""

from __future__ import annotations

import csv

import pytest
import torch
from tiny import tiny_model

from fill import fill
from ultralytics import YOLO
from ultralytics.lab import benchmark as module
from ultralytics.lab.benchmark import COLUMNS, Row, table
from ultralytics.nn.formats import FORMATS
from ultralytics.utils.errors import ConfigError, ModelError


@pytest.fixture
def model(tmp_path) -> YOLO:
    torch.manual_seed(0)
    model = YOLO(tiny_model(tmp_path))
    fill(model.model)
    return model


def run(model: YOLO, tmp_path, **more):
    settings = {"imgsz": 64, "rounds": 2, "device": "cpu", "project": str(tmp_path), "name": "b", "workers": 0}
    return model.benchmark(**{**settings, **more})


def test_formats_are_measured_and_written_down(model, tmp_path):
    frame = run(model, tmp_path, format="torchscript")
    assert list(frame.columns) == COLUMNS and list(frame["format"]) == ["PyTorch", "TorchScript"]
    assert frame["median_ms"].gt(0).all() and frame["p90_ms"].ge(frame["median_ms"]).all()
    assert frame["ratio"][0] == 1 and frame["pixels"][1] < 1e-3 and frame["size_mb"][1] > 0
    assert frame["metric"].isna().all()
    folder = tmp_path / "b"
    assert {p.name for p in folder.iterdir()} >= {"benchmark.csv", "benchmark.md", "tiny.torchscript"}
    rows = list(csv.DictReader((folder / "benchmark.csv").open(encoding="utf-8")))
    assert [row["format"] for row in rows] == ["PyTorch", "TorchScript"]
    text = (folder / "benchmark.md").read_text(encoding="utf-8")
    assert "64 x 64 pixels, batch 1, CPU" in text and "1 threads; 2 rounds" in text
    assert text.count("\n|") == 4


def test_a_missing_package_and_a_failure_are_notes(model, tmp_path, monkeypatch):
    def fail(job):
        raise ModelError("cannot be written, says the test.")

    monkeypatch.setattr(module, "missing_packages", lambda names: [n for n in {*names} if n == "openvino"])
    monkeypatch.setattr(type(FORMATS["torchscript"]), "load", lambda self: type("M", (), {"write": staticmethod(fail)}))
    frame = run(model, tmp_path, format="torchscript,openvino", half=True)
    assert list(frame["note"]) == ["", "cannot be written, says the test.", "pip install openvino"]
    assert frame["median_ms"].notna().tolist() == [True, False, False]


def test_accuracy_is_that_of_squares(model, tmp_path, tiny_data):
    frame = run(model, tmp_path, format="torchscript", data=str(tiny_data), batch=2)
    assert frame["metric"].notna().all() and frame["metric"][0] == pytest.approx(frame["metric"][1], abs=0.01)


def test_what_is_not_possible_is_said(model, tmp_path):
    with pytest.raises(ConfigError, match="format='onx' is not known"):
        run(model, tmp_path, format="onx")
    with pytest.raises(ConfigError, match="square images"):
        run(model, tmp_path, format="torchscript", imgsz=[64, 96], data="fire.yaml")


def test_the_table_has_blanks_where_nothing_is_known():
    text = table([Row("ONNX", note="a|b")], "metrics/mAP50-95(B)")
    assert text.splitlines()[-1] == "| ONNX |  |  |  |  |  |  |  | a/b |"
