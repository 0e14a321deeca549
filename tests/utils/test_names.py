"""Names of classes and images from strangers, where they become parts of paths or text for native code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics.engine.results import Results
from ultralytics.utils.checks import check_class_names
from ultralytics.utils.drawing.annotator import Annotator
from ultralytics.utils.errors import DataError
from ultralytics.utils.hostile.names import LONGEST, clean_name, clean_names, for_opencv, safe_name

ODD = ["\ud800", "\udce9x", "a\0b", "a\nb", "a\x1b[31mb", "a\x85b", "\x7f", "n" * 5000]


@pytest.mark.parametrize("name", ODD)
def test_names_that_cannot_be_meant(name):
    clean = clean_name(name)
    assert 0 < len(clean) <= LONGEST and clean.isprintable()
    clean.encode("utf-8")
    with pytest.raises(DataError, match="The name of class 1, "):
        check_class_names(["fire", name])


@pytest.mark.parametrize("name", ["fire", "火焰", "été", "traffic light", "a/b", "..", "😀", "n" * LONGEST, ""])
def test_names_that_can(name):
    assert clean_name(name) == name and check_class_names([name]) == {0: name}
    assert clean_names({"0": name, 1: 5}) == {0: name, 1: "5"}


@pytest.mark.parametrize(
    "name", [*ODD, "..", ".", "", "/", "../../x", "a/b", "C:\\x", "con", "NUL.txt", "x. ", "火" * 90, "a*?"]
)
def test_parts_of_paths(tmp_path, name):
    made = safe_name(name)
    assert made == Path(made).name and made not in ("", ".", "..") and len(made.encode()) <= 101
    (tmp_path / made).mkdir()
    assert os.listdir(tmp_path) == [made] and made.lower() not in ("con", "nul.txt") and not set(made) & set("*?:\\/")


@pytest.mark.parametrize("name", [*ODD, "..", "../../../x", "/x", "con"])
def test_cut_outs_stay_in_their_folder(work_dir, name):
    result = Results(
        np.zeros((40, 40, 3), np.uint8), "a.jpg", {0: name}, boxes=np.array([[5, 5, 20, 20, 0.9, 0]], float)
    )
    result.save_crop("run/crops", name.replace("/", "_") if "\0" not in name else "im")
    files = [p for p in Path(".").rglob("*") if p.is_file()]
    assert len(files) == 1 and files[0].parts[:2] == ("run", "crops") and len(files[0].parts) == 4
    assert result.plot().shape == (40, 40, 3)
    result.to_json().encode("utf-8", "surrogatepass")


CROPS = """
import numpy as np
from ultralytics.engine.results import Results
boxes = np.array([[5, 5, 20, 20, 0.9, 0], [15, 5, 20, 20, 0.9, 1]], float)
Results(np.zeros((40, 40, 3), np.uint8), "a.jpg", {0: "\\u706b", 1: "\\u70df"}, boxes=boxes).save_crop("crops", "a")
"""


@pytest.mark.skipif(os.name != "posix", reason="only there may file names be ASCII alone")
def test_classes_keep_folders_of_their_own_where_file_names_are_ascii(work_dir):
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", CROPS], env={**os.environ, **plain}, check=True)
    assert {p.relative_to("crops").as_posix() for p in Path("crops").rglob("*.jpg")} == {"_u706b/a.jpg", "_u70df/a.jpg"}


@pytest.mark.parametrize("pil", [True, False])
@pytest.mark.parametrize("name", ODD)
def test_names_are_drawn(name, pil):
    """Half a character ended in a crash of the font library."""
    annotator = Annotator(np.zeros((60, 60, 3), np.uint8), pil=pil, example=name)
    annotator.box_label([5, 20, 40, 50], name)
    annotator.text((2, 2), name)
    assert annotator.result().any()


def test_paths_that_crash_opencv():
    assert for_opencv("火/a.mp4") == "火/a.mp4"
    with pytest.raises(DataError, match=r"'a\\udcbb.mp4' holds bytes that are no text in UTF-8"):
        for_opencv("a\udcbb.mp4")


@pytest.mark.skipif(os.name != "posix", reason="names of bytes are POSIX")
def test_a_video_whose_name_is_no_utf8(work_dir):
    """OpenCV crashed on it, and such names are common where folders were copied from another system."""
    from ultralytics.data.loaders import load_inference_source

    Path(os.fsdecode("视频".encode("gbk") + b".mp4")).write_bytes(b"x")
    with pytest.raises(DataError, match="Rename it"):
        next(iter(load_inference_source(os.fsdecode("视频".encode("gbk") + b".mp4"))))


def test_images_with_the_longest_names_a_disk_takes(work_dir):
    """Two of one name get numbers, and what is cut out of them, too: names of more than 255 bytes."""
    from tiny import tiny_model

    from ultralytics import YOLO

    for folder, name in (("a", "n" * 251), ("b", "n" * 251), ("a", "\u706b" * 83)):
        Path(folder).mkdir(exist_ok=True)
        cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tofile(Path(folder, f"{name}.jpg"))
    model = YOLO(tiny_model(Path(".")))
    files = sorted(str(f) for f in Path(".").rglob("*.jpg"))
    kept = {"save": True, "save_txt": True, "save_crop": True, "project": "runs", "verbose": False}
    model.predict(files, imgsz=64, conf=1e-6, max_det=2, **kept)
    assert len([*Path("runs/predict").glob("*.jpg")]) == len([*Path("runs/predict/labels").glob("*.txt")]) == 3
    assert len([*Path("runs/predict/crops").rglob("*.jpg")]) >= 3
