"""Results: what an image holds, as numbers, text, tables and drawings."""

from __future__ import annotations

import copy
import json
import pickle
import sys

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


# Images ----------------------------------------------------------------------------------------------------------
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


def test_plot_draws_the_highest_scoring_box_last(image):
    same = torch.tensor([[10.0, 10, 90, 90, 0.9, 0], [10, 10, 90, 90, 0.4, 1]])
    drawn = Results(image, "a.jpg", NAMES, boxes=same).plot(line_width=2, labels=False)
    assert tuple(drawn[50, 10]) == colors(0, True)


def test_plot_as_pillow_image_is_rgb(result):
    image = result.plot(line_width=1, labels=False, pil=True)
    assert image.size == (120, 100) and image.getpixel((10, 50)) == colors(0)


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


def test_show_opens_the_image_in_true_colours(result, monkeypatch):
    from PIL import Image

    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(Image.Image, "show", lambda self, title=None: shown.append((self.getpixel((10, 50)), title)))
    result.show(line_width=1, labels=False)
    assert shown == [(colors(0), "folder/street.jpg")]


def test_show_without_a_screen_is_a_sentence(result, monkeypatch, log):
    from PIL import Image

    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(Image.Image, "show", lambda *_, **__: pytest.fail("a viewer was started"))
    result.show()
    assert len(log) == 1 and "no screen" in log[0]


# Other tasks -------------------------------------------------------------------------------------------------------
def segmented(image, **kwargs) -> Results:
    """Two objects with masks of the image's own size: a square, and a piece of the first one's box."""
    masks = np.zeros((2, 100, 120), np.float32)
    masks[0, 20:81, 30:91], masks[1, 30:51, 40:61] = 1, 1
    boxes = np.array([[30, 20, 90, 80, 0.9, 0], [40, 30, 60, 50, 0.6, 1]], np.float32)
    return Results(image, "a.jpg", NAMES, boxes=boxes, masks=masks, **kwargs)


def posed(image, k: int = 17) -> Results:
    points = np.full((1, k, 3), 0.9, np.float32)
    points[0, :, 0], points[0, :, 1] = np.linspace(20, 100, k), 50
    points[0, 1, 2] = 0.2  # not seen
    return Results(image, "a.jpg", NAMES, boxes=np.array([[10, 40, 110, 60, 0.8, 0]], np.float32), keypoints=points)


def rotated(image, kind=torch.tensor) -> Results:
    rows = [[60.0, 50, 60, 20, np.pi / 4, 0.9, 1], [60, 50, 60, 20, -np.pi / 4, 0.7, 0]]
    return Results(image, "a.jpg", NAMES, obb=kind(rows))


def classified(image) -> Results:
    names = {i: f"class {i}" for i in range(7)}
    return Results(image, "a.jpg", names, probs=torch.tensor([0.02, 0.5, 0.03, 0.2, 0.1, 0.1, 0.05]))


ALL = [segmented, posed, rotated, classified]


@pytest.mark.parametrize("make", ALL)
def test_other_tasks_are_containers_too(make, image):
    result = make(image)
    assert len(result) == {segmented: 2, posed: 1, rotated: 2, classified: 7}[make]
    copies = (result.cpu(), result.numpy(), result.to(torch.float64), pickle.loads(pickle.dumps(result)))
    for twin in (*copies, result.new()):
        assert twin.names == result.names and twin.orig_shape == (100, 120)
    assert list(result.numpy()._present()) == list(result._present()) and not result.new()._present()
    assert all(isinstance(part.data, np.ndarray) for part in result.numpy()._present().values())
    picked = result[0]
    assert list(picked._present()) == list(result._present())
    assert all(len(part) == 1 for name, part in picked._present().items() if name != "probs")
    assert len(picked.probs) == 7 if make is classified else picked.probs is None


def test_update_replaces_single_parts(image):
    result = segmented(image)
    result.update(masks=torch.zeros(2, 10, 12), keypoints=torch.ones(2, 5, 2))
    assert result.masks.shape == (2, 10, 12) and result.keypoints.shape == (2, 5, 2) and len(result.boxes) == 2
    result.update(obb=torch.zeros(1, 7), probs=torch.tensor([0.5, 0.5]))
    assert len(result.obb) == 1 and result.probs.top5 == [0, 1]


def test_phrases_of_other_tasks(image):
    assert rotated(image).verbose() == "1 person, 1 bus, "
    phrase = "class 1 0.50, class 3 0.20, class 4 0.10, class 5 0.10, class 6 0.05, "
    assert classified(image).verbose() in (phrase, phrase.replace("4 0.10, class 5", "5 0.10, class 4"))
    assert Results(image, "a.jpg", NAMES, obb=torch.zeros(0, 7)).verbose() == "(no detections), "


def test_summary_of_masks_and_key_points(image):
    item = segmented(image).summary(normalize=True)[0]
    assert list(item) == ["name", "class", "confidence", "box", "segments"]
    assert min(item["segments"]["x"]) == 0.25 and max(item["segments"]["y"]) == 0.8
    points = posed(image, 3).summary()[0]["keypoints"]
    assert points == {"x": [20, 0, 100], "y": [50, 0, 50], "visible": pytest.approx([0.9, 0.2, 0.9])}
    unseen = Results(image, "a", NAMES, boxes=np.ones((1, 6)), keypoints=np.full((1, 1, 2), 30.0))
    assert unseen.summary(normalize=True)[0]["keypoints"] == {"x": [0.25], "y": [0.3]}


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_summary_of_rotated_boxes_has_four_corners(image, kind):
    box = rotated(image, kind).summary(decimals=1)[0]["box"]
    assert list(box) == ["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"]
    assert (box["x1"], box["y1"], box["x3"], box["y3"]) == (74.1, 78.3, 45.9, 21.7)
    empty = Results(image, "a", NAMES, obb=kind(np.zeros((0, 7)).tolist()).reshape(0, 7))
    assert empty.summary() == [] and empty.obb.xyxy.shape == (0, 4)


