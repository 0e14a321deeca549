"""Results: what a picture holds, as numbers, text, tables and drawings."""

from __future__ import annotations

import copy
import json
import pickle

import cv2
import numpy as np
import pytest
import torch

from ultralytics.engine.results import Boxes, Results
from ultralytics.utils.errors import DataError
from ultralytics.utils.plotting import colors

NAMES = {0: "person", 1: "bus", 2: "火焰"}
ROWS = [[10.0, 20, 50, 80, 0.9, 0], [60, 20, 110, 90, 0.8, 0], [5, 5, 115, 95, 0.5, 1]]


@pytest.fixture
def image() -> np.ndarray:
    return np.full((100, 120, 3), 50, np.uint8)


@pytest.fixture(params=["tensor", "array"])
def result(request, image) -> Results:
    data = torch.tensor(ROWS) if request.param == "tensor" else np.array(ROWS, np.float32)
    return Results(image, "folder/street.jpg", NAMES, boxes=data, speed={"inference": 2.0})


def empty(image) -> Results:
    return Results(image, "street.jpg", NAMES, boxes=torch.zeros(0, 6))


# Boxes -------------------------------------------------------------------------------------------------------------
def test_boxes_in_all_notations(result):
    boxes = result.boxes
    assert boxes.orig_shape == (100, 120) and not boxes.is_track and boxes.id is None
    np.testing.assert_allclose(boxes.xyxy[0], [10, 20, 50, 80])
    np.testing.assert_allclose(boxes.xywh[0], [30, 50, 40, 60])
    np.testing.assert_allclose(boxes.xyxyn[0], [10 / 120, 0.2, 50 / 120, 0.8], rtol=1e-6)
    np.testing.assert_allclose(boxes.xywhn[0], [0.25, 0.5, 1 / 3, 0.6], rtol=1e-6)
    np.testing.assert_allclose(boxes.conf, [0.9, 0.8, 0.5], rtol=1e-6)
    np.testing.assert_allclose(boxes.cls, [0, 0, 1])
    np.testing.assert_allclose(boxes.data[:, :4], np.array(ROWS)[:, :4], err_msg="notations leave the data alone")


def test_track_ids_stand_before_the_confidence():
    boxes = Boxes(torch.tensor([[0.0, 0, 4, 4, 17, 0.5, 2]]), (10, 10))
    assert boxes.is_track and boxes.id.tolist() == [17] and boxes.conf.tolist() == [0.5] and boxes.cls.tolist() == [2]


def test_one_box_alone_is_a_row():
    assert Boxes(torch.tensor(ROWS[0]), (100, 120)).shape == (1, 6)


@pytest.mark.parametrize("shape", [(3, 5), (3, 8), (2, 3, 6), (4,)])
def test_boxes_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"\(n, 6\)"):
        Boxes(torch.zeros(shape), (10, 10))


def test_boxes_that_are_no_tensor_are_refused():
    with pytest.raises(DataError, match="list"):
        Boxes(ROWS, (10, 10))


# A container -------------------------------------------------------------------------------------------------------
def test_length_indexing_and_iteration(result):
    assert len(result) == 3
    assert len(result[0]) == 1 and result[0].boxes.cls[0] == 0
    assert len(result[1:]) == 2 and result[-1].boxes.cls[0] == 1
    mask = result.boxes.conf > 0.6
    assert len(result[mask]) == 2 and len(result[[0, 2]]) == 2
    assert [float(r.boxes.conf[0]) for r in result] == pytest.approx([0.9, 0.8, 0.5])
    assert [len(b) for b in result.boxes] == [1, 1, 1]
    picked = result[2]
    assert (picked.path, picked.names, picked.orig_shape) == (result.path, NAMES, (100, 120))
    assert picked.speed == {"inference": 2.0}
    with pytest.raises(IndexError):
        result[3]


def test_parts_that_no_task_gave_are_none(result):
    """supervision's `Detections.from_ultralytics` asks for these."""
    assert result.obb is None and result.masks is None and result.keypoints is None and result.probs is None
    assert result.new().boxes is None and len(result.new()) == 0


def test_moving_between_arrays_and_tensors(result):
    arrays = result.numpy()
    assert isinstance(arrays.boxes.data, np.ndarray) and isinstance(arrays, Results)
    assert isinstance(arrays.to("cpu").boxes.data, torch.Tensor)
    assert result.to(torch.float64).boxes.data.dtype == torch.float64
    assert len(result.cpu()) == 3


def test_update_cuts_boxes_at_the_border(result):
    new = torch.tensor([[-5.0, -5, 500, 500, 0.7, 1]])
    result.update(boxes=new)
    assert result.boxes.xyxy.tolist() == [[0, 0, 120, 100]]
    assert new[0, 0] == -5, "the caller's tensor stays"


def test_results_can_be_copied_and_pickled(result):
    for twin in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert len(twin) == 3 and twin.verbose() == result.verbose()


# Text --------------------------------------------------------------------------------------------------------------
def test_verbose_counts_by_class(result, image):
    assert result.verbose() == "2 persons, 1 bus, "
    assert empty(image).verbose() == "(no detections), "


def test_summary_and_tables_agree(result):
    first = result.summary()[0]
    box = {"x1": 10.0, "y1": 20.0, "x2": 50.0, "y2": 80.0}
    assert first == {"name": "person", "class": 0, "confidence": 0.9, "box": box}
    assert result.summary(normalize=True, decimals=2)[0]["box"] == {"x1": 0.08, "y1": 0.2, "x2": 0.42, "y2": 0.8}
    assert json.loads(result.to_json()) == result.summary() == json.loads(result.tojson())
    table = result.to_df()
    assert list(table.columns) == ["name", "class", "confidence", "box"] and len(table) == 3
    assert result.to_csv().count("\n") == 4


