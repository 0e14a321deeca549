"""Non-maximum suppression: reference rows, both backends, and the edges."""

import json
import logging
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.geometry import nms
from ultralytics.utils.geometry.overlap import batch_probiou

REFERENCE = Path(__file__).parents[1] / "reference"
CASES = json.loads((REFERENCE / "nms_cases.json").read_text())


def plain_nms(boxes, scores, iou_thres):
    """Torchvision's contract in the plainest words."""
    corners, kept = boxes.double().tolist(), []
    for i in scores.argsort(descending=True, stable=True).tolist():
        x1, y1, x2, y2 = corners[i]
        for j in kept:
            u1, v1, u2, v2 = corners[j]
            inter = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
            if inter > iou_thres * ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter):
                break
        else:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.long)


@pytest.fixture(autouse=True)
def forget_backend():
    """Find the backend out anew for each test, and afterwards."""
    nms.suppressor.cache_clear()
    yield
    nms.suppressor.cache_clear()


@pytest.fixture
def messages():
    """The log's messages; the package's logger does not hand them on to pytest."""
    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    LOGGER.addHandler(handler)
    yield texts
    LOGGER.removeHandler(handler)


@pytest.fixture
def torchvision_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)


@pytest.fixture
def torchvision_unfit(monkeypatch):
    """A torchvision built for another torch: imports, and breaks when used."""

    def broken(*_):
        raise RuntimeError("operator torchvision::nms does not exist")

    ops = types.ModuleType("torchvision.ops")
    ops.nms = broken
    package = types.ModuleType("torchvision")
    package.ops = ops
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)


@pytest.fixture
def torchvision_works(monkeypatch):
    """A torchvision that does its work; it counts how often."""
    calls = []
    ops = types.ModuleType("torchvision.ops")
    ops.nms = lambda *args: (calls.append(len(args[0])), plain_nms(*args))[1]
    package = types.ModuleType("torchvision")
    package.ops = ops
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.ops", ops)
    return calls


