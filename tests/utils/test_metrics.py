"""Overlaps, average precision, metrics and confusion matrix."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.utils import metrics
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.evaluation import confusion
from ultralytics.utils.metrics import (
    ClassifyMetrics,
    ConfusionMatrix,
    DetMetrics,
    OBBMetrics,
    PoseMetrics,
    SegmentMetrics,
    ap_per_class,
    bbox_iou,
    match_predictions,
)

REFERENCE = Path(__file__).parents[1] / "reference"
IOUV = torch.linspace(0.5, 0.95, 10)


@pytest.fixture(scope="module")
def figures():
    with np.load(REFERENCE / "metrics.npz") as data:
        return dict(data)


def close(got, wanted):
    np.testing.assert_allclose(np.asarray(got), wanted, rtol=0, atol=1e-5)


# Overlap


@pytest.mark.parametrize("kind", ["IoU", "GIoU", "DIoU", "CIoU"])
def test_iou_reference(figures, kind):
    b1, b2 = torch.from_numpy(figures["b1"]), torch.from_numpy(figures["b2"])
    flags = {} if kind == "IoU" else {kind: True}
    close(bbox_iou(b1, b2, xywh=False, **flags), figures[f"bbox_iou_{kind}"])
    from ultralytics.utils.ops import xyxy2xywh

    close(bbox_iou(xyxy2xywh(b1), xyxy2xywh(b2), **flags), figures[f"bbox_iou_{kind}"])


def test_other_overlaps_reference(figures):
    t = {k: torch.from_numpy(v) for k, v in figures.items() if "/" not in k}
    close(metrics.box_iou(t["b1"], t["b2"]), figures["box_iou"])
    close(metrics.bbox_ioa(figures["b1"], figures["b2"], iou=True), figures["box_iou"])
    close(metrics.probiou(t["obb1"], t["obb2"]), figures["probiou"])
    close(metrics.batch_probiou(figures["obb1"], t["obb2"]), figures["batch_probiou"])
    close(metrics.kpt_iou(t["kpt1"], t["kpt2"], t["kpt_area"], metrics.OKS_SIGMA), figures["kpt_iou"])
    close(metrics.mask_iou(t["m1"], t["m2"]), figures["mask_iou"])


def test_iou_broadcasts_and_allows_none():
    one, many = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])
    close(bbox_iou(one, many, xywh=False)[:, 0], [1, 1 / 3, 0])
    close(metrics.box_iou(one, many), [[1, 1 / 3, 0]])
    assert metrics.box_iou(one[:0], many).shape == (0, 3)
    assert metrics.box_iou(one, many[:0]).shape == (1, 0)
    assert bbox_iou(one[:0], many[:0], CIoU=True).shape == (0, 1)


def test_ioa_is_the_share_of_the_second_box():
    close(metrics.bbox_ioa(np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 0, 2, 2], [9, 9, 11, 11]])), [[1, 0.25]])


@pytest.mark.parametrize("kind", ["GIoU", "DIoU", "CIoU"])
def test_distant_boxes_have_a_gradient(kind):
    box = torch.tensor([[0.0, 0, 2, 2]], requires_grad=True)
    bbox_iou(box, torch.tensor([[5.0, 5, 9, 8]]), xywh=False, **{kind: True}).sum().backward()
    assert torch.isfinite(box.grad).all()
    assert (box.grad[0, 2:] > 0).all()  # growing towards the other box is better


# Average precision


def test_ap_reference(figures):
    result = ap_per_class(*(figures[f"in/{k}"] for k in ("tp", "conf", "pred_cls", "target_cls")))
    for name, value in result._asdict().items():
        assert value.shape == figures[f"out/{name}"].shape, name
        close(value, figures[f"out/{name}"])


def test_compute_ap():
    assert metrics.compute_ap([1.0], [1.0])[0] == pytest.approx(1.0, abs=0.01)
    ap, mpre, mrec = metrics.compute_ap([0.5, 0.5, 1.0], [1.0, 0.5, 2 / 3])
    assert ap == pytest.approx(0.83, abs=0.01)
    assert (np.diff(mpre) <= 0).all()
    assert (mrec[0], mrec[-1]) == (0, 1)


def test_smooth_keeps_length_and_constants():
    close(metrics.smooth(np.full(1000, 3.0), 0.1), np.full(1000, 3.0))
    assert metrics.smooth(np.eye(1, 1000, 500)[0], 0.05).max() < 0.03


def perfect(n=4, classes=(0, 1, 1, 3)):
    cls = np.array(classes[:n], dtype=float)
    return np.ones((n, 10), dtype=bool), np.linspace(0.9, 0.6, n), cls, cls


def test_perfect_detector():
    result = DetMetrics(names={0: "a", 1: "b", 2: "c", 3: "d"})
    result.process(*perfect())
    assert result.box.map == pytest.approx(0.995, abs=1e-3)
    assert result.ap_class_index.tolist() == [0, 1, 3]
    assert result.maps.shape == (4,)
    assert result.maps[2] == pytest.approx(result.box.map)
    assert result.fitness == pytest.approx(0.1 * result.box.map50 + 0.9 * result.box.map)
    assert result.box.map75 == result.box.map50
    assert list(result.results_dict) == [
        "metrics/precision(B)",
        "metrics/recall(B)",
        "metrics/mAP50(B)",
        "metrics/mAP50-95(B)",
        "fitness",
    ]
    assert list(result.results_dict.values())[:4] == result.mean_results()
    assert result.class_result(1)[2:] == (result.box.ap50[1], result.box.ap[1])
    assert result.box.mr == pytest.approx(1)
    assert len(result.curves) == len(result.curves_results) == 4
    assert result.curves_results[1][2:] == ["Confidence", "F1"]
    recall, precision = result.curves_results[0][:2]  # also where nothing is drawn
    assert precision.shape == (len(result.ap_class_index), len(recall))
    assert result.speed.keys() == {"preprocess", "inference", "loss", "postprocess"}


def nothing(n_targets):
    return np.zeros((0, 10), dtype=bool), np.zeros(0), np.zeros(0), np.zeros(n_targets)


def test_no_predictions():
    result = DetMetrics(names=["fire"])
    result.process(*nothing(3))
    assert result.mean_results() == [0, 0, 0, 0]
    assert result.fitness == 0
    assert result.maps.tolist() == [0]


def test_nothing_at_all():
    result = DetMetrics(names=["fire"])
    result.process(*nothing(0))
    assert result.mean_results() == [0, 0, 0, 0]
    assert result.maps.tolist() == [0]
    assert result.ap_class_index.tolist() == []


def test_predictions_without_objects():
    result = DetMetrics(names=["fire"])
    result.process(np.zeros((5, 10), dtype=bool), np.linspace(0.9, 0.1, 5), np.zeros(5), np.zeros(0))
    assert result.results_dict["fitness"] == 0


def test_before_anything_was_processed():
    result = DetMetrics()
    assert result.mean_results() == [0, 0, 0, 0]
    assert result.maps.tolist() == []
    assert result.fitness == 0


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    drawn = []
    result = DetMetrics(tmp_path, plot=True, on_plot=lambda p, *_: drawn.append(Path(p).name), names={0: "a", 1: "b"})
    result.process(*perfect(3))
    assert {p.name for p in tmp_path.iterdir()} == {f"{k}_curve.png" for k in ("PR", "F1", "P", "R")}
    assert sorted(drawn) == sorted(p.name for p in tmp_path.iterdir())
    assert result.curves_results[0][1].shape == (2, 1000)


# Tasks

PARTS = [(SegmentMetrics, "seg", "M", "Mask"), (PoseMetrics, "pose", "P", "Pose")]
AP = ["metrics/precision", "metrics/recall", "metrics/mAP50", "metrics/mAP50-95"]


@pytest.mark.parametrize(("kind", "part", "letter", "_"), PARTS)
def test_two_parts_are_judged_apart(figures, kind, part, letter, _):
    """Boxes as in the reference; of the second part every second one is wrong."""
    tp, conf, pred_cls, target_cls = (figures[f"in/{k}"] for k in ("tp", "conf", "pred_cls", "target_cls"))
    worse = tp.copy()
    worse[::2] = False
    result = kind(names={i: str(i) for i in range(8)})
    result.process(tp, worse, conf, pred_cls, target_cls)
    alone = DetMetrics(names=result.names)
    alone.process(worse, conf, pred_cls, target_cls)
    second = getattr(result, part)
    close(result.box.all_ap, figures["out/ap"])
    close(second.all_ap, alone.box.all_ap)
    assert 0 < second.map < result.box.map
    assert result.keys == [f"{k}(B)" for k in AP] + [f"{k}({letter})" for k in AP]
    assert list(result.results_dict) == [*result.keys, "fitness"]
    assert result.mean_results() == result.box.mean_results() + second.mean_results()
    assert result.class_result(2) == (*result.box.class_result(2), *second.class_result(2))
    assert result.fitness == pytest.approx(result.box.fitness() + second.fitness())
    close(result.maps, result.box.maps + second.maps)
    assert result.ap_class_index.tolist() == figures["out/unique_classes"].tolist()
    assert len(result.curves) == len(result.curves_results) == 8
    assert result.curves[4] == f"Precision-Recall({letter})"
    assert result.curves_results[4][1] is second.prec_values


@pytest.mark.parametrize(("kind", "part", "letter", "prefix"), PARTS)
def test_curves_of_both_parts_are_drawn(tmp_path, monkeypatch, kind, part, letter, prefix):
    from ultralytics.utils import plotting

    drawn = []
    for function in ("plot_pr_curve", "plot_mc_curve"):
        monkeypatch.setattr(
            plotting, function, lambda *args, **_: drawn.extend(p.name for p in args if isinstance(p, Path))
        )
    tp, conf, cls, target = perfect(3)
    kind(tmp_path, plot=True, names=["a", "b"]).process(tp, tp, conf, cls, target)
    assert drawn == [f"{p}{c}_curve.png" for p in ("Box", prefix) for c in ("PR", "F1", "P", "R")]


@pytest.mark.parametrize("kind", [SegmentMetrics, PoseMetrics])
def test_two_parts_before_anything_was_processed(kind):
    result = kind()
    assert result.mean_results() == [0] * 8 and result.fitness == 0
    assert DetMetrics.keys == [f"{k}(B)" for k in AP], "the detector's keys stay"


def test_rotated_boxes_have_the_keys_of_boxes():
    result = OBBMetrics(names=["a", "b", "c", "d"])
    result.process(*perfect())
    assert list(result.results_dict) == [*(f"{k}(B)" for k in AP), "fitness"]
    assert result.fitness == pytest.approx(0.995, abs=1e-3)


def test_classification():
    result = ClassifyMetrics()
    assert result.fitness == 0 and result.speed["inference"] == 0
    pred = [torch.tensor([[3, 1, 2, 0, 4], [1, 3, 2, 0, 4]]), torch.tensor([[9, 8, 7, 6, 5], [0, 1, 2, 3, 4]])]
    result.process([torch.tensor([3, 3]), torch.tensor([1, 4])], pred)
    assert (result.top1, result.top5, result.fitness) == (0.25, 0.75, 0.5)
    assert result.results_dict == {"metrics/accuracy_top1": 0.25, "metrics/accuracy_top5": 0.75, "fitness": 0.5}
    assert result.curves == result.curves_results == []


def test_classification_of_few_classes():
    result = ClassifyMetrics()
    result.process([torch.tensor([1, 0])], [torch.tensor([[1, 0], [1, 0]])])
    assert (result.top1, result.top5) == (0.5, 1.0)


# Matching


def test_match_at_rising_thresholds():
    iou = torch.tensor([[0.92, 0.6, 0.0]])
    got = match_predictions(torch.zeros(3), torch.zeros(1), iou, IOUV)
    assert got.sum(1).tolist() == [9, 0, 0]


def test_match_goes_to_the_highest_scoring_that_is_near_enough():
    """The second takes over where the first is not near enough, and only there."""
    iou = torch.tensor([[0.62, 0.9]])
    got = match_predictions(torch.zeros(2), torch.zeros(1), iou, IOUV)
    assert got[:, :3].tolist() == [[True] * 3, [False] * 3]
    assert got[:, 3:9].tolist() == [[False] * 6, [True] * 6]
    assert not got[:, 9].any()


def test_match_one_object_a_prediction():
    iou = torch.tensor([[0.9, 0.0], [0.8, 0.0]])
    assert match_predictions(torch.zeros(2), torch.zeros(2), iou, IOUV)[:, 0].tolist() == [True, False]


def test_match_needs_the_class():
    iou = torch.tensor([[0.9, 0.8]])
    got = match_predictions(torch.tensor([1.0, 0.0]), torch.tensor([0.0]), iou, IOUV)
    assert got[:, 0].tolist() == [False, True]


@pytest.mark.parametrize(("n", "m"), [(0, 3), (4, 0), (0, 0)])
def test_match_nothing(n, m):
    got = match_predictions(torch.zeros(n), torch.zeros(m), torch.zeros(m, n), IOUV)
    assert got.shape == (n, 10)
    assert got.dtype == torch.bool
    assert not got.any()


# Confusion matrix

BOXES = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])


def detections(*rows):
    return torch.tensor(rows, dtype=torch.float32).view(-1, 6)


def test_confusion_counts():
    matrix = ConfusionMatrix(nc=3)
    found = detections(
        (0, 0, 10, 10, 0.9, 0),  # right
        (20, 20, 30, 30, 0.9, 2),  # right place, wrong class
        (0, 0, 9, 10, 0.8, 1),  # the first object once more
        (50, 50, 60, 60, 0.9, 1),  # background
        (70, 70, 80, 80, 0.1, 1),  # below the confidence
    )
    matrix.process_batch(found, BOXES, torch.tensor([0.0, 1.0]))
    wanted = np.zeros((4, 4))
    wanted[0, 0] = wanted[2, 1] = 1
    wanted[1, 3] = 2
    assert matrix.matrix.tolist() == wanted.tolist()
    tp, fp = matrix.tp_fp()
    assert tp.tolist() == [1, 0, 0]
    assert fp.tolist() == [0, 2, 1]


def test_confusion_takes_the_nearest():
    matrix = ConfusionMatrix(nc=2)
    found = detections((0, 0, 10, 8, 0.9, 1), (0, 0, 10, 10, 0.5, 0))
    matrix.process_batch(found, BOXES[:1], torch.tensor([0]))
    assert matrix.matrix[0, 0] == 1
    assert matrix.matrix[1, 2] == 1


@pytest.mark.parametrize("found", [None, detections()])
def test_confusion_all_missed(found):
    matrix = ConfusionMatrix(nc=2)
    matrix.process_batch(found, BOXES, torch.tensor([0, 1]))
    assert matrix.matrix[2].tolist() == [1, 1, 0]
    assert matrix.matrix.sum() == 2


def test_confusion_without_overlap_counts_both_sides():
    matrix = ConfusionMatrix(nc=1)
    matrix.process_batch(detections((80, 80, 90, 90, 0.9, 0)), BOXES[:1], torch.tensor([0]))
    assert matrix.matrix.tolist() == [[0, 1], [1, 0]]


def test_confusion_without_objects():
    matrix = ConfusionMatrix(nc=1, conf=0.001)
    found = detections((0, 0, 9, 9, 0.9, 0), (0, 0, 9, 9, 0.1, 0))
    matrix.process_batch(found, BOXES[:0], torch.zeros(0))
    assert matrix.matrix.tolist() == [[0, 1], [0, 0]]


def test_confusion_of_rotated_boxes():
    matrix = ConfusionMatrix(nc=2, task="obb")
    found = torch.tensor([[50.0, 50, 30, 10, 0.9, 1, 0.5]])
    matrix.process_batch(found, torch.tensor([[50.0, 50, 30, 10, 0.5]]), torch.tensor([1]))
    assert matrix.matrix[1, 1] == 1


def test_confusion_of_a_rotated_box_that_lies_across():
    """It has the same upright box, and is seen in the background."""
    matrix = ConfusionMatrix(nc=2, task="obb")
    found = torch.tensor([[50.0, 50, 30, 4, 0.9, 1, 0.785]])
    matrix.process_batch(found, torch.tensor([[50.0, 50, 30, 4, 2.356]]), torch.tensor([1]))
    assert matrix.matrix[1, 2] == 1 and matrix.matrix[2, 1] == 1 and matrix.matrix.sum() == 2


def test_confusion_of_boxes_with_one_more_column():
    """Seven columns are a rotated box only where the objects are rotated too."""
    matrix = ConfusionMatrix(nc=2, task="segment")
    matrix.process_batch(torch.tensor([[0.0, 0, 10, 10, 0.9, 1, 7.0]]), BOXES[:1], torch.tensor([1]))
    assert matrix.matrix[1, 1] == 1 and matrix.matrix.sum() == 1


def test_confusion_of_classification_is_drawn_without_background(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from ultralytics.utils.drawing import curves

    shown = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, *_: shown.append(figure))
    ConfusionMatrix(nc=3, task="classify").plot(save_dir=tmp_path, names=["a", "b", "c"])
    ConfusionMatrix(nc=2, task="obb").plot(save_dir=tmp_path, names=["a", "b"])
    labels = [[t.get_text() for t in f.axes[0].get_yticklabels()] for f in shown]
    assert labels == [["a", "b", "c"], ["a", "b", "background"]]


def test_confusion_of_classification():
    matrix = ConfusionMatrix(nc=3, task="classify")
    matrix.process_cls_preds([torch.tensor([[0, 1], [2, 1]])], [torch.tensor([0, 1])])
    assert matrix.matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    tp, fp = matrix.tp_fp()
    assert tp.tolist() == [1, 0, 0]
    assert fp.tolist() == [0, 0, 1]


def test_confusion_of_an_unknown_task():
    with pytest.raises(ConfigError, match=r"'depth'.*detect"):
        ConfusionMatrix(nc=1, task="depth")


def test_confusion_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    matrix = ConfusionMatrix(nc=2)
    matrix.process_batch(None, BOXES, torch.tensor([0, 1]))
    matrix.plot(save_dir=tmp_path, names=["a", "b"], normalize=False)
    assert [p.name for p in tmp_path.iterdir()] == ["confusion_matrix.png"]


def test_confusion_is_printed(capsys, monkeypatch):
    lines = []
    monkeypatch.setattr(confusion.LOGGER, "info", lines.append)
    ConfusionMatrix(nc=1).print()
    assert lines == ["0 0", "0 0"]
