from __future__ import annotations

import numpy as np
import pytest
from task_scenes import arrow, rectangle

from ultralytics.data.instances import clip_polygon, clip_polygons, polygon_boxes
from ultralytics.data.utils import polygon2mask, polygons2masks, polygons2masks_overlap

SHAPES = [arrow(60, 50, 40, 0.5), rectangle(100, 90, 60, 20, 0.4), arrow(10, 120, 30, 2.0), rectangle(118, 5, 40, 9, 1)]


def area(polygon):
    x, y = polygon.astype(float).T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_mask_of_a_rectangle_and_of_two_parts():
    square = np.array([[4, 8], [11, 8], [11, 19], [4, 19]])
    mask = polygon2mask((24, 32), [square.ravel()], color=7)
    assert mask.shape == (24, 32) and mask.dtype == np.uint8
    assert (mask[8:20, 4:12] == 7).all() and mask.sum() == 7 * 12 * 8
    assert polygon2mask((24, 32), [square, square + (14, 0)]).sum() == 2 * 12 * 8
    small = polygon2mask((24, 32), [square], downsample_ratio=4)
    assert small.shape == (6, 8) and (small[2:5, 1:3] == 1).all() and small.sum() == 6


@pytest.mark.parametrize("ratio", [1, 2, 4])
@pytest.mark.parametrize("shape", [(128, 128), (130, 127)])
def test_masks_painted_in_patches_equal_whole_ones(shape, ratio):
    shapes = [*SHAPES, arrow(-200, 50, 20, 0), np.zeros((0, 2), np.float32)]
    whole = np.stack([polygon2mask(shape, [s], downsample_ratio=ratio) for s in shapes])
    np.testing.assert_array_equal(polygons2masks(shape, shapes, downsample_ratio=ratio), whole)
    union, order = polygons2masks_overlap(shape, shapes, ratio)
    areas = whole.sum((1, 2))[order]
    assert (np.diff(areas.astype(int)) <= 0).all() and sorted(order) == list(range(6))
    expected = np.zeros_like(union)
    for place, i in enumerate(order, 1):
        expected[whole[i] > 0] = place
    np.testing.assert_array_equal(union, expected)
    assert union.dtype == np.uint8 and set(np.unique(union)) == {0, 1, 2, 3, 4}


def test_many_objects_need_a_wider_map():
    squares = [rectangle(3 + 5 * (i % 20), 3 + 5 * (i // 20), 3, 3, 0) for i in range(300)]
    union, order = polygons2masks_overlap((100, 100), squares)
    assert union.dtype == np.int32 and union.max() == 300 and len(order) == 300
    empty, order = polygons2masks_overlap((100, 80), [], 4)
    assert empty.shape == (25, 20) and not empty.any() and order.shape == (0,)


def test_clipping_is_exact():
    low, high = np.zeros(2), np.array([100.0, 80.0])
    inside = rectangle(50, 40, 20, 10, 0.3)
    assert clip_polygon(inside, low, high) is inside or np.array_equal(clip_polygon(inside, low, high), inside)
    assert clip_polygon(inside + (200, 0), low, high).shape == (0, 2)
    around = rectangle(50, 40, 1000, 1000, 0.7)  # the image lies within it, none of its corners in the image
    assert area(clip_polygon(around, low, high)) == pytest.approx(8000)
    corner = np.array([[90, -10], [120, 20], [90, 20]], np.float32)  # its longest side cuts the image's corner off
    assert area(clip_polygon(corner, low, high)) == pytest.approx(200, rel=1e-5)
    for shape in (arrow(95, 70, 40, a) for a in np.linspace(0, 6, 13)):
        cut = clip_polygon(shape, low, high)
        assert (cut >= -1e-4).all() and (cut <= high + 1e-4).all()
        fine = polygon2mask((640, 800), [cut * 8]).mean() * 8000
        whole = polygon2mask((640, 800), [shape * 8]).mean() * 8000
        assert fine == pytest.approx(whole, abs=25)


def test_polygons_are_clipped_together_as_one_by_one():
    rng, low, high = np.random.default_rng(0), np.array([10.0, 20.0]), np.array([60.0, 90.0], np.float32)
    polygons = [rng.uniform(0, 100, 2) + rng.uniform(-20, 20, (int(n), 2)) for n in rng.integers(3, 20, 200)]
    polygons = [p.astype(np.float32) for p in polygons] + [np.zeros((0, 2), np.float32)]
    together = clip_polygons(polygons, low, high)
    kinds = set()
    for polygon, clipped, box in zip(polygons, together, polygon_boxes(together), strict=True):
        np.testing.assert_array_equal(clipped, clip_polygon(polygon, low, high))
        np.testing.assert_array_equal(box, [*clipped.min(0), *clipped.max(0)] if len(clipped) else [0] * 4)
        kinds.add((clipped is polygon, len(clipped) > 0))
    assert kinds >= {(True, True), (False, True), (False, False)}, "within, across and outside"
    assert clip_polygons([], low, high) == [] and polygon_boxes([]).shape == (0, 4)
