"""Masks, keypoints, rotated boxes and panels as they are drawn on an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ultralytics.utils.drawing.annotator import HEAD, LEFT, RIGHT, SKELETON, TRUNK, Annotator, colors, limb_color

RED, BLUE = (0, 0, 255), (255, 0, 0)


def blank(h: int = 120, w: int = 160, value: int = 40) -> np.ndarray:
    return np.full((h, w, 3), value, np.uint8)


def drawn(im: np.ndarray, value: int = 40) -> np.ndarray:
    return (im != value).any(-1)


# Masks -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [torch.from_numpy, np.asarray])
def test_masks_tint_and_have_an_outline(kind):
    masks = np.zeros((1, 120, 160), np.float32)
    masks[0, 20:61, 30:91] = 1
    annotator = Annotator(blank(), line_width=2)
    annotator.masks(kind(masks), [RED], alpha=0.25)
    im = annotator.result()
    np.testing.assert_allclose(im[40, 60], [30, 30, 94], atol=1)
    assert im[20, 60, 2] > 200 and im[60, 90, 2] > 200
    assert drawn(im).sum() <= 63 * 43 and tuple(im[70, 60]) == (40, 40, 40)


def test_later_masks_lie_on_top():
    masks = np.ones((2, 120, 160), bool)
    annotator = Annotator(blank(value=0))
    annotator.masks(masks, [RED, BLUE], alpha=0.75)
    np.testing.assert_allclose(annotator.result()[60, 80], [191, 0, 48], atol=1)


@pytest.mark.parametrize("retina", [False, True])
def test_small_masks_are_put_where_they_belong(retina):
    """A square over a wide image has borders above and below, unless it was stretched."""
    masks = np.zeros((1, 40, 40), np.float32)
    masks[0, 10:20, :20] = 1  # the upper left quarter of the letterboxed image
    annotator = Annotator(blank(80, 160), line_width=1)
    annotator.masks(masks, [RED], retina_masks=retina)
    rows, columns = np.nonzero(drawn(annotator.result()))
    assert abs(columns.max() - 80) < 3 and columns.min() == 0
    low, high = (20, 40) if retina else (0, 40)
    assert abs(rows.min() - low) < 3 and abs(rows.max() - high) < 3


def test_empty_masks_draw_nothing():
    annotator = Annotator(blank())
    annotator.masks(np.zeros((1, 120, 160)), [RED])
    annotator.masks(np.zeros((0, 120, 160)), [])
    assert not drawn(annotator.result()).any()


# Key points --------------------------------------------------------------------------------------------------------
def test_skeleton_has_every_point_and_its_sides():
    assert len(SKELETON) == 19 and {i for line in SKELETON for i in line} == set(range(17))
    assert limb_color(0) == HEAD and limb_color(5, 7) == LEFT and limb_color(6, 8) == RIGHT
    assert limb_color(11, 12) == TRUNK and limb_color(1, 2) == HEAD


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
def test_person_is_joined_where_both_ends_are_seen(kind):
    points = np.zeros((17, 3), np.float32)
    points[5], points[7], points[9] = (20, 20, 0.9), (80, 20, 0.9), (80, 100, 0.1)
    annotator = Annotator(blank())
    annotator.kpts(kind(points), (120, 160), radius=3)
    im = annotator.result()
    assert tuple(im[20, 50]) == LEFT, "shoulder to elbow"
    assert tuple(im[20, 20]) == LEFT and not drawn(im)[40:].any(), "the wrist is not sure enough"
    assert not drawn(im)[:10, :10].any()
    bare = Annotator(blank())
    bare.kpts(kind(points), (120, 160), radius=3, kpt_line=False, kpt_color=RED)
    assert tuple(bare.result()[20, 20]) == RED and not drawn(bare.result())[20, 50]


def test_other_points_are_dots_in_their_colours():
    annotator = Annotator(blank())
    annotator.kpts([[30, 30], [90, 60], [0, 0], [400, 50]], (120, 160), radius=4)
    im = annotator.result()
    assert tuple(im[30, 30]) == colors(0, True) and tuple(im[60, 90]) == colors(1, True)
    assert drawn(im).sum() < 2 * 110


# Rotated boxes -----------------------------------------------------------------------------------------------------
def test_rotated_box_and_its_label_at_the_topmost_corner():
    corners = torch.tensor([[80.0, 40], [120, 70], [80, 100], [40, 70]])
    annotator = Annotator(blank(), line_width=2, font_size=12)
    annotator.box_label(corners, "bus", RED, rotated=True)
    im = annotator.result()
    assert tuple(im[40, 80]) == RED and tuple(im[70, 120]) == RED and tuple(im[70, 80]) == (40, 40, 40)
    assert (im[25:39, 80:100] == RED).all(-1).any() and not drawn(im)[25:39, :70].any()
    both = Annotator(blank(), line_width=2, font_size=12)
    both.box_labels(corners[None], ["bus"], [RED], rotated=True)
    assert np.array_equal(both.result(), im)


# Panels ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pil", [False, True])
def test_panel_writes_each_line_on_a_dark_ground(pil):
    one, three = (Annotator(blank(value=200), font_size=14, pil=pil) for _ in range(2))
    one.panel(["cat 0.90"])
    three.panel(["cat 0.90", "dog 0.05", "cow 0.02"], top=20)
    heights = [np.flatnonzero(drawn(a.result(), 200).any(1)) for a in (one, three)]
    assert len(heights[1]) > 2 * len(heights[0]) and heights[1].min() == heights[0].min() + 20
    assert (three.result() > 240).all(-1).sum() > 30 and (three.result() == 80).all(-1).sum() > 500
    plain = Annotator(blank())
    plain.panel([])
    assert not drawn(plain.result()).any()
