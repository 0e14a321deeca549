"""Metadata that does not fit its graph: one sentence where the file is opened, and no memory that it makes up."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest

resource = pytest.importorskip("resource", reason="the memory that a process took is told on POSIX")
import fuzz_metadata  # noqa: E402

from ultralytics import YOLO  # noqa: E402
from ultralytics.nn.autobackend import AutoBackend  # noqa: E402
from ultralytics.nn.formats.facts import Facts  # noqa: E402
from ultralytics.utils.errors import ModelError, UserError  # noqa: E402

TARGETS = ("torchscript_metadata", "onnx_metadata", pytest.param("openvino_metadata", marks=pytest.mark.slow))
IMAGE = np.zeros((48, 64, 3), np.uint8)
SIZES = [  # that a traced graph takes, and one of fixed shapes does not
    ("detect", {"imgsz": value}) for value in ([64, 96], [96, 96], [65536, 64], [4096, 4096])
] + [("detect", {"channels": None, "imgsz": [32, 32]})]  # fmt: skip
WRONG = [
    ("detect", {"imgsz": value}) for value in (65536, 0, -64, 63, [64], [64, 64, 64], "6x4", None, 1.5)
] + [
    ("detect", {"names": value})
    for value in ({"0": "a"}, ["a"] * 3, {"1": "a", "2": "b"}, {"a": "b"}, {}, [], 3, None, "a", {"0": ["a"], "1": "b"})
] + [
    ("detect", {"task": value}) for value in ("segment", "pose", "obb", "classify", "fly", "", 1, ["detect"])
] + [
    ("detect", change)
    for change in ({"stride": 0}, {"stride": 7}, {"stride": "a"}, {"stride": 1e300}, {"batch": 0}, {"batch": "many"},
                   {"batch": 2**31}, {"channels": 4}, {"channels": 0},
                   {"nms": True}, {"nms": "yes"}, {"dynamic": 7})
] + [
    ("pose", {"kpt_shape": value}) for value in ([4, 2], [3, 3], [3, 1], [3, 4], [3], 7, None, "a", [0, 2], [-3, 2])
] + [
    ("classify", {"names": ["a"]}), ("classify", {"task": "detect"}), ("segment", {"task": "detect"}),
    ("segment", {"names": ["a"] * 7}), ("obb", {"task": "detect"}), ("obb", {"names": ["a"]}),
    ("detect-nms", {"nms": False}), ("detect-nms", {"task": "obb"}), ("classify", {"nms": True}),
    ("classify", {"end2end": True}), ("detect", {"task": None, "nms": True}), ("detect", {"end2end": True}),
]  # fmt: skip


@pytest.fixture(scope="module", params=TARGETS)
def target(request, tmp_path_factory):
    """Tiny models of all tasks as files of one format."""
    for package in fuzz_metadata.PACKAGES.get(request.param, ()):
        pytest.importorskip(package)
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("files"))
    made = fuzz_metadata.TARGETS[request.param]()
    made.prepare()
    yield made
    os.chdir(before)


def changed(target, name: str, change: dict) -> Path:
    """Write the file of a task with a part of its metadata changed."""
    i = next(i for i, seed in enumerate(target.seeds) if seed.name.startswith((f"{name}.", f"{name}_")))
    return target.write(target.seeds[i], json.dumps({**copy.deepcopy(target.told[i]), **change}))


def test_honest_metadata_is_taken(target):
    for seed, told in zip(target.seeds, target.told):
        file = target.write(seed, json.dumps(told))
        model = YOLO(file)
        assert (model.task, model.names) == (told["task"], {0: "0", 1: "1"}) or len(model.names) == 2
        assert len(model.predict(IMAGE, conf=0.01, threads=1, verbose=False)) == 1


def test_what_does_not_fit_is_one_sentence(target):
    before, wrongly_taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for name, change in WRONG + (SIZES if target.form != "torchscript" else []):
        file = changed(target, name, change)
        try:
            YOLO(file)
            wrongly_taken.append((name, change))
        except ModelError as e:
            assert str(file) in str(e) and "\n" not in str(e) and "xport" in str(e), e
    assert not wrongly_taken
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB


def test_the_graph_of_one_task_with_the_metadata_of_another(target):
    for i, seed in enumerate(target.seeds):
        for j, told in enumerate(target.told):
            if i != j:
                with pytest.raises(ModelError, match=r"does not fit its graph: a model that can \w+ 2 classes gives"):
                    AutoBackend(target.write(seed, json.dumps(told)), threads=1)


def test_sizes_that_are_not_open_although_it_says_so(target):
    file = changed(target, "detect", {"dynamic": True})
    if target.form == "torchscript":  # a trace takes any size
        assert len(YOLO(file).predict(IMAGE, imgsz=96, verbose=False)) == 1
        return
    with pytest.raises(ModelError, match=r"it says that its sizes are open, and the graph takes only \(1, 3, 64, 64\)"):
        YOLO(file)


def test_a_task_that_was_asked_for_and_is_not_the_file_s(target):
    file = changed(target, "detect", {})
    assert YOLO(file, task="detect").task == "detect"
    with pytest.raises(UserError, match=r"task='pose' does not fit '.*', whose task is detect: leave task= out"):
        YOLO(file, task="pose")


def test_facts_as_8x_writes_them():
    told = {
        "task": "pose",
        "names": {0: "man"},
        "stride": 32,
        "imgsz": [64, 96],
        "batch": 1,
        "kpt_shape": [17, 3],
        "date": "x",
    }
    facts = Facts.of(told, "a.onnx")
    assert facts == Facts("pose", {0: "man"}, 32, (64, 96), kpt_shape=(17, 3)) and facts.shape == (1, 3, 64, 96)
    assert facts.fits([(1, 5 + 51, 126)]) and facts.fits([(None, None, None)]) and not facts.fits([(1, 5 + 51)])
