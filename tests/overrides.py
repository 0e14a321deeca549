"""Changes to the losses in the ways of tutorials for 8.3.0, by names of 8.3.0 alone, each on one fixed batch.

`python tests/overrides.py` prints the losses; with the official 8.3.0 it wrote `tests/reference/overrides.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import ultralytics.utils.loss as loss_module
import ultralytics.utils.tal as tal_module
from fill import fill, image
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel
from ultralytics.utils.loss import (
    BboxLoss,
    KeypointLoss,
    v8DetectionLoss,
    v8OBBLoss,
    v8PoseLoss,
    v8SegmentationLoss,
)
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors

TARGETS = Path(__file__).parent / "reference" / "loss_targets.npz"
GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5, "pose": 12.0, "kobj": 1.0, "overlap_mask": True}
MODELS = {
    "detect": (DetectionModel, "yolo11n.yaml", v8DetectionLoss),
    "segment": (SegmentationModel, "yolo11n-seg.yaml", v8SegmentationLoss),
    "pose": (PoseModel, "yolo11n-pose.yaml", v8PoseLoss),
    "obb": (OBBModel, "yolo11n-obb.yaml", v8OBBLoss),
}


def own_iou(box1, box2, xywh=True, GIoU=False, DIoU=False, CIoU=False, eps=1e-7):
    """IoU less the mean difference of the corners, as a share of the larger box's sides."""
    low, high = torch.maximum(box1[..., :2], box2[..., :2]), torch.minimum(box1[..., 2:], box2[..., 2:])
    inter = (high - low).clamp(0).prod(-1, keepdim=True)
    sizes = [b[..., 2:] - b[..., :2] for b in (box1, box2)]
    union = sizes[0].prod(-1, keepdim=True) + sizes[1].prod(-1, keepdim=True) - inter
    apart = (box1 - box2).abs().mean(-1, keepdim=True) / (sizes[0] + sizes[1]).amax(-1, keepdim=True)
    return inter / (union + eps) - 0.1 * apart


class OwnBboxLoss(BboxLoss):
    """The seven arguments of 8.3.0, and IoU to a power."""

    def forward(self, pred_dist, pred_bboxes, anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask):
        weight = target_scores.sum(-1)[fg_mask].unsqueeze(-1)
        iou = own_iou(pred_bboxes[fg_mask], target_bboxes[fg_mask], xywh=False).clamp(0)
        box = ((1 - (iou + 1e-6).sqrt()) * weight).sum() / target_scores_sum
        sides = bbox2dist(anchor_points, target_bboxes, self.dfl_loss.reg_max - 1)
        logits = pred_dist[fg_mask].view(-1, self.dfl_loss.reg_max)
        dfl = (self.dfl_loss(logits, sides[fg_mask]) * weight).sum() / target_scores_sum
        return box, dfl


class OwnMetrics(TaskAlignedAssigner):
    """Another alignment: score times the square of an own overlap, on padded objects and all anchors."""

    def get_box_metrics(self, pd_scores, pd_bboxes, gt_labels, gt_bboxes, mask_gt):
        a = pd_bboxes.shape[1]
        assert (self.bs, self.n_max_boxes) == gt_bboxes.shape[:2]
        mask = mask_gt.bool()
        pairs = gt_bboxes[:, :, None].expand(-1, -1, a, -1), pd_bboxes[:, None].expand(-1, gt_bboxes.shape[1], -1, -1)
        overlaps = own_iou(*pairs)[..., 0].clamp(0) * mask
        scores = torch.stack([s[:, c[:, 0].long()].T for s, c in zip(pd_scores, gt_labels)]) * mask
        return scores * overlaps**2, overlaps