def check_reference(case):
    with np.load(REFERENCE / "nms.npz") as figures:
        output = nms.non_max_suppression(torch.from_numpy(figures["pred"]), **CASES[case])
        for i, rows in enumerate(output):
            wanted = figures[f"{case}/{i}"]
            assert rows.shape == wanted.shape
            np.testing.assert_allclose(rows.numpy(), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_reference(case):
    check_reference(case)


@pytest.mark.parametrize("case", CASES)
def test_reference_without_torchvision(case, torchvision_missing, messages):
    check_reference(case)
    check_reference(case)
    assert len(messages) == 1, "said once"
    assert "torchvision is not installed" in messages[0]


def test_reference_with_unfit_torchvision(torchvision_unfit, messages):
    check_reference("predict")
    check_reference("maxdet")
    assert len(messages) == 1
    assert "operator torchvision::nms does not exist" in messages[0]


def test_torchvision_is_used_where_it_works(torchvision_works, messages):
    check_reference("maxdet")
    assert len(torchvision_works) > 1
    assert not messages


def crowd(n, seed=0):
    """Boxes in clusters, so that many overlap; some scores are equal."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 100, (max(n // 8, 1), 2))[rng.integers(0, max(n // 8, 1), n)] + rng.normal(0, 2, (n, 2))
    half = rng.uniform(4, 10, (n, 2))
    boxes = torch.from_numpy(np.concatenate((centre - half, centre + half), 1))
    return boxes, torch.from_numpy(rng.integers(0, 50, n) / 50)


@pytest.mark.parametrize("iou_thres", [0.0, 0.3, 0.7, 1.0])
def test_opencv_equals_plain(iou_thres, torchvision_missing):
    boxes, scores = crowd(300)
    assert torch.equal(nms.nms(boxes, scores, iou_thres), plain_nms(boxes, scores, iou_thres))


def test_opencv_keeps_boxes_without_area(torchvision_missing):
    boxes = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0], [5, 5, 9, 9], [5, 5, 9, 9], [6, 6, 6, 8]])
    scores = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.1])
    assert nms.nms(boxes, scores, 0.5).tolist() == plain_nms(boxes, scores, 0.5).tolist() == [3, 1, 0, 4]


def test_opencv_threshold_is_strict(torchvision_missing):
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # IoU is exactly 0.5
    scores = torch.tensor([0.9, 0.8])
    assert nms.nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms.nms(boxes, scores, 0.499).tolist() == [0]


@pytest.mark.parametrize("limit", [1, 100, 450, 10_000])
def test_limit_cuts_the_full_result(limit):
    boxes, scores = crowd(3000)
    assert torch.equal(nms.nms(boxes, scores, 0.6, limit), nms.nms(boxes, scores, 0.6)[:limit])


def test_limit_looks_further_when_the_highest_scoring_are_one_object():
    """600 boxes of one object come first: the second object is found behind them."""
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(601, 1)
    boxes[-1] += 50
    scores = torch.linspace(1, 0.5, 601)
    assert nms.nms(boxes, scores, 0.5, limit=2).tolist() == [0, 600]


def test_nothing_found():
    prediction = torch.zeros(2, 4 + 3, 10)
    assert [rows.shape for rows in nms.non_max_suppression(prediction)] == [(0, 6), (0, 6)]
    assert [rows.shape for rows in nms.non_max_suppression(torch.zeros(2, 7, 0))] == [(0, 6), (0, 6)]
    assert nms.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def one(x, y, w, h, *scores):
    return torch.tensor([x, y, w, h, *scores], dtype=torch.float32)[:, None]


def test_one_class_is_never_multi_label():
    prediction = torch.stack([one(50, 50, 20, 20, 0.9)])
    rows = nms.non_max_suppression(prediction, multi_label=True)[0]
    torch.testing.assert_close(rows, torch.tensor([[40.0, 40, 60, 60, 0.9, 0]]))


def test_multi_label_and_agnostic():
    prediction = torch.stack([one(50, 50, 20, 20, 0.9, 0.6)])
    assert len(nms.non_max_suppression(prediction)[0]) == 1
    assert nms.non_max_suppression(prediction, multi_label=True)[0][:, 5].tolist() == [0, 1]
    assert len(nms.non_max_suppression(prediction, multi_label=True, agnostic=True)[0]) == 1


def test_extra_columns_stay_with_their_box():
    a, b = one(50, 50, 20, 20, 0.5, 0, 11, 12), one(150, 50, 20, 20, 0, 0.9, 21, 22)
    rows = nms.non_max_suppression(torch.cat((a, b), 1)[None], nc=2)[0]
    assert rows[:, 5:].tolist() == [[1, 21, 22], [0, 11, 12]]


def test_known_labels_are_added():
    prediction = torch.stack([one(50, 50, 20, 20, 0.9, 0), one(50, 50, 20, 20, 0.9, 0)])
    labels = [torch.tensor([[1.0, 200, 100, 40, 20]]), torch.zeros(0, 5)]
    first, second = nms.non_max_suppression(prediction, labels=labels)
    torch.testing.assert_close(first[0], torch.tensor([180.0, 90, 220, 110, 1, 1]))
    assert (len(first), len(second)) == (2, 1)


def test_tuple_and_finished_rows():
    rows = torch.tensor([[[0.0, 0, 9, 9, 0.9, 2], [0, 0, 9, 9, 0.8, 1], [0, 0, 9, 9, 0.1, 2]]])
    out = nms.non_max_suppression((rows, None), classes=[2])
    assert out[0].tolist() == rows[0, :1].tolist()


def test_half_precision_keeps_classes_apart():
    """80 classes 7680 pixels apart lie beyond the range of half precision."""
    prediction = torch.zeros(1, 84, 2, dtype=torch.half)
    prediction[0, :4] = torch.tensor([50.0, 50, 20, 20])[:, None]
    prediction[0, 4 + 78, 0], prediction[0, 4 + 79, 1] = 0.9, 0.8
    assert nms.non_max_suppression(prediction)[0][:, 5].tolist() == [78, 79]


def test_input_stays_as_it_was():
    prediction = torch.stack([one(50, 50, 20, 20, 0.9, 0.1)])
    before = prediction.clone()
    nms.non_max_suppression(prediction)
    assert torch.equal(prediction, before)


def test_max_nms_takes_the_highest_scoring():
    prediction = torch.cat([one(100 * i, 50, 20, 20, s) for i, s in enumerate((0.5, 0.9, 0.7))], 1)[None]
    rows = nms.non_max_suppression(prediction, max_nms=2)[0]
    np.testing.assert_allclose(rows[:, 4], [0.9, 0.7])


@pytest.mark.parametrize("bad", [{"conf_thres": 1.5}, {"iou_thres": -0.1}, {"conf_thres": float("nan")}])
def test_thresholds_out_of_bounds(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        nms.non_max_suppression(torch.zeros(1, 6, 3), **bad)


def apart(n: int) -> torch.Tensor:
    """Return a prediction of n boxes far from each other."""
    x = torch.arange(n, dtype=torch.float32)
    return torch.stack((30 * x, torch.full_like(x, 50), *torch.full((2, n), 10.0), torch.full_like(x, 0.9), 0 * x))[
        None
    ]


def test_a_slow_batch_is_reported_and_whole(messages):
    found = nms.non_max_suppression(apart(1500).repeat(2, 1, 1), max_time_img=-5, max_det=9)
    assert [len(rows) for rows in found] == [9, 9]
    assert len(messages) == 1 and "for 3000 boxes in 2 images. A higher conf=" in messages[0]
    nms.non_max_suppression(apart(1500), max_time_img=-5)
    assert "for 1500 boxes in 1 image. A higher" in messages[1]


def test_few_boxes_are_never_called_slow(messages):
    """Where they take long it is the machine, and another conf= would not help."""
    nms.non_max_suppression(apart(20), max_time_img=-5)
    assert not messages


def test_the_import_of_torchvision_is_no_part_of_the_time(messages, monkeypatch):
    clock, backend = [0.0], nms.suppressor

    def importing(device):
        clock[0] += 60 * (len(asked) == 0)
        asked.append(device)
        return backend(device)

    asked: list = []
    importing.cache_clear = backend.cache_clear
    monkeypatch.setattr(nms, "suppressor", importing)
    monkeypatch.setattr(nms.time, "perf_counter", lambda: clock[0])
    nms.non_max_suppression(apart(1500))
    assert clock == [60.0] and len(asked) > 1 and not messages


# Rotated boxes


def rotated(n=1500, seed=0):
    generator = torch.Generator().manual_seed(seed)
    low, span = torch.tensor([0.0, 0, 10, 10, 0]), torch.tensor([200.0, 200, 40, 15, 3.14])
    return low + torch.rand(n, 5, generator=generator) * span, torch.rand(n, generator=generator)


def plain_rotated_nms(boxes, scores, threshold):
    """A box stays if none that is surer comes near it, kept or not."""
    order = scores.argsort(descending=True, stable=True)
    iou = batch_probiou(boxes[order], boxes[order])
    return [int(order[j]) for j in range(len(order)) if j == 0 or iou[:j, j].max() < threshold]


@pytest.mark.parametrize("threshold", [0.1, 0.45])
@pytest.mark.parametrize("block", [64, 5000])
def test_rotated_equals_the_plain_rule(threshold, block):
    boxes, scores = rotated()
    got = nms.nms_rotated(boxes, scores, threshold, block=block)
    assert 20 < len(got) < 1400
    assert got.tolist() == plain_rotated_nms(boxes, scores, threshold)
    assert nms.nms_rotated(boxes, scores, threshold, limit=15, block=block).tolist() == got[:15].tolist()


def test_rotated_tells_crossing_boxes_apart():
    """Two thin boxes that cross have the same upright box, and are two objects."""
    boxes = torch.tensor([[50.0, 50, 40, 4, 0.785], [50, 50, 40, 4, 2.356], [50.5, 50, 40, 4, 0.79]])
    assert nms.nms_rotated(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.45).tolist() == [0, 1]
    assert nms.nms_rotated(boxes[:0], torch.zeros(0)).tolist() == []
    assert nms.nms_rotated(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.0)[0] == 0, "the highest-scoring stays in any case"


def obb_prediction():
    a = one(50, 50, 40, 6, 0.9, 0, 0.785)
    again = one(50, 51, 40, 6, 0.6, 0, 0.785)
    across = one(50, 50, 40, 6, 0.8, 0, 2.356)
    other = one(50, 50, 40, 6, 0, 0.7, 0.785)
    return torch.cat((a, again, across, other), 1)[None]


@pytest.mark.parametrize("nc", [0, 2])
def test_rotated_rows_are_box_confidence_class_angle(nc):
    prediction = obb_prediction()
    before = prediction.clone()
    rows = nms.non_max_suppression((prediction, None), nc=nc, rotated=True)[0]
    wanted = [[50, 50, 40, 6, 0.9, 0, 0.785], [50, 50, 40, 6, 0.8, 0, 2.356], [50, 50, 40, 6, 0.7, 1, 0.785]]
    torch.testing.assert_close(rows, torch.tensor(wanted))
    assert torch.equal(prediction, before)


def test_rotated_switches():
    def find(**kwargs):
        return nms.non_max_suppression(obb_prediction(), nc=2, rotated=True, **kwargs)[0]

    assert find(agnostic=True)[:, 4].tolist() == pytest.approx([0.9, 0.8])
    assert find(classes=[1])[:, 4].tolist() == pytest.approx([0.7])
    assert len(find(max_det=1)) == 1
    assert len(find(iou_thres=0.99)) == 4
    assert find(conf_thres=0.95).shape == (0, 7)
    six = torch.cat((obb_prediction(), torch.zeros(1, 7, 2)), 2)  # six anchors are no finished rows
    assert len(nms.non_max_suppression(six, nc=2, rotated=True)[0]) == 3


def test_ops_offers_rotated_nms():
    from ultralytics.utils import ops

    assert ops.nms_rotated is nms.nms_rotated
