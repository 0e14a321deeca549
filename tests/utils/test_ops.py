"""Box notations, boxes mapped back from a letterbox, and the small helpers of utils.ops."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.utils import ops

REFERENCE = Path(__file__).parents[1] / "reference"
XYXY = np.array([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 5.0, 4.0]], dtype=np.float32)
XYWH = np.array([[20.0, 40.0, 20.0, 40.0], [2.5, 2.0, 5.0, 4.0]], dtype=np.float32)
LTWH = np.array([[10.0, 20.0, 20.0, 40.0], [0.0, 0.0, 5.0, 4.0]], dtype=np.float32)
CONVERSIONS = [
    (ops.xyxy2xywh, XYXY, XYWH),
    (ops.xywh2xyxy, XYWH, XYXY),
    (ops.xywh2ltwh, XYWH, LTWH),
    (ops.xyxy2ltwh, XYXY, LTWH),
    (ops.ltwh2xywh, LTWH, XYWH),
    (ops.ltwh2xyxy, LTWH, XYXY),
]


@pytest.mark.parametrize(("convert", "given", "wanted"), CONVERSIONS, ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize("as_tensor", [False, True])
def test_notations(convert, given, wanted, as_tensor):
    boxes = torch.from_numpy(given.copy()) if as_tensor else given.copy()
    out = convert(boxes)
    assert type(out) is type(boxes)
    np.testing.assert_allclose(np.asarray(out), wanted)
    np.testing.assert_array_equal(np.asarray(boxes), given)  # the input stays as it was
    assert convert(boxes[:0]).shape == (0, 4)


def test_integer_boxes_become_floats():
    np.testing.assert_allclose(ops.xyxy2xywh(np.array([[0, 0, 5, 3]])), [[2.5, 1.5, 5, 3]])
    torch.testing.assert_close(ops.xyxy2xywh(torch.tensor([[0, 0, 5, 3]])), torch.tensor([[2.5, 1.5, 5.0, 3.0]]))


def test_columns_and_dimensions_beyond_the_box_are_kept():
    rows = torch.tensor([[[20.0, 40.0, 20.0, 40.0, 0.9, 3.0]]])
    torch.testing.assert_close(ops.xywh2xyxy(rows), torch.tensor([[[10.0, 20.0, 30.0, 60.0, 0.9, 3.0]]]))


def test_too_few_columns():
    with pytest.raises(ValueError, match=r"4 numbers.*\(2, 3\)"):
        ops.xywh2xyxy(np.zeros((2, 3)))


def test_normalised_round_trip():
    n = ops.xyxy2xywhn(XYXY, w=100, h=200)
    np.testing.assert_allclose(n[0], [0.2, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(ops.xywhn2xyxy(n, w=100, h=200), XYXY, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(ops.xywhn2xyxy(n, 100, 200, padw=7, padh=3), XYXY + [7, 3, 7, 3], rtol=1e-6, atol=1e-5)


def test_normalised_clip():
    box = np.array([[-10.0, 50.0, 110.0, 250.0]])
    np.testing.assert_allclose(ops.xyxy2xywhn(box, w=100, h=200, clip=True), [[0.5, 0.625, 1.0, 0.75]])
    assert box[0, 0] == -10


@pytest.mark.parametrize("size", ["480x640", "1080x810"])
def test_scale_boxes_reference(size):
    wanted = json.loads((REFERENCE / "scale_boxes.json").read_text())[size]
    boxes = torch.tensor([[10.0, 20, 300, 400], [0, 0, 640, 640], [100, 90, 120, 95]])
    h, w = map(int, size.split("x"))
    torch.testing.assert_close(ops.scale_boxes((640, 640), boxes, (h, w)), torch.tensor(wanted), rtol=0, atol=1e-5)
    np.testing.assert_allclose(ops.scale_boxes((640, 640), boxes.numpy(), (h, w)), wanted, atol=1e-4)
    assert boxes[1, 3] == 640


def test_scale_boxes_variants():
    box = np.array([[60.0, 50.0, 80.0, 90.0, 0.5]])
    given = ops.scale_boxes((100, 200), box, (50, 80), ratio_pad=((2.0, 2.0), (20.0, 0.0)))
    np.testing.assert_allclose(given, [[20, 25, 30, 45, 0.5]])
    np.testing.assert_allclose(ops.scale_boxes((100, 200), box, (50, 80)), given)
    np.testing.assert_allclose(ops.scale_boxes((100, 200), box, (50, 80), padding=False), [[30, 25, 40, 45, 0.5]])
    xywh = ops.scale_boxes((100, 200), np.array([[10.0, 50.0, 80.0, 90.0]]), (50, 80), xywh=True)
    np.testing.assert_allclose(xywh, [[-5, 25, 40, 45]])  # sizes do not move with the border, nothing is cut


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_clip(make):
    boxes = make([[-5.0, -6.0, 50.0, 70.0]])
    assert ops.clip_boxes(boxes, (40, 30)) is boxes
    assert boxes.tolist() == [[0, 0, 30, 40]]
    assert ops.clip_coords(make([[-5.0, 70.0, 2.0]]), (40, 30)).tolist() == [[0, 40, 2]]


def test_scale_coords():
    points = torch.tensor([[[60.0, 50.0, 1.0]]])
    assert ops.scale_coords((100, 200), points.clone(), (50, 80)).tolist() == [[[20, 25, 1]]]
    assert ops.scale_coords((100, 200), points.clone(), (50, 80), normalize=True).tolist() == [[[0.25, 0.5, 1]]]


def test_make_divisible():
    assert [ops.make_divisible(x, 8) for x in (1, 8, 8.1, 63.9)] == [8, 8, 16, 64]
    assert ops.make_divisible(33, torch.tensor([8, 16, 32])) == 64


def test_clean_str():
    assert ops.clean_str("rtsp://a:b@c/?x=1") == "rtsp_//a_b_c/_x_1"


def test_profile_adds_up():
    watch = ops.Profile()
    for _ in range(2):
        with watch:
            time.sleep(0.01)
    assert 0.01 <= watch.dt < watch.t
    assert watch.t >= 0.02


def test_nms_is_found_here_too():
    from ultralytics.utils.geometry.nms import non_max_suppression

    assert ops.non_max_suppression is non_max_suppression
    with pytest.raises(AttributeError, match="nothing_such"):
        ops.nothing_such  # noqa: B018


# Polygons ------------------------------------------------------------------------------------------------------------

TRIANGLE = np.array([[10, 20], [40, 20], [10, 60]], dtype=np.float32)


def test_boxes_around_polygons():
    np.testing.assert_allclose(ops.segments2boxes([TRIANGLE, TRIANGLE[:2] + 5]), [[25, 40, 30, 40], [30, 25, 30, 0]])
    assert ops.segments2boxes([]).shape == (0, 4)
    np.testing.assert_allclose(ops.segment2box(TRIANGLE, 100, 100), [10, 20, 40, 60])
    np.testing.assert_allclose(ops.segment2box(TRIANGLE, 100, 50), [10, 20, 40, 20])  # one corner lies outside
    np.testing.assert_allclose(ops.segment2box(TRIANGLE + 200, 100, 100), [0, 0, 0, 0])


def test_resampled_polygons_lie_on_the_same_lines():
    (points,) = ops.resample_segments([TRIANGLE], 10)
    assert points.shape == (10, 2) and points.dtype == np.float32
    np.testing.assert_allclose(points[::3], [*TRIANGLE, TRIANGLE[0]], atol=1e-5)
    np.testing.assert_allclose(points[1], TRIANGLE[0] + (10, 0), atol=1e-5)
    assert ops.resample_segments([TRIANGLE, TRIANGLE])[1].shape == (1000, 2) and len(TRIANGLE) == 3


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("degrees", [0, 10, 44, 46, 80, 89.5, 90, 135, 179])
def test_rotated_boxes_of_corners(degrees, as_tensor):
    angle = np.radians(degrees)
    u, v = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corners = np.array([[[50, 40] + x * 20 * u + y * 5 * v for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]])
    corners = corners.astype(np.float32).reshape(1, 8)
    out = ops.xyxyxyxy2xywhr(torch.from_numpy(corners) if as_tensor else corners)
    assert isinstance(out, torch.Tensor) == as_tensor and out.shape == (1, 5)
    x, y, w, h, r = np.asarray(out)[0].tolist()
    assert 0 <= r < np.pi / 2
    assert (x, y) == pytest.approx((50, 40), abs=1e-3)
    long = r if w > h else r + np.pi / 2  # direction of the longer side
    assert sorted((w, h)) == pytest.approx([10, 40], abs=1e-3) and abs(np.sin(long - angle)) < 1e-4


def test_rotated_boxes_of_no_and_of_ragged_polygons():
    assert ops.xyxyxyxy2xywhr(np.zeros((0, 8))).shape == ops.xyxyxyxy2xywhr([]).shape == (0, 5)
    boxes = ops.xyxyxyxy2xywhr([np.zeros((0, 2)), TRIANGLE, np.array([[0, 0], [6, 0], [6, 2], [3, 1], [0, 2]])])
    assert not boxes[0].any() and boxes[1, 2] * boxes[1, 3] == pytest.approx(1200, rel=1e-4)
    np.testing.assert_allclose(boxes[2], [3, 1, 6, 2, 0], atol=1e-4)
