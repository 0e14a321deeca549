"""The library `supervision` reads our results as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ultralytics.engine.results import Results

sv = pytest.importorskip("supervision")

IMAGE = np.zeros((60, 120, 3), np.uint8)
NAMES = {0: "person", 1: "bus"}
BOXES = torch.tensor([[10.0, 10, 50, 50, 0.9, 1], [60, 5, 110, 55, 0.6, 0]])


def test_boxes_and_ids():
    found = sv.Detections.from_ultralytics(Results(IMAGE, "a.jpg", NAMES, boxes=BOXES))
    np.testing.assert_allclose(found.xyxy, BOXES[:, :4])
    np.testing.assert_allclose(found.confidence, BOXES[:, 4])
    assert found.class_id.tolist() == [1, 0] and found.data["class_name"].tolist() == ["bus", "person"]
    assert found.tracker_id is None and found.mask is None
    tracked = torch.cat((BOXES[:, :4], torch.tensor([[7.0], [9.0]]), BOXES[:, 4:]), 1)
    assert sv.Detections.from_ultralytics(Results(IMAGE, "a", NAMES, boxes=tracked)).tracker_id.tolist() == [7, 9]


def test_nothing_found():
    assert len(sv.Detections.from_ultralytics(Results(IMAGE, "a.jpg", NAMES, boxes=torch.zeros(0, 6)))) == 0
    assert len(sv.Detections.from_ultralytics(Results(IMAGE, "a.jpg", NAMES, obb=torch.zeros(0, 7)))) == 0


def test_masks_come_at_the_size_of_the_image():
    masks = torch.zeros(2, 64, 64)  # letterboxed: the image is twice as wide as high
    masks[0, 16:48, :32] = 1
    found = sv.Detections.from_ultralytics(Results(IMAGE, "a.jpg", NAMES, boxes=BOXES, masks=masks))
    assert found.mask.shape == (2, 60, 120) and found.mask.dtype == bool
    assert found.mask[0, :, :56].all() and not found.mask[0, :, 64:].any() and not found.mask[1].any()


def test_rotated_boxes():
    result = Results(IMAGE, "a.jpg", NAMES, obb=torch.tensor([[60.0, 30, 40, 10, 0.5, 3, 0.8, 1]]))
    found = sv.Detections.from_ultralytics(result)
    np.testing.assert_allclose(found.data["xyxyxyxy"], result.obb.xyxyxyxy)
    np.testing.assert_allclose(found.xyxy, result.obb.xyxy)
    assert found.tracker_id.tolist() == [3] and found.class_id.tolist() == [1]


def test_key_points():
    points = torch.full((2, 17, 3), 0.9)
    found = sv.KeyPoints.from_ultralytics(Results(IMAGE, "a.jpg", NAMES, boxes=BOXES, keypoints=points))
    assert found.xy.shape == (2, 17, 2) and found.class_id.tolist() == [1, 0]


def test_classes():
    result = Results(IMAGE, "a.jpg", NAMES, probs=torch.tensor([0.2, 0.8]))
    assert sv.Classifications.from_ultralytics(result).get_top_k(1)[0].tolist() == [1]