def test_summary_of_a_classification_is_its_best_class(image):
    assert classified(image).summary() == [{"name": "class 1", "class": 1, "confidence": 0.5}]


def test_xml(result, image):
    import xml.etree.ElementTree as ET

    root = ET.fromstring(result.to_xml().encode())
    assert [row.find("name").text for row in root] == ["person", "person", "bus"]
    assert len(ET.fromstring(empty(image).to_xml().encode())) == 0


def lines(result, tmp_path, **kwargs) -> list[list[str]]:
    file = tmp_path / f"{len(list(tmp_path.iterdir()))}.txt"
    result.save_txt(file, **kwargs)
    return [line.split() for line in file.read_text().splitlines()]


def test_save_txt_of_masks_is_their_outline(image, tmp_path):
    first = lines(segmented(image), tmp_path, save_conf=True)[0]
    assert first[0] == "0" and first[-1] == "0.9"
    outline = np.array(first[1:-1], float).reshape(-1, 2)
    np.testing.assert_allclose(sorted(outline.tolist()), [[0.25, 0.2], [0.25, 0.8], [0.75, 0.2], [0.75, 0.8]])


def test_save_txt_of_key_points(image, tmp_path):
    (line,) = lines(posed(image, 3), tmp_path, save_conf=True)
    seen = [float(v) for v in line]
    wanted = [0, 0.5, 0.5, 100 / 120, 0.2, 20 / 120, 0.5, 0.9, 0, 0, 0.2, 100 / 120, 0.5, 0.9, 0.8]
    np.testing.assert_allclose(seen, wanted, rtol=1e-5)


def test_save_txt_of_rotated_boxes_and_classes(image, tmp_path):
    first, second = lines(rotated(image), tmp_path)
    assert len(first) == len(second) == 9 and (first[0], second[0]) == ("1", "0")
    corners = np.array(first[1:], float).reshape(4, 2) * [120, 100]
    np.testing.assert_allclose(corners, rotated(image).obb.xyxyxyxy[0], rtol=1e-4)
    best = lines(classified(image), tmp_path)
    assert len(best) == 5 and best[0] == ["0.50", "class", "1"]


def test_save_crop_needs_upright_boxes(image, tmp_path):
    for make in (rotated, classified):
        make(image).save_crop(tmp_path / "crops")
    assert not (tmp_path / "crops").exists()


def test_masks_are_drawn_under_boxes(image):
    result = segmented(image)
    drawn = result.plot(line_width=1, labels=False)
    tint = (np.array(colors(0, True)) + 50) / 2
    np.testing.assert_allclose(drawn[70, 80], tint, atol=1)
    assert tuple(drawn[50, 30]) == colors(0, True), "the edge of the box is not tinted"
    assert tuple(drawn[10, 10]) == (50, 50, 50)
    assert tuple(result.plot(line_width=1, labels=False, masks=False)[70, 80]) == (50, 50, 50)
    instance = result.plot(line_width=1, labels=False, boxes=False, color_mode="instance")[70, 80]
    np.testing.assert_allclose(instance, tint, atol=1)
    only = Results(image, "a.jpg", NAMES, masks=result.masks.data).plot(line_width=1)
    np.testing.assert_allclose(only[70, 80], tint, atol=1, err_msg="masks without boxes")


def test_key_points_are_joined_where_they_are_a_persons(image):
    bare = posed(image).plot(boxes=False, kpt_radius=1, kpt_line=False)
    joined = posed(image).plot(boxes=False, kpt_radius=1)
    assert (joined != 50).any(-1).sum() > (bare != 50).any(-1).sum() > 15
    dots = posed(image, 5).plot(boxes=False, kpt_radius=3)
    assert (dots[50, [20, 60, 80, 100]] != 50).any(-1).all()
    assert (dots[50, 40] == 50).all() and (dots[0, 0] == 50).all(), "the point that is not seen is not drawn"


def test_rotated_boxes_are_drawn_turned(image):
    drawn = rotated(image).plot(line_width=1, labels=False)
    x, y = rotated(image).obb.xyxyxyxy[0].mean(0)
    first = rotated(image).obb.xyxyxyxy[0]
    middle = ((first[0] + first[3]) / 2).round().int().tolist()
    assert np.abs(drawn[middle[1], middle[0]].astype(int) - colors(1, True)).max() < 90
    assert tuple(drawn[int(y), int(x)]) == (50, 50, 50)
    labelled = rotated(image).plot(line_width=1)
    assert (labelled != drawn).any()
    assert np.array_equal(rotated(image).plot(boxes=False), image)


def test_the_best_classes_are_written(image):
    result = classified(np.full((300, 400, 3), 50, np.uint8))
    drawn = result.plot()
    written = np.argwhere((drawn > 200).all(-1))
    assert len(written) > 200 and written[:, 0].max() < 150 and written[:, 1].max() < 200
    assert np.array_equal(result.plot(probs=False), result.orig_img)
