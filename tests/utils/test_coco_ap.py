"""COCO's average precision: equal to pycocotools and faster-coco-eval on hard data, by hand on small ones."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest

from ultralytics.models.yolo.detect.val import image_id
from ultralytics.utils.evaluation.coco_ap import AREAS, KEYS, CocoAP

NC = 6


def scene(seed: int, images: int = 30, whole: bool = False, crowd: bool = True) -> list[dict]:
    """Return random images: ties of scores and of IoUs, empty ones, a class without objects, many detections."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(images):
        m = 0 if i % 7 == 3 else int(rng.integers(1, 12))
        side = np.exp(rng.uniform(np.log(6), np.log(200), (m, 2)))
        corner = rng.uniform(0, 300, (m, 2))
        true = np.concatenate((corner, corner + side), 1)
        cls = rng.integers(0, NC - 1, m)
        near = true[rng.integers(0, m, 4 * m)] + rng.normal(0, 4, (4 * m, 4)) if m else np.zeros((0, 4))
        far = rng.uniform(0, 300, (130 if i == 5 else 8, 2))
        far = np.concatenate((far, far + rng.uniform(4, 150, far.shape)), 1)
        boxes = np.concatenate((true, near, far))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        if whole:
            true, boxes = true.round(), boxes.round()
            boxes[:, 2:], true[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1), true[:, 2:] + 1
        n = len(boxes)
        classes = np.concatenate((cls, rng.permutation(np.repeat(cls, 4)), rng.integers(0, NC, len(far)))).astype(int)
        if i == 5:
            classes[:] = 2  # more than 100 of one class
        if i == 9:
            boxes, classes, n = boxes[:0], classes[:0], 0
        made.append(
            {
                "boxes": boxes,
                "scores": rng.uniform(0, 1, n).round(1 if whole else 2),
                "classes": classes,
                "true_boxes": true,
                "true_classes": cls,
                "areas": (true[:, 2:] - true[:, :2]).prod(1) * rng.uniform(0.4, 1, m),
                "crowd": rng.uniform(0, 1, m) < 0.1 * crowd,
            }
        )
    return made


def ltwh(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1).tolist()


def as_coco(images: list[dict]) -> tuple[dict, list[dict]]:
    """Return the images as COCO's ground truth and results."""
    truth = [
        {"image_id": i, "bbox": box, "category_id": int(c), "area": float(a), "iscrowd": int(k)}
        for i, p in enumerate(images)
        for box, c, a, k in zip(ltwh(p["true_boxes"]), p["true_classes"], p["areas"], p["crowd"])
    ]
    found = [
        {"image_id": i, "bbox": box, "category_id": int(c), "score": float(s)}
        for i, p in enumerate(images)
        for box, c, s in zip(ltwh(p["boxes"]), p["classes"], p["scores"])
    ]
    dataset = {
        "images": [{"id": i, "width": 500, "height": 500} for i in range(len(images))],
        "categories": [{"id": c, "name": str(c)} for c in range(NC)],
        "annotations": [{"id": n, **row} for n, row in enumerate(truth, 1)],
        "info": {},
    }
    return dataset, found


