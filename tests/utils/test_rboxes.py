"""Rotated boxes from one notation into another."""

import math

import numpy as np
import pytest
import torch

from ultralytics.utils.ops import regularize_rboxes, xywhr2xyxyxyxy

KINDS = pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])


def some(n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    low, high = (20, 20, 5, 5, 0.0), (80, 80, 30, 30, math.pi)
    return rng.uniform(low, high, (n, 5)).astype(np.float32)


@KINDS
def test_corners_without_rotation(kind):
    corners = xywhr2xyxyxyxy(kind(np.array([[10.0, 20, 8, 4, 0]])))
    np.testing.assert_allclose(corners, [[[14, 22], [14, 18], [6, 18], [6, 22]]])


@KINDS
def test_corners_turn_clockwise_on_the_image(kind):
    """y points down: a positive angle turns the long side down on the right."""
    corners = np.asarray(xywhr2xyxyxyxy(kind(np.array([[0.0, 0, 10, 0, math.pi / 4]]))))
    np.testing.assert_allclose(corners[0, 0], [5 / 2**0.5] * 2, atol=1e-6)


def test_corners_keep_leading_dimensions_and_gradients():
    boxes = torch.from_numpy(some(6)).view(2, 3, 5).requires_grad_()
    corners = xywhr2xyxyxyxy(boxes)
    assert corners.shape == (2, 3, 4, 2)
    corners.sum().backward()
    assert torch.isfinite(boxes.grad).all()
    assert xywhr2xyxyxyxy(torch.zeros(0, 5)).shape == (0, 4, 2)


def test_the_corners_span_the_box():
    """The mean of the corners is the centre, the sides are w and h long, and they stand upright on each other."""
    boxes = some()
    corners = xywhr2xyxyxyxy(boxes)
    np.testing.assert_allclose(corners.mean(1), boxes[:, :2], rtol=1e-4)
    long, high = corners[:, 0] - corners[:, 3], corners[:, 0] - corners[:, 1]
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), boxes[:, 2], rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(high, axis=1), boxes[:, 3], rtol=1e-4)
    np.testing.assert_allclose((long * high).sum(1), 0, atol=1e-2)


@KINDS
def test_regular_boxes_are_wide_and_the_same(kind):
    boxes = some()
    boxes[:, 4] += np.linspace(-7, 7, len(boxes), dtype=np.float32)
    regular = np.asarray(regularize_rboxes(kind(boxes)))
    assert (regular[:, 2] >= regular[:, 3]).all()
    assert (regular[:, 4] >= 0).all() and (regular[:, 4] < math.pi).all()
    for a, b in zip(np.asarray(xywhr2xyxyxyxy(kind(boxes))), np.asarray(xywhr2xyxyxyxy(kind(regular)))):
        gap = np.linalg.norm(a[:, None] - b[None], axis=-1).min(1)
        assert gap.max() < 1e-3