class OwnTop(TaskAlignedAssigner):
    """Half as many anchors for each object, and the second best overlap for anchors that several claim."""

    def select_topk_candidates(self, metrics, largest=True, topk_mask=None):
        _, index = torch.topk(metrics, self.topk // 2, dim=-1, largest=largest)
        chosen = torch.zeros_like(metrics).scatter_(-1, index, 1.0)
        return chosen * topk_mask[..., :1]

    @staticmethod
    def select_highest_overlaps(mask_pos, overlaps, n_max_boxes):
        contested = mask_pos.sum(1, keepdim=True) > 1
        first = F.one_hot((overlaps * mask_pos).argmin(1), n_max_boxes).permute(0, 2, 1).to(mask_pos.dtype)
        mask_pos = torch.where(contested.expand_as(mask_pos), first, mask_pos)
        return mask_pos.argmax(1), mask_pos.sum(1), mask_pos


class OwnPlaces(TaskAlignedAssigner):
    """Anchors near an object's center alone, and target scores that are raised."""

    @staticmethod
    def select_candidates_in_gts(xy_centers, gt_bboxes, eps=1e-9):
        center, half = (gt_bboxes[..., :2] + gt_bboxes[..., 2:]) / 2, (gt_bboxes[..., 2:] - gt_bboxes[..., :2]) / 2
        apart = (xy_centers[None, None] - center[:, :, None]).abs()
        return (apart < 0.7 * half[:, :, None]).all(-1)

    def get_targets(self, gt_labels, gt_bboxes, target_gt_idx, fg_mask):
        labels, boxes, scores = super().get_targets(gt_labels, gt_bboxes, target_gt_idx, fg_mask)
        return labels, boxes, scores * 2


class OwnOverlap(TaskAlignedAssigner):
    def iou_calculation(self, gt_bboxes, pd_bboxes):
        return own_iou(gt_bboxes, pd_bboxes).squeeze(-1).clamp_(0)


class QualityBCE(nn.Module):
    """Cross-entropy weighted by how far the score is from its target, for each anchor and class."""

    def forward(self, pred, target):
        return F.binary_cross_entropy_with_logits(pred, target, reduction="none") * (target - pred.sigmoid()).abs()


class OwnSteps(v8DetectionLoss):
    """Smaller objects, and boxes that are shifted."""

    def preprocess(self, targets, batch_size, scale_tensor):
        out = super().preprocess(targets, batch_size, scale_tensor)
        middle = (out[..., 1:3] + out[..., 3:]) / 2
        return torch.cat((out[..., :1], middle.repeat(1, 1, 2) * 0.2 + out[..., 1:] * 0.8), -1)

    def bbox_decode(self, anchor_points, pred_dist):
        return super().bbox_decode(anchor_points, pred_dist) + 0.25


class OwnCall(v8DetectionLoss):
    """The whole call written anew, by the attributes and methods of 8.3.0: L1 of the sides in the place of IoU."""

    def __call__(self, preds, batch):
        feats = preds[1] if isinstance(preds, tuple) else preds
        b = feats[0].shape[0]
        rows = torch.cat([f.view(b, self.no, -1) for f in feats], 2)
        dist, scores = rows.split((self.reg_max * 4, self.nc), 1)
        dist, scores = dist.permute(0, 2, 1).contiguous(), scores.permute(0, 2, 1).contiguous()
        size = torch.tensor(feats[0].shape[2:], device=self.device, dtype=scores.dtype) * self.stride[0]
        points, strides = make_anchors(feats, self.stride, 0.5)
        columns = batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]
        targets = self.preprocess(torch.cat(columns, 1).to(self.device), b, scale_tensor=size[[1, 0, 1, 0]])
        labels, boxes = targets.split((1, 4), 2)
        mask = boxes.sum(2, keepdim=True).gt_(0.0)
        assert self.use_dfl
        bins = dist.view(b, -1, 4, self.reg_max).softmax(3).matmul(self.proj.type(dist.dtype))
        decoded = dist2bbox(bins, points, xywh=False)
        assert torch.allclose(decoded, self.bbox_decode(points, dist), atol=1e-4)
        _, goal, goal_scores, fg, _ = self.assigner(
            scores.detach().sigmoid(),
            (decoded.detach() * strides).type(boxes.dtype),
            points * strides,
            labels,
            boxes,
            mask,
        )
        total = max(goal_scores.sum(), 1)
        cls = self.bce(scores, goal_scores.to(scores.dtype)).sum() / total
        weight = goal_scores.sum(-1)[fg].unsqueeze(-1)
        box = ((decoded - goal / strides)[fg].abs() * weight).sum() / total
        loss = torch.stack((box * self.hyp.box, cls * self.hyp.cls))
        return loss.sum() * b, loss.detach()


class OwnMask(v8SegmentationLoss):
    """Masks by their squared error."""

    @staticmethod
    def single_mask_loss(gt_mask, pred, proto, xyxy, area):
        masks = torch.einsum("in,nhw->ihw", pred, proto).sigmoid()
        return ((masks - gt_mask) ** 2).mean((1, 2)).div(area).sum()


class OwnMasks(v8SegmentationLoss):
    def calculate_segmentation_loss(self, *args):
        return super().calculate_segmentation_loss(*args) * 3


