"""Instances and boxes with a format, as transforms written for 8.3.0 use them."""

from __future__ import annotations

import numpy as np
import pytest

from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.instance import FORMATS, Bboxes, Instances, to_2tuple, to_4tuple

XYXY = np.array([[10, 20, 30, 60], [40, 8, 50, 12]], np.float32)
SQUARE = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], np.float32)


def instances(format: str, normalized: bool = False) -> Instances:
    boxes = Bboxes(XYXY, "xyxy")
    boxes.convert(format)
    points = np.tile(np.array([[12, 24, 2], [0, 0, 0]], np.float32), (2, 1, 1))
    made = Instances(boxes.bboxes, np.stack([SQUARE, SQUARE + 4]), points, format, False)
    if normalized:
        made.normalize(100, 80)
    return made


def corners(made: Instances) -> np.ndarray:
    made.convert_bbox("xyxy")
    made.denormalize(100, 80)
    return made.bboxes


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_mirrors_and_sizes_are_the_same_in_every_format(format, normalized):
    made = instances(format, normalized)
    w, h = (1, 1) if normalized else (100, 80)
    made.fliplr(w)
    made.flipud(h)
    np.testing.assert_allclose(made.bbox_areas * (8000 if normalized else 1), [800, 40], rtol=1e-5)
    np.testing.assert_allclose(corners(made), [[70, 20, 90, 60], [50, 68, 60, 72]], rtol=1e-5)
    np.testing.assert_allclose(made.segments[0][2], [92, 72], rtol=1e-5)
    np.testing.assert_allclose(made.keypoints[0, 0], [88, 56, 2], rtol=1e-5)


@pytest.mark.parametrize("format", FORMATS)
def test_padding_moves_and_scale_stretches(format):
    made = instances(format)
    made.add_padding(5, 7)
    made.scale(2, 0.5, bbox_only=True)
    np.testing.assert_allclose(corners(made)[0], [30, 13.5, 70, 33.5])
    assert made.segments[0][0].tolist() == [5, 7] and made.keypoints[0, 0].tolist() == [17, 31, 2]
    with pytest.raises(ConfigError, match="denormalize"):
        instances(format, normalized=True).add_padding(1, 1)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_clipped_away_can_be_removed(format):
    made = instances(format)
    made.clip(35, 50)
    np.testing.assert_allclose(corners(made), [[10, 20, 30, 50], [35, 8, 35, 12]])
    made.convert_bbox(format)
    assert made.remove_zero_area_boxes().tolist() == [True, False]
    assert (len(made), made.segments.shape, made.keypoints.shape) == (1, (1, 4, 2), (1, 2, 3))


def test_parts_and_sums():
    made = instances("xyxy")
    for index, n in ((0, 1), (slice(0, 1), 1), (np.array([False, True]), 1), (np.array([1, 0, 0]), 3)):
        part = made[index]
        assert len(part) == len(part.segments) == len(part.keypoints) == n
    both = Instances.concatenate([made, made[:1]])
    assert len(both) == 3 and both.bboxes[2].tolist() == XYXY[0].tolist() and not both.normalized
    assert len(Instances.concatenate([])) == 0 and len(Bboxes.concatenate([])) == 0
    made.update(XYXY[:1], np.stack([SQUARE]), made.keypoints[:1])
    assert len(made) == len(made.segments) == 1


def test_arrays_that_were_given_stay_as_they_are():
    boxes = XYXY.copy()
    made = Instances(boxes, None, None, "xyxy", False)
    made.scale(3, 3)
    made.fliplr(100)
    assert (boxes == XYXY).all() and made.segments.shape == (0, 1000, 2)


def test_polygons_of_several_lengths_get_one():
    made = Instances(XYXY, [SQUARE, np.concatenate([SQUARE, SQUARE])], None, "xyxy", False)
    assert made.segments.shape == (2, 8, 2)


def test_wrong_boxes_are_answered_by_a_sentence():
    with pytest.raises(ConfigError, match="'yolo' is not a format of boxes"):
        Bboxes(XYXY, "yolo")
    with pytest.raises(DataError, match=r"shape \(2, 3\)"):
        Bboxes(XYXY[:, :3])
    assert Bboxes(XYXY[0]).areas().tolist() == [800] and to_2tuple(1) == (1, 1) and to_4tuple([1, 2]) == [1, 2]
