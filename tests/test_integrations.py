"""Libraries that take YOLO objects and Results run unchanged: `pip install .[integrations]`."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_model

from ultralytics import YOLO
from ultralytics.engine.results import Results

ALL = {"conf": 0.2, "imgsz": 64, "verbose": False}


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (150, 200, 3), dtype=np.uint8)


@pytest.fixture
def model(work_dir: Path) -> YOLO:
    """An untrained detector that finds something everywhere."""
    torch.manual_seed(0)
    model = YOLO(tiny_model(work_dir))
    model.model.names = {0: "red", 1: "green"}
    for branch in model.model.model[-1].cv3:
        branch[-1].bias.data[:] = torch.tensor([-1.0, -1.1])
    return model


@pytest.fixture(params=["own", "imported"])
def checkpoint(model: YOLO, request: pytest.FixtureRequest) -> str:
    """A weight file of this package, and one as 8.x writes it: the module itself, pickled."""
    if request.param == "own":
        model.save("m.pt")
    else:
        model.model.args = {"task": "detect"}
        torch.save({"model": model.model, "train_args": {"task": "detect"}, "version": "8.3.0"}, "m.pt")
        assert YOLO("m.pt").ckpt["source"] == "ultralytics"
    return "m.pt"


# supervision ----------------------------------------------------------------------------------------------------------


def test_supervision_takes_boxes(model: YOLO, image: np.ndarray):
    sv = pytest.importorskip("supervision")
    result = model(image, **ALL)[0]
    found = sv.Detections.from_ultralytics(result)
    assert len(found) == len(result.boxes) > 0 and found.tracker_id is None and found.mask is None
    np.testing.assert_array_equal(found.xyxy, result.boxes.xyxy.numpy())
    np.testing.assert_array_equal(found.confidence, result.boxes.conf.numpy())
    assert found.data["class_name"].tolist() == [result.names[int(c)] for c in result.boxes.cls]
    assert len(sv.Detections.from_ultralytics(result.numpy())) == len(found)
    drawn = sv.BoxAnnotator().annotate(image.copy(), found)
    assert (drawn != image).any()


def test_supervision_takes_ids_and_nothing(model: YOLO, image: np.ndarray):
    sv = pytest.importorskip("supervision")
    result = model(image, max_det=3, **ALL)[0]
    ids = torch.tensor([[7.0], [8.0], [9.0]])
    result.update(boxes=torch.cat((result.boxes.data[:, :4], ids, result.boxes.data[:, 4:]), 1))
    assert sv.Detections.from_ultralytics(result).tracker_id.tolist() == [7, 8, 9]
    assert len(sv.Detections.from_ultralytics(model(image, **{**ALL, "conf": 0.99})[0])) == 0


def results(names: dict[int, str], **parts) -> Results:
    """Results of a black image, 40 x 60, with parts that a task may still have to bring."""
    missing = parts.keys() - inspect.signature(Results).parameters.keys()
    if missing:
        pytest.skip(f"Results has no {', '.join(sorted(missing))} yet: that task is still to come")
    return Results(np.zeros((40, 60, 3), np.uint8), path="a.jpg", names=names, **parts)


def test_supervision_takes_masks():
    sv = pytest.importorskip("supervision")
    masks = torch.zeros(2, 40, 60)
    masks[0, 5:15, 10:30], masks[1, 20:35, 40:55] = 1, 1
    boxes = torch.tensor([[10.0, 5, 30, 15, 0.9, 0], [40, 20, 55, 35, 0.8, 1]])
    found = sv.Detections.from_ultralytics(results({0: "a", 1: "b"}, boxes=boxes, masks=masks))
    np.testing.assert_array_equal(found.mask, masks.bool().numpy())
    assert found.class_id.tolist() == [0, 1]


def test_supervision_takes_rotated_boxes():
    sv = pytest.importorskip("supervision")
    result = results({0: "a"}, obb=torch.tensor([[30.0, 20, 20, 10, 0.5, 0.9, 0]]))
    found = sv.Detections.from_ultralytics(result)
    np.testing.assert_allclose(found.data["xyxyxyxy"][0], result.obb.xyxyxyxy[0].numpy())
    assert found.confidence.tolist() == pytest.approx([0.9]) and found.class_id.tolist() == [0]


def test_supervision_slices(model: YOLO, image: np.ndarray):
    sv = pytest.importorskip("supervision")

    def callback(part: np.ndarray):
        return sv.Detections.from_ultralytics(model(part, **ALL)[0])

    found = sv.InferenceSlicer(callback=callback, slice_wh=(100, 100), overlap_wh=(20, 20), thread_workers=1)(image)
    assert len(found) > 0 and (found.xyxy[:, 2] <= 200).all() and found.xyxy[:, 2].max() > 150


# sahi -----------------------------------------------------------------------------------------------------------------


def detector(**kwargs):
    sahi = pytest.importorskip("sahi")
    return sahi.AutoDetectionModel.from_pretrained(
        model_type="ultralytics", confidence_threshold=0.2, device="cpu", image_size=64, **kwargs
    )


def test_sahi_predicts_in_slices(checkpoint: str, image: np.ndarray):
    predict = pytest.importorskip("sahi.predict")
    sliced = predict.get_sliced_prediction(
        image, detector(model_path=checkpoint), slice_height=96, slice_width=96, verbose=0
    )
    found = sliced.object_prediction_list
    assert found and {p.category.name for p in found} <= {"red", "green"}
    assert max(p.bbox.maxx for p in found) > 150  # also in the slices on the right


@pytest.mark.parametrize("fuse", [False, True])
def test_sahi_finds_what_the_model_finds(checkpoint: str, image: np.ndarray, fuse: bool):
    predict = pytest.importorskip("sahi.predict")
    found = predict.get_prediction(image, detector(model_path=checkpoint, fuse=fuse)).object_prediction_list
    boxes = YOLO(checkpoint)(image[..., ::-1], **ALL)[0].boxes  # sahi takes RGB
    assert len(found) == len(boxes) > 0
    ours = boxes.xyxy.numpy().clip(0)
    np.testing.assert_allclose([p.bbox.to_xyxy() for p in found], ours, atol=0.05 if not fuse else 0.5)
    np.testing.assert_allclose([p.score.value for p in found], boxes.conf.numpy(), atol=1e-3)


def test_sahi_takes_a_model_in_memory(model: YOLO, image: np.ndarray):
    predict = pytest.importorskip("sahi.predict")
    wanted = len(model(image[..., ::-1], **ALL)[0])
    assert len(predict.get_prediction(image, detector(model=model)).object_prediction_list) == wanted > 0


# boxmot ---------------------------------------------------------------------------------------------------------------


def test_boxmot_tracks_boxes(model: YOLO, image: np.ndarray):
    boxmot = pytest.importorskip("boxmot")
    tracker = boxmot.ByteTrack(track_thresh=0.2, min_conf=0.1)
    result = model(image, **ALL)[0]
    for _ in range(3):
        tracks = tracker.update(result.boxes.data.numpy(), result.orig_img)
    assert 0 < len(tracks) <= len(result.boxes) and len({*tracks[:, 4]}) == len(tracks)


def test_a_predictor_goes_step_by_step(model: YOLO, image: np.ndarray):
    """boxmot's detector takes the predictor of a first call, and calls its steps itself."""
    images = [image, image[::-1].copy()]
    wanted = model(images, **{**ALL, "conf": 0.25}, classes=[0])
    model.predict(np.zeros((32, 32, 3), np.uint8), **ALL, stream=False, device=torch.device("cpu"))
    predictor = model.predictor
    predictor.args.conf, predictor.args.classes, predictor.args.agnostic_nms = 0.25, (0,), False
    predictor.batch = ["", ""], images, None
    inputs = predictor.preprocess(images)
    found = predictor.postprocess(predictor.inference(inputs), inputs, images)
    assert len(found) == 2 and sum(map(len, wanted)) > 0
    for ours, theirs in zip(found, wanted):
        assert torch.equal(ours.boxes.data, theirs.boxes.data)