def test_summary_has_track_ids_and_true_names(image):
    found = Results(image, "a.jpg", NAMES, boxes=torch.tensor([[0.0, 0, 4, 4, 17, 0.5, 2]]))
    assert found.summary()[0]["track_id"] == 17
    assert "火焰" in found.to_json(), "not escaped"
    assert Results(image, "a.jpg", ["only"], boxes=torch.tensor([[0.0, 0, 4, 4, 0.5, 7]])).summary()[0]["name"] == "7"


def test_nothing_found_gives_empty_tables(image):
    assert empty(image).summary() == [] and empty(image).to_json() == "[]" and len(empty(image).to_df()) == 0


@pytest.mark.parametrize("save_conf", [False, True])
def test_save_txt_round_trip(result, tmp_path, save_conf):
    file = tmp_path / "labels" / "street.txt"
    assert result.save_txt(file, save_conf=save_conf) == str(file)
    read = np.loadtxt(file, ndmin=2)
    assert read.shape == (3, 6 if save_conf else 5)
    assert file.read_text().startswith("0 0.25 0.5 ")
    np.testing.assert_allclose(read[:, 0], [0, 0, 1])
    np.testing.assert_allclose(read[:, 1:5], np.asarray(result.boxes.xywhn), rtol=1e-5)
    if save_conf:
        np.testing.assert_allclose(read[:, 5], [0.9, 0.8, 0.5])


def test_save_txt_adds_ids_and_makes_no_empty_file(image, tmp_path):
    tracked = Results(image, "a", NAMES, boxes=torch.tensor([[0.0, 0, 60, 50, 17, 0.5, 2]]))
    tracked.save_txt(tmp_path / "t.txt", save_conf=True)
    assert (tmp_path / "t.txt").read_text() == "2 0.25 0.25 0.5 0.5 0.5 17\n"
    empty(image).save_txt(tmp_path / "none.txt")
    assert not (tmp_path / "none.txt").exists()


# Pictures ----------------------------------------------------------------------------------------------------------
def test_plot_draws_each_box_in_its_colour_and_leaves_the_original(result):
    before = result.orig_img.copy()
    drawn = result.plot(line_width=1, labels=False)
    assert drawn.shape == (100, 120, 3) and np.array_equal(result.orig_img, before)
    assert tuple(drawn[50, 10]) == colors(0, True) and tuple(drawn[50, 110]) == colors(0, True)
    assert tuple(drawn[50, 115]) == colors(1, True)
    assert tuple(drawn[50, 30]) == (50, 50, 50)


def test_plot_switches(result):
    plain = result.plot(line_width=1, labels=False)
    assert np.array_equal(result.plot(boxes=False), result.orig_img)
    assert not np.array_equal(result.plot(line_width=1), plain), "labels are drawn"
    assert not np.array_equal(result.plot(line_width=1, conf=False), result.plot(line_width=1))
    assert tuple(result.plot(line_width=1, labels=False, color_mode="instance")[50, 110]) == colors(1, True)
    other = np.zeros((100, 120, 3), np.uint8)
    assert tuple(result.plot(img=other, labels=False)[2, 2]) == (0, 0, 0) and not other.any()
    with pytest.raises(DataError, match="color_mode"):
        result.plot(color_mode="rainbow")


def test_plot_draws_the_surest_box_last(image):
    same = torch.tensor([[10.0, 10, 90, 90, 0.9, 0], [10, 10, 90, 90, 0.4, 1]])
    drawn = Results(image, "a.jpg", NAMES, boxes=same).plot(line_width=2, labels=False)
    assert tuple(drawn[50, 10]) == colors(0, True)


def test_plot_as_pillow_image_is_rgb(result):
    picture = result.plot(line_width=1, labels=False, pil=True)
    assert picture.size == (120, 100) and picture.getpixel((10, 50)) == colors(0)


def test_save_writes_what_plot_draws(result, tmp_path):
    file = result.save(tmp_path / "out" / "drawn.png")
    assert np.array_equal(cv2.imread(file), result.plot())
    result.plot(save=True, filename=tmp_path / "second.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "second.png")), result.plot())


def test_save_crop_makes_one_file_a_box(result, tmp_path):
    result.save_crop(tmp_path / "crops", file_name="street.v2")
    files = sorted(str(f.relative_to(tmp_path / "crops")) for f in (tmp_path / "crops").rglob("*.jpg"))
    assert files == ["bus/street.v2.jpg", "person/street.v2.jpg", "person/street.v22.jpg"]
    assert cv2.imread(str(tmp_path / "crops" / files[1])).shape[:2] == (71, 51)  # 60 x 40, times 1.02, plus 10


def test_class_names_with_a_slash_stay_in_the_folder(image, tmp_path):
    Results(image, "a.jpg", {0: "../fire/smoke"}, boxes=torch.tensor([ROWS[0]])).save_crop(tmp_path / "crops", "a.jpg")
    assert [f.name for f in (tmp_path / "crops").iterdir()] == [".._fire_smoke"]


def test_show_opens_the_picture_in_true_colours(result, monkeypatch):
    from PIL import Image

    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda self, title=None: shown.append((self.getpixel((10, 50)), title)))
    result.show(line_width=1, labels=False)
    assert shown == [(colors(0), "folder/street.jpg")]
