"""AP by size of a whole validation: as pycocotools has it from the files that the validation writes."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml

from benchmarks.coco_check import EVALUATORS, check, difference, evaluate, ground_truth, main
from ultralytics.data.utils import check_det_dataset
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.model import YOLO
from ultralytics.utils.errors import ConfigError, DataError, MissingPackageError
from ultralytics.utils.evaluation.coco_ap import KEYS

SHAPES = ((427, 640), (333, 500), (640, 425), (300, 300))  # sides that are rounded when they are scaled


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The data YAML of grey images with objects of all sizes."""
    folder = tmp_path_factory.mktemp("sizes")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        name = f"{i:03}" if i % 3 else f"fire {i}"  # a number, or none
        cv2.imwrite(str(folder / f"images/{name}.jpg"), np.full((*SHAPES[i % 4], 3), 128, np.uint8))
        size = np.exp(rng.uniform(np.log(0.03), np.log(0.6), (2 * (i % 5), 2)))
        rows = np.c_[rng.integers(0, 2, len(size)), rng.uniform(size / 2, 1 - size / 2), size]
        np.savetxt(folder / f"labels/{name}.txt", rows, fmt="%d %.6f %.6f %.6f %.6f")
    content = {"train": "images", "val": "images", "names": {0: "red", 1: "green"}}
    (folder / "data.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "data.yaml"


def nearly(batch: dict, seed: int) -> torch.Tensor:
    """Return what a head gives (b, 4 + 2, positions) that finds every object, a little off, and some that are none."""
    rng, (b, _, h, w) = np.random.default_rng(seed), batch["img"].shape
    preds = torch.zeros(b, 6, 40)
    for i in range(b):
        boxes = batch["bboxes"][batch["batch_idx"] == i].numpy()
        near = boxes.repeat(3, 0) * rng.normal(1, 0.04, (3 * len(boxes), 4))
        rows = np.concatenate((near, rng.uniform(0.1, 0.4, (5, 4))))
        preds[i, :4, : len(rows)] = torch.from_numpy(rows * (w, h, w, h)).T
        cls = batch["cls"][batch["batch_idx"] == i].int().flatten().tolist()
        for j, c in enumerate([*np.repeat(cls, 3), *rng.integers(0, 2, 5)]):
            preds[i, 4 + int(c), j] = rng.uniform(0.05, 1)
    return preds


def test_a_validation_equals_pycocotools(data, tmp_path):
    """The truth comes from the label files, so boxes must have been brought back onto the original images exactly."""
    args = {"data": str(data), "imgsz": 160, "plots": False, "batch": 5, "save_json": True, "iou": 0.95, "workers": 0}
    v = DetectionValidator(save_dir=tmp_path, args=args)
    v.data, v.device, v.half, v.stride = check_det_dataset(str(data)), torch.device("cpu"), False, 32
    v.dataloader = v.get_dataloader(v.data["val"], 5)
    v.init_metrics(SimpleNamespace(names={0: "red", 1: "green"}))
    for n, batch in enumerate(v.dataloader):
        batch = v.preprocess(batch)
        v.update_metrics(v.postprocess((nearly(batch, n), None)), batch)
    found = v.metrics.coco
    assert v.metrics.sizes == {"small": found["APs"], "medium": found["APm"], "large": found["APl"]}
    assert all(0.05 < ap < 0.95 for ap in v.metrics.sizes.values())
    truth = ground_truth(v.dataloader.dataset.labels, v.names)
    for package in EVALUATORS:
        pytest.importorskip(EVALUATORS[package][0][0], reason=f"pip install {package}")
        before = copy.deepcopy((truth, v.jdict))
        expected = evaluate(package, truth, v.jdict)
        assert (truth, v.jdict) == before
        np.testing.assert_allclose([found[k] for k in KEYS], [expected[k] for k in KEYS], atol=1e-4)
    v.init_metrics(SimpleNamespace(names={0: "red", 1: "green"}))
    assert math.isnan(v.metrics.coco["AP"])  # a new validation starts anew


def test_the_command(data, work_dir, capsys):
    """An untrained model finds next to nothing, and that is the same everywhere; the files are there."""
    pytest.importorskip("pycocotools", reason="pip install pycocotools")
    YOLO("yolo11n.yaml").save("a.pt")
    with pytest.raises(DataError, match=r"found nothing with conf=0\.9"):
        main(["model=a.pt", f"data={data}", "imgsz=64", "workers=0", "plots=False", "conf=0.9"])
    words = [
        f"data={data}",
        "conf=0.0",
        "imgsz=64",
        "workers=0",
        "plots=False",
        "verbose=False",
        "max_det=20",
        "project=runs",
    ]
    assert main(["model=a.pt", *words, "name=v"]) == 0
    out = capsys.readouterr().out
    assert "pycocotools" in out and "APs" in out
    assert (work_dir / "runs/v/instances.json").is_file() and (work_dir / "runs/v/predictions.json").is_file()


def test_mistakes_are_explained(work_dir, monkeypatch):
    with pytest.raises(ConfigError, match="Which model"):
        check({"data": "a.yaml"})
    with pytest.raises(ConfigError, match="has no '='"):
        main(["a.pt"])
    YOLO("yolo11n-cls.yaml").save("c.pt")
    with pytest.raises(ConfigError, match="is a model for 'classify'"):
        check({"model": "c.pt"})
    monkeypatch.setitem(EVALUATORS, "pycocotools", (("no_such_module", "COCO"),) * 2)
    with pytest.raises(MissingPackageError, match="pip install pycocotools"):
        evaluate("pycocotools", {}, [])


def test_the_difference_of_nan():
    assert difference({"a": {"AP": math.nan}, "b": {"AP": math.nan}}, "AP") == 0
    assert difference({"a": {"AP": math.nan}, "b": {"AP": 0.0}}, "AP") == math.inf
    assert difference({"a": {"AP": 0.5}, "b": {"AP": 0.5}, "c": {"AP": 0.75}}, "AP") == 0.25
