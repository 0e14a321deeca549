"""The parts of a result beside boxes: masks, keypoints, probabilities, rotated boxes."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

from ultralytics.engine.result_types import OBB, Keypoints, Masks, Probs
from ultralytics.utils.errors import DataError

KINDS = pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
SHAPE = (60, 120)


# Masks -------------------------------------------------------------------------------------------------------------
def letterboxed() -> np.ndarray:
    """One mask of an image (60, 120) on a square of 64: its left half, and nothing."""
    masks = np.zeros((2, 64, 64), np.float32)
    masks[0, 16:48, :32] = 1
    return masks


@KINDS
def test_outlines_lie_on_the_original_image(kind):
    masks = Masks(kind(letterboxed()), SHAPE)
    assert len(masks) == 2 and masks.shape == (2, 64, 64) and masks.orig_shape == SHAPE
    outline, nothing = masks.xy
    assert nothing.shape == (0, 2)
    np.testing.assert_allclose(outline.min(0), [0, 0])
    np.testing.assert_allclose(outline.max(0), [60, 60], atol=2.5)
    np.testing.assert_allclose(masks.xyn[0], outline / [120, 60], rtol=1e-5)
    assert masks.xy is masks.xy, "found once"


@KINDS
def test_masks_are_picked_and_moved(kind):
    masks = Masks(kind(letterboxed()), SHAPE)
    assert masks[0].shape == (1, 64, 64) and masks[1:].xy[0].shape == (0, 2)
    assert isinstance(masks.numpy().data, np.ndarray) and masks.to(torch.bool).data.dtype == torch.bool
    assert len(masks.xy) == len(pickle.loads(pickle.dumps(masks)).xy) == 2
    with pytest.raises(DataError, match=r"\(n, height, width\)"):
        Masks(kind(np.zeros((1, 2, 3, 4))), SHAPE)


# Key points --------------------------------------------------------------------------------------------------------
@KINDS
def test_key_points_below_half_are_not_seen(kind):
    data = kind(np.array([[[12.0, 30, 0.9], [60, 6, 0.4]]], np.float32))
    points = Keypoints(data, SHAPE)
    assert points.has_visible and points.shape == (1, 2, 3)
    assert points.xy.tolist() == [[[12, 30], [0, 0]]]
    np.testing.assert_allclose(points.xyn, [[[0.1, 0.5], [0, 0]]], rtol=1e-6)
    np.testing.assert_allclose(points.conf, [[0.9, 0.4]], rtol=1e-6)
    assert data[0, 1, 0] == 60, "the caller's data stay"


@KINDS
def test_key_points_without_confidence(kind):
    points = Keypoints(kind(np.ones((4, 2), np.float32)), SHAPE)
    assert points.shape == (1, 4, 2) and points.conf is None and not points.has_visible
    assert Keypoints(kind(np.zeros((0, 17, 3), np.float32)), SHAPE).xyn.shape == (0, 17, 2)
    with pytest.raises(DataError, match=r"\(n, k, 3\)"):
        Keypoints(kind(np.zeros((1, 17, 4))), SHAPE)


# Probabilities -----------------------------------------------------------------------------------------------------
@KINDS
def test_best_classes(kind):
    probs = Probs(kind(np.array([0.05, 0.5, 0.02, 0.2, 0.1, 0.13], np.float32)))
    assert probs.top1 == 1 and probs.top5 == [1, 3, 5, 4, 0]
    assert float(probs.top1conf) == 0.5
    np.testing.assert_allclose(probs.top5conf, [0.5, 0.2, 0.13, 0.1, 0.05])
    assert isinstance(probs.numpy().top1conf, np.floating) and probs.cpu().top1 == 1
    assert Probs(kind(np.array([0.3, 0.7]))).top5 == [1, 0]
    assert "0.5" in repr(probs)


# Rotated boxes -----------------------------------------------------------------------------------------------------
@KINDS
def test_rotated_boxes_in_all_notations(kind):
    boxes = OBB(kind(np.array([[60.0, 30, 20, 10, math.pi / 2, 0.9, 2]])), SHAPE)
    assert boxes.conf.tolist() == [0.9] and boxes.cls.tolist() == [2] and boxes.id is None and not boxes.is_track
    np.testing.assert_allclose(boxes.xywhr, [[60, 30, 20, 10, math.pi / 2]])
    corners = sorted(map(tuple, np.asarray(boxes.xyxyxyxy)[0].round(4).tolist()))
    assert corners == [(55, 20), (55, 40), (65, 20), (65, 40)]
    np.testing.assert_allclose(np.asarray(boxes.xyxyxyxyn) * [120, 60], boxes.xyxyxyxy)
    np.testing.assert_allclose(boxes.xyxy, [[55, 20, 65, 40]])
    assert boxes.xyxyxyxy.shape == (1, 4, 2)


@KINDS
def test_rotated_track_ids_stand_before_the_confidence(kind):
    boxes = OBB(kind(np.array([1.0, 2, 3, 4, 0.5, 17, 0.9, 2])), SHAPE)
    assert boxes.is_track and boxes.id.tolist() == [17] and boxes.conf.tolist() == [0.9]
    assert boxes[0].shape == (1, 8)


@KINDS
def test_no_rotated_box(kind):
    boxes = OBB(kind(np.zeros((0, 7))), SHAPE)
    assert boxes.xyxyxyxy.shape == (0, 4, 2) and boxes.xyxyxyxyn.shape == (0, 4, 2) and len(boxes) == 0


def test_upright_boxes_are_no_rotated_ones():
    with pytest.raises(DataError, match=r"OBB of shape \(1, 6\).*angle"):
        OBB(torch.zeros(1, 6), SHAPE)
