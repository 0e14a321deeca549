"""The data YAMLs that come with the package: plain descriptions, complete and free of code."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ultralytics.data import tools
from ultralytics.utils import ROOT
from ultralytics.utils.checks import check_class_names, check_yaml

FILES = sorted((ROOT / "cfg" / "datasets").glob("*.yaml"))
KEYS = {"path", "train", "val", "test", "names", "download", "kpt_shape", "flip_idx", "convert", "homepage"}
CLASSES = {
    "DOTAv1": 15,
    "VOC": 20,
    "VisDrone": 10,
    "african-wildlife": 4,
    "coco": 80,
    "coco-pose": 1,
    "coco128": 80,
    "coco128-seg": 80,
    "coco8": 80,
    "coco8-pose": 1,
    "coco8-seg": 80,
    "crack-seg": 1,
    "dota8": 15,
    "fire": 1,
    "imagenet": 1000,
    "imagenet10": 10,
    "tiger-pose": 1,
}
KEYPOINTS = {"coco-pose": [17, 3], "coco8-pose": [17, 3], "tiger-pose": [12, 2]}


def read(name: str) -> dict:
    return yaml.safe_load(Path(check_yaml(f"{name}.yaml")).read_text(encoding="utf-8"))


def test_all_sets_are_there():
    assert {file.stem for file in FILES} >= set(CLASSES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_description_is_plain_and_complete(file):
    data = read(file.stem)
    assert set(data) <= KEYS
    assert list(data["names"]) == list(range(len(data["names"])))  # in the file's order, too
    assert check_class_names(data["names"]) == data["names"]
    assert all(isinstance(name, str) and name == name.strip() and name for name in data["names"].values())
    assert len(set(data["names"].values())) == len(data["names"])
    assert data["path"] == file.stem and data["train"] and data["val"]
    assert "\\" not in str(data["path"])


@pytest.mark.parametrize("name", CLASSES)
def test_number_of_classes(name):
    assert len(read(name)["names"]) == CLASSES[name]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_download_is_a_list_of_addresses_and_no_code(file):
    data = read(file.stem)
    if file.stem == "fire":
        return  # drawn by a program of the repository
    if file.stem == "imagenet":
        assert "download" not in data and data["homepage"].startswith("https://")
        return
    for url, folder in tools._sources(data, file):
        assert len(url.split()) == 1 and url.startswith(("https://github.com/", "http://images.cocodataset.org/"))
        assert url.endswith(".zip") and folder in {".", "images"}
    assert data.get("convert", "voc") in tools._ARRANGE


@pytest.mark.parametrize("name", KEYPOINTS)
def test_keypoints_change_places_in_pairs(name):
    data = read(name)
    n, _ = shape = data["kpt_shape"]
    flip = data["flip_idx"]
    assert shape == KEYPOINTS[name] and sorted(flip) == list(range(n))
    assert [flip[i] for i in flip] == list(range(n))  # a mirror twice is no mirror


def test_names_that_everybody_knows():
    coco, voc, imagenet = (read(name)["names"] for name in ("coco", "VOC", "imagenet"))
    assert (coco[0], coco[16], coco[79]) == ("person", "dog", "toothbrush")
    assert (voc[0], voc[14], voc[19]) == ("aeroplane", "person", "tvmonitor")
    assert (imagenet[0], imagenet[281], imagenet[999]) == ("tench", "tabby", "toilet tissue")
    assert list(read("imagenet10")["names"].values()) == [imagenet[i] for i in range(10)]
    for name in ("coco128", "coco128-seg", "coco8", "coco8-seg"):
        assert read(name)["names"] == coco
    assert read("dota8")["names"] == read("DOTAv1")["names"]
