"""The serving examples of the docs find what the package finds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fill import fill
from ultralytics import YOLO
from ultralytics.utils import ASSETS

SERVING = Path(__file__).resolve().parents[2] / "docs" / "serving"


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> np.ndarray:
    return cv2.imread(str(ASSETS / "fire_day.jpg"))


@pytest.fixture(scope="module")
def model() -> YOLO:
    """A model that is sure of some boxes, though it has learnt nothing."""
    torch.manual_seed(0)
    model = YOLO("yolo11n-ghost.yaml")
    fill(model.model)
    return model


def found_by_package(file: str, image: np.ndarray) -> np.ndarray:
    """Rows x1, y1, x2, y2, score, class; not clipped to the image, as the examples do not."""
    data = YOLO(file).predict(image, verbose=False)[0].boxes.data.numpy()
    assert 3 < len(data) <= 300
    return data


def compare(lines: list[list[str]], wanted: np.ndarray, image: np.ndarray, pixels: float) -> None:
    """Boxes that reach beyond the image are clipped in `wanted`."""
    h, w = image.shape[:2]
    got = np.array([[*map(float, line[-4:]), float(line[-5])] for line in lines])
    assert len(got) == len(wanted)
    got[:, :4] = got[:, :4].clip(0, [w, h, w, h])
    np.testing.assert_allclose(got[:, :4], wanted[:, :4], atol=pixels)
    np.testing.assert_allclose(got[:, 4], wanted[:, 4], atol=0.01)


@pytest.mark.slow
def test_onnx_runtime_without_torch(model, image, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model.overrides["model"] = model.model_name = str(tmp_path / "a.yaml")
    file = model.export(format="onnx", nms=True, imgsz=[96, 160], conf=0.1)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    code = (
        "import sys, runpy; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    words = [sys.executable, "-c", code, SERVING / "detect_onnx.py", file, tmp_path / "a.png"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix(str(tmp_path / "a.png")).split() for line in done.stdout.splitlines()]
    wanted = found_by_package(file, image)
    compare(lines, wanted, image, pixels=0.2)
    assert [line[0] for line in lines] == [model.names[int(c)] for c in wanted[:, 5]]
    assert len((SERVING / "detect_onnx.py").read_text().splitlines()) <= 50


@pytest.mark.slow
def test_openvino_in_cpp(model, image, tmp_path):
    openvino = pytest.importorskip("openvino")
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    if not shutil.which("g++"):
        pytest.skip("there is no g++ to build the C++ example with")
    root = Path(openvino.__file__).parent
    library = next(iter(sorted((root / "libs").glob("libopenvino.so.*"))), None)
    if library is None or not (root / "include").is_dir():
        pytest.skip("this OpenVINO package has no C++ headers or Linux libraries")
    program = tmp_path / "detect"
    built = subprocess.run(
        ["g++", "-O1", "-std=c++17", SERVING / "detect_openvino.cpp", f"-I{root / 'include'}", f"-L{root / 'libs'}",
         f"-l:{library.name}", f"-Wl,-rpath,{root / 'libs'}", "-o", program],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    model.overrides["model"] = model.model_name = str(tmp_path / "a.yaml")
    file = model.export(format="openvino", nms=True, imgsz=[96, 160], conf=0.1)
    image = cv2.resize(image, (160, 96))  # no scaling: the example interpolates in float, OpenCV in fixed point
    cv2.imwrite(str(tmp_path / "a.ppm"), image)
    words = [program, f"{file}/model.xml", tmp_path / "a.ppm"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    compare(lines, found_by_package(file, image), image, pixels=0.2)
    bad = subprocess.run([program, f"{file}/model.xml", __file__], capture_output=True, text=True, timeout=600)
    assert bad.returncode == 2 and "no binary PPM" in bad.stderr
