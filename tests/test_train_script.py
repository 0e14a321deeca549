"""`train/train.py`: with which plain model it compares the one that it trained."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from ultralytics import YOLO
from ultralytics.cfg import find_model_yaml
from ultralytics.lab.profile import load_model

FILE = Path(__file__).resolve().parents[1] / "train" / "train.py"


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("train_script", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("file", "scale", "task", "twin"),
    [
        ("yolo11s-GhostConv.yaml", "s", "detect", "yolo11s.yaml"),
        ("yolo11-ghost-seg.yaml", "", "segment", "yolo11n-seg.yaml"),
        ("/there/yolo11x-GhostNetV2-pose.yaml", "x", "pose", "yolo11x-pose.yaml"),
        ("yolov8n-ghost-p2.yaml", "n", "detect", "yolov8n-p2.yaml"),
        ("yolov8m-ghost.yaml", "m", "detect", "yolov8m.yaml"),
        ("ghostnetv1-cls.yaml", "", "classify", "yolo11n-cls.yaml"),
        ("my_model.yaml", "l", "obb", "yolo11l-obb.yaml"),
        ("", "", "detect", "yolo11n.yaml"),
    ],
)
def test_a_model_is_compared_with_the_plain_one_of_its_kind(script, file, scale, task, twin):
    model = SimpleNamespace(yaml={"yaml_file": file, "scale": scale}, task=task)
    assert script.plain_twin(model) == twin
    assert find_model_yaml(twin)


def test_weights_are_compared_with_the_plain_model_of_their_scale(script, tmp_path):
    YOLO("yolo11s-GhostConv.yaml").save(tmp_path / "best.pt")
    assert script.plain_twin(load_model(tmp_path / "best.pt")) == "yolo11s.yaml"