def reference(package: str, images: list[dict]) -> np.ndarray:
    """Return the twelve figures of another implementation."""
    reason = f"{package} is the reference; pip install '.[dev]' brings it"
    if package == "pycocotools":
        coco = pytest.importorskip("pycocotools.coco", reason=reason).COCO
        evaluate = pytest.importorskip("pycocotools.cocoeval", reason=reason).COCOeval
    else:
        module = pytest.importorskip("faster_coco_eval", reason=reason)
        coco, evaluate = module.COCO, module.COCOeval_faster
    dataset, found = as_coco(images)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco()
        truth.dataset = dataset
        truth.createIndex()
        judge = evaluate(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return np.array(judge.stats[:12], float)


def count(images: list[dict], **more) -> CocoAP:
    ap = CocoAP()
    for i, image in enumerate(images):
        ap.add(**image, **{key: values[i] for key, values in more.items()})
    return ap


@pytest.mark.parametrize("package", ["pycocotools", "faster_coco_eval"])
@pytest.mark.parametrize(("seed", "whole"), [(0, False), (1, False), (2, True), (3, True)])
def test_equals_the_reference(package, seed, whole):
    images = scene(seed, whole=whole)
    found = np.array([count(images).results()[key] for key in KEYS])
    assert 0.02 < found[0] < 0.9  # neither nothing nor everything is found
    np.testing.assert_allclose(found, reference(package, images), atol=1e-10)


@pytest.mark.parametrize("package", ["pycocotools", "faster_coco_eval"])
def test_no_object_of_a_size(package):
    images = scene(4, crowd=False)
    for p in images:
        p["areas"] = np.full(len(p["areas"]), 50.0**2)
    found = count(images).results()
    assert math.isnan(found["APs"]) and math.isnan(found["ARl"])
    expected = reference(package, images)
    np.testing.assert_allclose([found[k] for k in KEYS], np.where(expected == -1, np.nan, expected), atol=1e-10)


def test_images_count_by_their_ids_not_by_their_coming():
    """A tie of scores: the right one is in the image of the lower number, whatever comes first."""
    box, other = [[0, 0, 10, 10]], [[50, 50, 60, 60]]
    first, second = CocoAP(), CocoAP()
    right = {"boxes": box, "scores": [0.5], "classes": [0], "true_boxes": box, "true_classes": [0]}
    wrong = {**right, "boxes": other}
    for ap, ids in ((first, (1, 2)), (second, (2, 1))):
        ap.add(**right, image_id=ids[0])
        ap.add(**wrong, image_id=ids[1])
    assert first.results()["AP"] == pytest.approx(51 / 101)  # precision 1 up to recall 0.5
    assert second.results()["AP"] == pytest.approx(0.5 * 51 / 101)
    second.add(**wrong, image_id="a name among numbers")
    assert second.results()["AP"] < 0.5 * 51 / 101  # computed anew, and numbers come before names


def test_in_parts_as_at_once(monkeypatch):
    images = scene(6)
    whole = count(images).by_class()
    monkeypatch.setattr("ultralytics.utils.evaluation.coco_ap._AT_ONCE", 40)
    for a, b in zip(whole, count(images).by_class()):
        np.testing.assert_array_equal(a, b)


def test_sizes_are_those_of_areas_on_the_border():
    """An area of exactly 32 x 32 pixels is small and medium, as in COCO."""
    box = [[0, 0, 32, 32]]
    ap = CocoAP()
    ap.add(box, [0.9], [3], box, [3])
    assert [*ap.sizes.values()] == pytest.approx([1, 1, float("nan")], nan_ok=True)
    assert [*AREAS][1:] == [*ap.sizes]


def test_a_crowd_is_neither_right_nor_wrong():
    """Detections within a crowd are passed over, any number of them."""
    ap = CocoAP()
    objects = [[0, 0, 10, 10], [100, 0, 200, 100]]
    found = [[110, 10, 120, 20], [130, 10, 140, 20], [0, 0, 10, 10]]
    ap.add(found, [0.9, 0.8, 0.7], [0, 0, 0], objects, [0, 0], crowd=[False, True])
    assert ap.results()["AP"] == pytest.approx(1)


def test_nothing_at_all():
    ap = CocoAP()
    assert all(map(math.isnan, ap.results().values()))
    ap.add([], [], [], [], [])
    assert all(map(math.isnan, ap.results().values()))
    ap.add([], [], [], [[0, 0, 5, 5]], [1])
    assert ap.results()["AP"] == 0 and math.isnan(ap.results()["APl"])


def test_misfits_are_named():
    with pytest.raises(ValueError, match="scores has 1 entries for 2 boxes"):
        CocoAP().add([[0, 0, 1, 1]] * 2, [0.5], [0, 0], [], [])


@pytest.mark.parametrize(("file", "name"), [("a/000042.jpg", 42), ("b.png", "b"), ("一.jpg", "一"), ("².jpg", "²")])
def test_images_have_coco_names(file, name):
    assert image_id(file) == name
