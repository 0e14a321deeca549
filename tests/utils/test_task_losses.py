"""Losses of masks, keypoints, rotated boxes and image classes: what they mean, and the edges of a batch."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ultralytics.utils.loss import (
    KeypointLoss,
    RotatedBboxLoss,
    v8ClassificationLoss,
    v8OBBLoss,
    v8PoseLoss,
    v8SegmentationLoss,
)
from ultralytics.utils.metrics import probiou
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, dist2rbox, make_anchors

NC, SHAPES, ANCHORS = 3, ((8, 6), (4, 3)), 60  # images of 48 x 64 pixels, strides 8 and 16
EXTRA = {
    "segment": lambda g: (torch.randn(2, 4, ANCHORS, generator=g), torch.randn(2, 4, 16, 12, generator=g)),
    "pose": lambda g: (torch.randn(2, 6, ANCHORS, generator=g),),
    "obb": lambda g: (torch.rand(2, 1, ANCHORS, generator=g) * math.pi - math.pi / 4,),
}
LOSSES = {"segment": (v8SegmentationLoss, 4), "pose": (v8PoseLoss, 5), "obb": (v8OBBLoss, 3)}
TASKS = pytest.mark.parametrize("task", LOSSES)


def criterion(task, **args):
    head = SimpleNamespace(nc=NC, reg_max=16, no=NC + 64, stride=torch.tensor([8.0, 16.0]), kpt_shape=[2, 3])
    hyp = SimpleNamespace(
        **{"box": 7.5, "cls": 0.5, "dfl": 1.5, "pose": 12.0, "kobj": 1.0, "overlap_mask": True, **args}
    )
    return LOSSES[task][0](SimpleNamespace(args=hyp, model=[head]))


def predictions(task, dtype=torch.float32):
    g = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, NC + 64, *s, generator=g).to(dtype).requires_grad_() for s in SHAPES]
    return (maps, *(t.to(dtype).requires_grad_() for t in EXTRA[task](g)))


def flat(preds):
    return [t for p in preds for t in (p if isinstance(p, list) else [p])]


def objects(task, *rows):
    """Make a batch of rows (image, class, x, y, w, h)."""
    rows = torch.tensor(rows, dtype=torch.float32).view(-1, 6)
    batch = {"batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}
    n = len(rows)
    if task == "obb":
        batch["bboxes"] = torch.cat((batch["bboxes"], torch.full((n, 1), 0.3)), 1)
    elif task == "pose":
        batch["keypoints"] = torch.cat((batch["bboxes"][:, None, :2].expand(n, 2, 2), torch.ones(n, 2, 1)), 2)
    else:
        batch["masks"] = torch.zeros(2, 16, 12, dtype=torch.uint8)
        place = [0, 0]
        for image, _, x, y, w, h in rows.tolist():
            place[int(image)] += 1
            x1, x2, y1, y2 = (
                round(v) for v in ((x - w / 2) * 12, (x + w / 2) * 12, (y - h / 2) * 16, (y + h / 2) * 16)
            )
            batch["masks"][int(image), y1:y2, x1:x2] = place[int(image)]
    return batch


ROWS = (0, 2, 0.5, 0.5, 0.5, 0.4), (0, 0, 0.3, 0.3, 0.4, 0.5), (1, 1, 0.6, 0.6, 0.5, 0.5)


@TASKS
def test_batch_without_objects_teaches_classes_alone(task):
    preds, loss = predictions(task), criterion(task)
    total, items = loss(preds, objects(task))
    total.backward()
    assert items.shape == (LOSSES[task][1],)
    assert items[-2] > 0 and items.count_nonzero() == 1
    for p in preds[0]:
        assert (p.grad[:, 64:] > 0).all() and not p.grad[:, :64].any()
    for p in preds[1:]:  # there is a gradient, as several processes need, and it is 0
        assert p.grad is not None and not p.grad.any()


@TASKS
def test_image_without_objects_adds_its_classes_alone(task):
    preds = predictions(task)
    criterion(task)(preds, objects(task, *ROWS[:2]))[0].backward()
    for p in preds[1:]:
        assert p.grad[0].any() and not p.grad[1].any()


@TASKS
def test_order_of_images_does_not_matter(task):
    """Objects of one image keep their order, since masks count by it."""
    batch, mixed = objects(task, *ROWS), objects(task, ROWS[0], ROWS[2], ROWS[1])
    loss, preds = criterion(task), predictions(task)
    torch.testing.assert_close(loss(preds, batch)[1], loss(preds, mixed)[1])


@TASKS
def test_eval_mode_gives_the_same(task):
    loss, preds, batch = criterion(task), predictions(task), objects(task, *ROWS)
    total, items = loss((torch.zeros(2, 9, ANCHORS), preds), batch)
    assert torch.equal(items, loss(preds, batch)[1])
    torch.testing.assert_close(total, loss(preds, batch)[0])


@TASKS
@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16])
def test_low_precision(task, dtype):
    low, loss, batch = predictions(task, dtype), criterion(task), objects(task, *ROWS)
    total, items = loss(low, batch)
    total.backward()
    single = ([p.detach().float() for p in low[0]], *(p.detach().float() for p in low[1:]))
    torch.testing.assert_close(items, loss(single, batch)[1], rtol=0.01, atol=0.01)
    assert items.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in flat(low))


@TASKS
def test_autocast(task):
    preds, loss, batch = predictions(task), criterion(task), objects(task, *ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, items = loss(preds, batch)
    torch.testing.assert_close(items, loss(preds, batch)[1], rtol=0.02, atol=0.02)


@TASKS
def test_training_on_one_batch_lowers_every_part(task):
    preds, loss, batch = predictions(task), criterion(task), objects(task, *ROWS)
    optimizer = torch.optim.Adam(flat(preds), lr=0.1)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        total, items = loss(preds, batch)
        total.backward()
        optimizer.step()
        history.append(items)
    falling = [i for i in range(len(items)) if i != len(items) - 1]  # distributions start near their end
    assert all(history[-1][i] < 0.7 * history[0][i] for i in falling), (history[0], history[-1])


def test_mask_loss_is_cross_entropy_inside_the_box():
    """One object that fills its box, as seen by prototypes of one value."""
    loss, preds = criterion("segment"), predictions("segment")
    maps, coefficients, protos = (preds[0], torch.zeros(2, 4, ANCHORS), torch.ones(2, 4, 16, 12))
    coefficients[:, 0] = 2.0
    batch = objects("segment", (0, 1, 0.5, 0.5, 0.5, 0.5))
    expected = F.softplus(torch.tensor(-2.0)) * 7.5
    torch.testing.assert_close(loss((maps, coefficients, protos), batch)[1][1], expected)
    batch["masks"].zero_()
    torch.testing.assert_close(loss((maps, coefficients, protos), batch)[1][1], expected + 15)


def test_masks_of_their_own_equal_overlap_masks():
    preds, batch = predictions("segment"), objects("segment", (0, 2, 0.25, 0.5, 0.4, 0.5), (1, 1, 0.6, 0.6, 0.5, 0.5))
    own = {**batch, "masks": torch.stack([(batch["masks"][i] == 1).float() for i in (0, 1)])}
    wanted = criterion("segment")(preds, batch)[1]
    torch.testing.assert_close(criterion("segment", overlap_mask=False)(preds, own)[1], wanted)
    small = {**batch, "masks": batch["masks"].repeat_interleave(2, 1).repeat_interleave(2, 2)}
    torch.testing.assert_close(criterion("segment")(preds, small)[1], wanted)  # resized to the prototypes


def test_key_points_that_are_not_labelled_do_not_count():
    loss = KeypointLoss(torch.full((4,), 0.25)).each
    target = torch.rand(1, 4, 2)
    pred, area, half = target + 0.3, torch.ones(1, 1), torch.tensor([[True, True, False, False]])
    wrong = pred.clone()
    wrong[:, 2:] += 100
    assert torch.equal(loss(pred, target, half, area), loss(wrong, target, half, area))
    torch.testing.assert_close(loss(pred, target, half, area).mean(), loss(pred, target, ~half | half, area).mean())
    assert not loss(pred, target, half & False, area).any()
    assert loss(target, target, half, area).sum() == 0


def test_pose_without_visibility():
    loss = criterion("pose")
    loss.kpt_shape = (3, 2)
    loss.keypoint_loss = KeypointLoss(torch.full((3,), 1 / 3))
    batch = {**objects("pose", *ROWS), "keypoints": torch.rand(3, 3, 2)}
    _, items = loss(predictions("pose"), batch)
    assert items[1] > 0 and items[2] == 0


def test_sigmas_of_people_and_of_anything_else():
    assert criterion("pose").keypoint_loss.sigmas.tolist() == [0.5, 0.5]
    head = SimpleNamespace(nc=1, reg_max=16, no=65, stride=torch.tensor([8.0]), kpt_shape=[17, 3])
    people = v8PoseLoss(SimpleNamespace(args=None, model=[head])).keypoint_loss.sigmas
    assert people[0].item() == pytest.approx(0.026) and people[11].item() == pytest.approx(0.107)


def test_rotated_anchors_lie_inside_the_turned_box():
    """A long thin box on the diagonal holds the points of the diagonal alone, an upright one those of its rectangle."""
    points, _ = make_anchors([torch.zeros(1, 1, 9, 9)], [1])
    box = torch.tensor([[4.5, 4.5, 20.0, 1.0, math.pi / 4]])
    _, anchor = RotatedTaskAlignedAssigner._pairs_inside(points, box)
    assert points[anchor].tolist() == [[i + 0.5, i + 0.5] for i in range(9)]
    _, anchor = RotatedTaskAlignedAssigner._pairs_inside(points, torch.tensor([[4.5, 4.5, 3.0, 1.0, 0.0]]))
    assert points[anchor].tolist() == [[x, 4.5] for x in (3.5, 4.5, 5.5)]


def test_rotated_assigner_finds_the_box_that_fits():
    points, _ = make_anchors([torch.zeros(1, 1, 8, 8)], [8])
    points = points * 8
    gt = torch.tensor([[[32.0, 32.0, 30.0, 14.0, 0.5]]])
    boxes = gt.expand(1, 64, 5).clone()
    boxes[..., 4] += torch.linspace(0, 1.5, 64)
    assigner = RotatedTaskAlignedAssigner(topk=3, num_classes=2, alpha=0.5, beta=6.0)
    one = torch.ones(1, 1, 1)
    labels, targets, scores, fg, _ = assigner(torch.full((1, 64, 2), 0.5), boxes, points, one.long(), gt, one)
    assert fg.sum() == 3 and targets.shape == (1, 64, 5)
    inside = RotatedTaskAlignedAssigner._pairs_inside(points, gt[0])[1]
    assert fg[0].nonzero()[:, 0].tolist() == inside[:3].tolist()  # the least turned of those inside
    assert torch.equal(targets[fg], gt.expand(1, 3, 5)[0]) and (labels[fg] == 1).all() and scores[fg][:, 1].all()


def test_distances_along_turned_axes():
    """A box whose anchor is at its left end: the centre lies half a width along the angle."""
    distance, angle = torch.tensor([[0.0, 1.0, 4.0, 1.0]]), torch.tensor([[math.pi / 2]])
    box = dist2rbox(distance, angle, torch.tensor([[10.0, 10.0]]))
    torch.testing.assert_close(box, torch.tensor([[10.0, 12.0, 4.0, 2.0]]))


def test_thin_rotated_boxes_have_finite_gradients():
    thin = torch.tensor([[50.0, 50.0, 80.0, w, 0.7] for w in (1e-6, 1e-4, 1e-2, 0.0)], requires_grad=True)
    loss, _ = RotatedBboxLoss(1).of_positives(
        torch.zeros(4, 4), thin, torch.zeros(4, 2), thin.detach() + 1, torch.ones(4, 1)
    )
    loss.backward()
    assert loss.isfinite() and thin.grad.isfinite().all()
    assert probiou(thin, thin).isfinite().all()


def test_tiny_rotated_boxes_are_left_out():
    rows = [(0, 1, 0.5, 0.5, 0.02, 0.5), ROWS[0]]
    batch, alone = objects("obb", *rows), objects("obb", rows[1])
    loss, preds = criterion("obb"), predictions("obb")
    assert torch.equal(loss(preds, batch)[1], loss(preds, alone)[1])


def test_classification():
    logits = torch.randn(4, 5, requires_grad=True)
    loss, items = v8ClassificationLoss()(logits, {"cls": torch.tensor([0, 4, 2, 2])})
    torch.testing.assert_close(loss, F.cross_entropy(logits, torch.tensor([0, 4, 2, 2])))
    assert items.shape == (1,) and not items.requires_grad
