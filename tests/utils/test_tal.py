"""Anchor points, distances, and the task-aligned assigner."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def figures():
    with np.load(REFERENCE / "assigner.npz") as data:
        return {k: torch.from_numpy(data[k]) for k in data}


def run(figures, image=slice(None), points=None):
    assigner = TaskAlignedAssigner(topk=10, num_classes=4, alpha=0.5, beta=6.0)
    points = figures["anchors"] * figures["strides"] if points is None else points
    names = ("pd_scores", "pd_bboxes", "gt_labels", "gt_bboxes", "mask_gt")
    scores, boxes, labels, gts, mask = (figures[k][image] for k in names)
    return assigner(scores, boxes, points, labels, gts, mask)


def test_reference(figures):
    names = ("target_labels", "target_bboxes", "target_scores", "fg_mask", "target_gt_idx")
    for name, got in zip(names, run(figures)):
        assert got.dtype == figures[name].dtype, name
        torch.testing.assert_close(got, figures[name], rtol=0, atol=1e-5, msg=name)


def test_images_do_not_touch_each_other(figures):
    together = run(figures)
    for i in range(2):
        for a, b in zip(together, run(figures, slice(i, i + 1))):
            torch.testing.assert_close(a[i : i + 1], b)


def test_many_objects_in_several_parts(figures):
    """Boxes are compared with anchors in parts when there are many; the parts add up."""
    pairs = TaskAlignedAssigner._pairs_inside
    points = figures["anchors"] * figures["strides"]
    boxes = figures["gt_bboxes"].view(-1, 4)
    far = points.repeat(2**25 // len(points) // 9, 1)  # so many points that nine boxes make a part
    gt, anchor = pairs(far, boxes)
    gt1, anchor1 = pairs(points, boxes)
    assert len(gt) == len(gt1) * (len(far) // len(points))
    assert (gt.diff() >= 0).all()
    assert torch.equal(gt[anchor < len(points)], gt1)
    assert torch.equal(anchor[anchor < len(points)], anchor1)


def plain_assign(scores, boxes, points, labels, gts, topk):
    """One image, object by object, as the paper says it: {anchor: (object, score)}."""
    iou = torch.stack([bbox_iou(g[None], boxes, xywh=False, CIoU=True)[:, 0].clamp(0) for g in gts])
    inside = torch.stack([((points > g[:2]) & (points < g[2:])).all(1) for g in gts])
    align = torch.stack([scores[:, c].sqrt() for c in labels]) * iou**6 * inside
    iou = iou * inside
    wanted = {}
    for g in range(len(gts)):
        for anchor in align[g].argsort(descending=True)[:topk].tolist():
            if align[g, anchor] > 0:
                wanted.setdefault(anchor, []).append(g)
    owner = {a: gs[0] if len(gs) == 1 else int(iou[:, a].argmax()) for a, gs in wanted.items()}
    result = {}
    for a, g in owner.items():
        mine = [b for b, other in owner.items() if other == g]
        result[a] = g, float(align[g, a] / (align[g, mine].max() + 1e-9) * iou[g, mine].max())
    return result


@pytest.mark.parametrize("seed", range(5))
def test_equals_plain_rule(seed):
    rng = torch.Generator().manual_seed(seed)
    points, strides = make_anchors([torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 6, 6)], [8, 16])
    points = points * strides
    n = 9
    low = torch.rand(n, 2, generator=rng) * 60
    gts = torch.cat((low, low + 8 + torch.rand(n, 2, generator=rng) * 30), 1)
    labels = torch.randint(0, 3, (n,), generator=rng)
    near = torch.rand(len(points), 4, generator=rng) * 20 * torch.tensor([-1.0, -1, 1, 1])
    boxes, scores = points.repeat(1, 2) + near, torch.rand(len(points), 3, generator=rng)
    assigner = TaskAlignedAssigner(topk=5, num_classes=3, alpha=0.5, beta=6.0)
    args = scores[None], boxes[None], points, labels[None, :, None], gts[None], torch.ones(1, n, 1)
    _, _, target_scores, fg, gt_idx = assigner(*args)
    wanted = plain_assign(scores, boxes, points, labels, gts, 5)
    assert fg[0].nonzero()[:, 0].tolist() == sorted(wanted)
    for anchor, (g, score) in wanted.items():
        assert gt_idx[0, anchor] == g
        assert target_scores[0, anchor, labels[g]] == pytest.approx(score, rel=1e-4)


def test_twins_share_no_anchor():
    """Two labels of one box: overlaps are equal, and each anchor still goes to one of them."""
    points, strides = make_anchors([torch.zeros(1, 1, 8, 8)], [8])
    points = points * strides
    gts = torch.tensor([[[8.0, 8, 40, 40], [8, 8, 40, 40]]])
    scores, boxes = torch.full((1, 64, 2), 0.5), gts[:, :1].expand(1, 64, 4).contiguous()
    assigner = TaskAlignedAssigner(topk=10, num_classes=2, alpha=0.5, beta=6.0)
    labels = torch.tensor([[[0], [1]]])
    _, _, target_scores, fg, _ = assigner(scores, boxes, points, labels, gts, torch.ones(1, 2, 1))
    assert fg.sum() >= 10
    assert ((target_scores > 0).sum(-1) == fg).all()


@pytest.mark.parametrize("n", [0, 3])
def test_no_objects(n):
    points = torch.rand(20, 2) * 64
    scores, boxes = torch.rand(2, 20, 5), torch.rand(2, 20, 4)
    args = torch.zeros(2, n, 1), torch.zeros(2, n, 4), torch.zeros(2, n, 1)
    labels, target_boxes, target_scores, fg, gt_idx = TaskAlignedAssigner(num_classes=5)(scores, boxes, points, *args)
    assert not fg.any()
    assert not target_scores.any()
    assert target_boxes.shape == (2, 20, 4)
    assert labels.shape == gt_idx.shape == (2, 20)


def test_object_between_anchors():
    """A box that holds no anchor point is learnt by none, and harms nobody."""
    points = torch.tensor([[4.0, 4.0], [12.0, 4.0]])
    gts = torch.tensor([[[5.0, 1, 11, 7]]])
    args = torch.rand(1, 2, 1), gts.expand(1, 2, 4), points, torch.zeros(1, 1, 1), gts, torch.ones(1, 1, 1)
    assert not TaskAlignedAssigner(num_classes=1)(*args)[3].any()


def test_anchors():
    points, strides = make_anchors([torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 1, 2)], torch.tensor([8.0, 16.0]))
    wanted = [[0.5, 0.5], [1.5, 0.5], [2.5, 0.5], [0.5, 1.5], [1.5, 1.5], [2.5, 1.5], [0.5, 0.5], [1.5, 0.5]]
    assert points.tolist() == wanted
    assert strides[:, 0].tolist() == [8] * 6 + [16] * 2


def test_distances_round_trip():
    points = torch.tensor([[5.0, 5.0], [8.0, 2.0]])
    boxes = torch.tensor([[1.0, 2.0, 9.0, 7.0], [6.0, 0.5, 8.5, 30.0]])
    dist = bbox2dist(points, boxes, 15)
    torch.testing.assert_close(dist[0], torch.tensor([4.0, 3.0, 4.0, 2.0]))
    assert dist[1, 3] == pytest.approx(14.99)  # cut to what can be told
    torch.testing.assert_close(dist2bbox(dist, points, xywh=False)[0], boxes[0])
    torch.testing.assert_close(dist2bbox(dist, points)[0], torch.tensor([5.0, 4.5, 8.0, 5.0]))
    turned = dist2bbox(dist.T[None], points.T[None], dim=1)  # as the head does it, (b, 4, anchors)
    torch.testing.assert_close(turned[0].T, dist2bbox(dist, points))