class OwnPoints(v8PoseLoss):
    """Keypoints that are shifted, and half of their loss."""

    @staticmethod
    def kpts_decode(anchor_points, pred_kpts):
        y = pred_kpts.clone()
        y[..., :2] *= 1.5
        y[..., 0] += anchor_points[:, [0]]
        y[..., 1] += anchor_points[:, [1]]
        return y

    def calculate_keypoints_loss(self, *args):
        pose, kobj = super().calculate_keypoints_loss(*args)
        return pose / 2, kobj / 2


class OwnKeypointLoss(KeypointLoss):
    def forward(self, pred_kpts, gt_kpts, kpt_mask, area):
        apart = (pred_kpts[..., :2] - gt_kpts[..., :2]).abs().sum(-1)
        return (apart * kpt_mask).mean() / 10


class OwnAngles(v8OBBLoss):
    """Angles that are turned, and larger objects."""

    def bbox_decode(self, anchor_points, pred_dist, pred_angle):
        return super().bbox_decode(anchor_points, pred_dist, pred_angle + 0.1)

    def preprocess(self, targets, batch_size, scale_tensor):
        out = super().preprocess(targets, batch_size, scale_tensor)
        out[..., 3:5] *= 1.2
        return out


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def assigner(kind: type) -> Callable:
    def change(criterion):
        criterion.assigner = kind(topk=10, num_classes=criterion.nc, alpha=0.5, beta=6.0)

    return change


def attribute(name: str, make: Callable) -> Callable:
    return lambda criterion: setattr(criterion, name, make(criterion))


# name: task, class of the criterion, what is changed on it, and what is replaced in a module meanwhile
CASES: dict[str, tuple] = {
    "iou of the loss": ("detect", v8DetectionLoss, None, (loss_module, "bbox_iou", own_iou)),
    "iou of the assigner": ("detect", v8DetectionLoss, None, (tal_module, "bbox_iou", own_iou)),
    "class of the box loss": ("detect", v8DetectionLoss, None, (loss_module, "BboxLoss", OwnBboxLoss)),
    "forward of the box loss": ("detect", v8DetectionLoss, None, (BboxLoss, "forward", OwnBboxLoss.forward)),
    "box loss": ("detect", v8DetectionLoss, attribute("bbox_loss", lambda c: OwnBboxLoss(c.reg_max)), None),
    "metrics of the assigner": ("detect", v8DetectionLoss, assigner(OwnMetrics), None),
    "top of the assigner": ("detect", v8DetectionLoss, assigner(OwnTop), None),
    "places of the assigner": ("detect", v8DetectionLoss, assigner(OwnPlaces), None),
    "overlap of the assigner": ("detect", v8DetectionLoss, assigner(OwnOverlap), None),
    "class loss": ("detect", v8DetectionLoss, attribute("bce", lambda c: QualityBCE()), None),
    "steps": ("detect", OwnSteps, None, None),
    "call": ("detect", OwnCall, None, None),
    "mask": ("segment", OwnMask, None, None),
    "masks": ("segment", OwnMasks, None, None),
    "points": ("pose", OwnPoints, None, None),
    "keypoint loss": ("pose", v8PoseLoss, attribute("keypoint_loss", lambda c: OwnKeypointLoss(torch.ones(17))), None),
    "angles": ("obb", OwnAngles, None, None),
    "boxes of masks": (
        "segment",
        v8SegmentationLoss,
        attribute("bbox_loss", lambda c: OwnBboxLoss(c.reg_max)),
        None,
    ),
}


def predictions(task: str) -> tuple:
    """Return the filled model of a task, its outputs in training and the batch."""
    cls, name, _ = MODELS[task]
    model = fill(cls(name, verbose=False)).train()
    model.args = SimpleNamespace(**GAINS)
    with np.load(TARGETS) as data:
        batch = {k.split("/")[1]: torch.from_numpy(data[k]) for k in data if k.startswith(f"{task}/")}
    with torch.no_grad():
        return model, model(image(3, 128, 96, seed=3)), batch


def figures(name: str, made: tuple | None = None) -> list[float]:
    """Return the loss and its parts for a case."""
    task, kind, change, patch = CASES[name]
    model, preds, batch = made or predictions(task)
    with replaced(*patch) if patch else nullcontext():
        criterion = kind(model)
        if change:
            change(criterion)
        loss, items = criterion(preds, batch)
    return [float(loss), *items.tolist()]


if __name__ == "__main__":
    ready = {task: predictions(task) for task in MODELS}
    print(json.dumps({name: figures(name, ready[case[0]]) for name, case in CASES.items()}, indent=1))
