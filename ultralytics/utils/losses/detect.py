"""The loss of an anchor-free detection head, on which those of other tasks build."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import Assignment, TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors


class DFLoss(nn.Module):
    """Distribution focal loss: cross-entropy with the two whole distances next to the true one.

    Li et al., Generalized Focal Loss, arXiv 2006.04388, section 3.2, equation 6.
    """

    def __init__(self, reg_max: int = 16):
        super().__init__()
        self.reg_max = reg_max

    def forward(self, pred_dist: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over the four sides (p, 1) for logits (p, 4, reg_max) and distances (p, 4) in strides."""
        target = target.clamp(0, self.reg_max - 1 - 0.01)
        left = target.long()
        weight_right = target - left
        log_p = pred_dist.reshape(-1, 4, self.reg_max).log_softmax(2)
        at_left = log_p.gather(2, left[..., None])[..., 0]
        at_right = log_p.gather(2, left[..., None] + 1)[..., 0]
        return -(at_left * (1 - weight_right) + at_right * weight_right).mean(-1, keepdim=True)


class BboxLoss(nn.Module):
    """Box losses of the positives, weighted by their target class scores: 1 - CIoU, and DFL."""

    def __init__(self, reg_max: int = 16):
        super().__init__()
        self.dfl_loss = DFLoss(reg_max) if reg_max > 1 else None

    def forward(
        self,
        pred_dist: torch.Tensor,
        pred_bboxes: torch.Tensor,
        points: torch.Tensor,
        target_bboxes: torch.Tensor,
        weight: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sums of the weighted IoU and distribution losses.

        Args:
            pred_dist: (p, 4 * reg_max) logits of the distances.
            pred_bboxes: (p, 4) xyxy decoded from them, in strides, like the following.
            points: (p, 2) anchor points.
            target_bboxes: (p, 4) xyxy.
            weight: (p, 1).
        """
        box = ((1 - self.iou(pred_bboxes, target_bboxes)) * weight).sum()
        if self.dfl_loss is None:
            return box, box.new_zeros(())
        distances = bbox2dist(points, self.corners(target_bboxes), self.dfl_loss.reg_max - 1)
        return box, (self.dfl_loss(pred_dist, distances) * weight).sum()

    def iou(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the IoU of box pairs, (p, 1)."""
        return bbox_iou(pred, target, xywh=False, CIoU=True)

    def corners(self, boxes: torch.Tensor) -> torch.Tensor:
        """Return the boxes as xyxy (p, 4), whose sides are the targets of the distributions."""
        return boxes


def per_process(total: torch.Tensor) -> torch.Tensor:
    """Return the divisor of a batch's losses: the sum of its target scores, at least 1.

    When several ranks train, it is the mean of their sums: the mean of their losses, and so of their gradients, is then
    that of a single process on the whole batch.
    """
    if not (torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()):  # validation runs on one rank
        return total.clamp(min=1)
    total, world = total.clone(), dist.get_world_size()
    dist.all_reduce(total)
    return total.clamp(min=1) / world


class Head(Protocol):
    """The last layer of a model, as far as a loss needs it."""

    stride: torch.Tensor  # (levels,)
    nc: int  # classes
    no: int  # outputs of an anchor
    reg_max: int  # bins of a distance
    kpt_shape: Sequence[int]  # of a pose head: number of keypoints, and of values each


def head_of(model: nn.Module) -> Head:
    """Return the head of a model, which is its last layer."""
    return cast("Head", cast("nn.Sequential", model.model)[-1])


class Matched(NamedTuple):
    """Predictions and objects of a batch, for n images, a anchors, g objects."""

    dist: torch.Tensor  # (n, a, 4 * reg_max) distance logits
    logits: torch.Tensor  # (n, a, nc)
    points: torch.Tensor  # (a, 2) anchor points, strides
    strides: torch.Tensor  # (a, 1)
    gt_image: torch.Tensor  # (g,)
    gt_labels: torch.Tensor  # (g,)
    gt_boxes: torch.Tensor  # (g, 4) xyxy, pixels
    hits: Assignment  # of objects to anchors


class v8DetectionLoss:
    """The loss of YOLOv8 and YOLO11 detectors: task-aligned targets, CIoU, binary cross-entropy and DFL.

    The constructor reads the shape of the predictions from the model's head, and keeps the settings `model.args` of the
    training as `hyp`. Gains that a callback changes there take effect with the next batch.
    """

    assigner_class, box_loss_class = TaskAlignedAssigner, BboxLoss
    gains: tuple[str, ...] = ("box", "cls", "dfl")  # the settings by which the parts are multiplied, in their order

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        head = head_of(model)
        self.hyp = cast("SimpleNamespace", model.args)
        self.stride = [float(s) for s in head.stride]
        self.nc, self.no, self.reg_max = head.nc, head.no, head.reg_max
        self.assigner = self.assigner_class(topk=tal_topk, num_classes=self.nc, alpha=0.5, beta=6.0)
        self.bbox_loss = self.box_loss_class(self.reg_max)

    def __call__(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, summed over its parts and times the batch size, and the parts themselves, detached.

        Args:
            preds: the head's outputs in training, or the pair (decoded, outputs) of eval mode.
            batch: batch_idx (g,), cls (g, 1) or (g,), bboxes (g, 4) normalised xywh; g may be 0. More in subclasses.

        Returns:
            the loss, and its parts with their gains: box, class and distribution loss; more in subclasses.
        """
        decoded = isinstance(preds, tuple) and isinstance(preds[0], torch.Tensor)
        parts = self.parts(preds[1] if decoded else preds, batch)
        loss = torch.stack([part * getattr(self.hyp, gain) for part, gain in zip(parts, self.gains)])
        return loss.sum() * self.images(preds), loss.detach()

    @staticmethod
    def images(preds: Sequence | torch.Tensor) -> int:
        """Return the batch size."""
        while not isinstance(preds, torch.Tensor):
            preds = preds[0]
        return len(preds)

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the parts of the loss without gains, for maps (b, 4 * reg_max + nc, h, w)."""
        return self.of_boxes(self.match(*self.flatten(preds), preds, batch))

    def match(
        self,
        dist: torch.Tensor,
        logits: torch.Tensor,
        points: torch.Tensor,
        strides: torch.Tensor,
        maps: Sequence[torch.Tensor],
        batch: dict[str, torch.Tensor],
    ) -> Matched:
        """Assign the objects of a batch to anchors."""
        objects = self.targets(maps, batch)
        return Matched(dist, logits, points, strides, *objects, self.assign(dist, logits, points, strides, *objects))

    def flatten(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return distance logits (b, a, 4 * reg_max) and class logits (b, a, nc) in single precision, anchor points
        (a, 2) in strides, and strides (a, 1)."""
        # Channels last, as convolutions on a CPU leave them: nothing is copied
        rows = [m.permute(0, 2, 3, 1).flatten(1, 2).split((4 * self.reg_max, self.nc), 2) for m in maps]
        dist, logits = (torch.cat(parts, 1).float() for parts in zip(*rows))
        # In half precision not every anchor of a large image has coordinates of its own
        points, strides = make_anchors([m[:1, :1].float() for m in maps], self.stride)
        return dist, logits, points, strides

    def targets(
        self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return image (g,), class (g,) and box (g, 4) xyxy in pixels of each object."""
        device = maps[0].device
        w, h = self.size(maps)
        boxes = batch["bboxes"].to(device, torch.float32).reshape(-1, 4)
        boxes = xywh2xyxy(boxes * boxes.new_tensor((w, h, w, h)))
        return batch["batch_idx"].to(device).reshape(-1).long(), batch["cls"].to(device).reshape(-1).long(), boxes

    def size(self, maps: Sequence[torch.Tensor]) -> tuple[float, float]:
        """Return width and height of the images in pixels."""
        h, w = (side * self.stride[0] for side in maps[0].shape[2:])
        return w, h

    def decode(self, dist: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Turn distance logits (p, 4 * reg_max) into boxes (p, 4) xyxy around points (p, 2), all in strides."""
        return dist2bbox(self.expected(dist), points, xywh=False)

    def expected(self, dist: torch.Tensor) -> torch.Tensor:
        """Return the expected distances (p, 4) of distance logits (p, 4 * reg_max)."""
        if self.reg_max == 1:
            return dist
        steps = torch.arange(self.reg_max, device=dist.device, dtype=dist.dtype)
        # Not a matrix product, which autocast would run in half precision
        return (dist.view(-1, 4, self.reg_max).softmax(2) * steps).sum(2)

    def scaled(self, boxes: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Multiply boxes (p, 4) by factors (p, 1)."""
        return boxes * factor

    @torch.no_grad()
    def assign(
        self,
        dist: torch.Tensor,
        logits: torch.Tensor,
        points: torch.Tensor,
        strides: torch.Tensor,
        gt_image: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_boxes: torch.Tensor,
    ) -> Assignment:
        """Assign objects to anchors, of which only those inside an object are decoded."""
        rows, a = dist.flatten(0, 1), len(points)

        def predict(
            image: torch.Tensor, anchor: torch.Tensor, label: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            place = image * a + anchor
            # Boxes are decoded where an object lies, and once if several do
            used = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
            used[place] = True
            where = used.nonzero()[:, 0]
            slot = used.cumsum(0) - 1
            at = where % a
            boxes = self.scaled(self.decode(rows[where], points[at]), strides[at])
            return logits[image, anchor, label].sigmoid(), boxes[slot[place]]

        return self.assigner.assign(predict, points * strides, len(logits), gt_image, gt_labels, gt_boxes)

    def of_boxes(self, m: Matched) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return box, class and distribution loss without gains, each divided by the sum of target scores."""
        hits = m.hits
        total = per_process(hits.score.sum())
        # Binary cross-entropy of logit x and target t is softplus(x) - x t, and t is 0 for all but a few anchors
        true_logit = m.logits[hits.image, hits.anchor, m.gt_labels[hits.gt]]
        cls = F.softplus(m.logits).sum() - (true_logit * hits.score).sum()

        dist, points = m.dist[hits.image, hits.anchor], m.points[hits.anchor]
        boxes = self.scaled(m.gt_boxes[hits.gt], 1 / m.strides[hits.anchor])
        sides = dist[:, : 4 * self.reg_max]
        box, dfl = self.bbox_loss(sides, self.decode(dist, points), points, boxes, hits.score[:, None])
        return box / total, cls / total, dfl / total
