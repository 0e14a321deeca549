"""Boxes and classes of an anchor-free detection head; the other tasks build on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import Assignment, TaskAlignedAssigner, bbox2dist, dist2bbox, make_anchors


class DFLoss(nn.Module):
    """Distribution focal loss: put the probability on the two whole distances next to the true one.

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
    """Box losses of the positives, each weighted by the class score it shall reach: 1 - CIoU, and DFL."""

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
            pred_bboxes: (p, 4) xyxy decoded from them, in strides, as the following.
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
        """Return how well boxes fit, (p, 1)."""
        return bbox_iou(pred, target, xywh=False, CIoU=True)

    def corners(self, boxes: torch.Tensor) -> torch.Tensor:
        """Return the boxes as xyxy (p, 4), whose sides the distributions shall tell."""
        return boxes


def per_process(total: torch.Tensor) -> torch.Tensor:
    """Return what to divide a batch's losses by: the sum of its target scores, 1 at least.

    When several processes train on a share each, it is the mean of their sums: the mean of their losses, and so of
    their gradients, is then what one process would find for all the shares together.
    """
    if not (torch.is_grad_enabled() and dist.is_available() and dist.is_initialized()):  # validation runs in one alone
        return total.clamp(min=1)
    total, world = total.clone(), dist.get_world_size()
    dist.all_reduce(total)
    return total.clamp(min=1) / world


class Matched(NamedTuple):
    """A batch seen by the head and its objects, for n images, a anchors, g objects."""

    dist: torch.Tensor  # (n, a, 4 * reg_max) distance logits
    logits: torch.Tensor  # (n, a, nc)
    points: torch.Tensor  # (a, 2) anchor points, strides
    strides: torch.Tensor  # (a, 1)
    gt_image: torch.Tensor  # (g,)
    gt_labels: torch.Tensor  # (g,)
    gt_boxes: torch.Tensor  # (g, 4) xyxy, pixels
    hits: Assignment  # the anchors that learn an object


class v8DetectionLoss:
    """The loss of YOLOv8 and YOLO11 detectors: task-aligned targets, CIoU, binary cross-entropy and DFL.

    What it needs of the model is taken here: the shape of the predictions from its head, and the settings `model.args`
    of the training, kept as `hyp`. Gains that a callback changes there take effect with the next batch.
    """

    assigner_class, box_loss_class = TaskAlignedAssigner, BboxLoss
    gains: tuple[str, ...] = ("box", "cls", "dfl")  # the settings by which the parts are multiplied, in their order

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        head = model.model[-1]
        self.hyp = model.args
        self.stride = [float(s) for s in head.stride]
        self.nc, self.no, self.reg_max = head.nc, head.no, head.reg_max
        self.assigner = self.assigner_class(topk=tal_topk, num_classes=self.nc, alpha=0.5, beta=6.0)
        self.bbox_loss = self.box_loss_class(self.reg_max)

    def __call__(
        self, preds: list[torch.Tensor] | tuple, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, summed over its parts and times the batch size, and the parts themselves, detached.

        Args:
            preds: what the head gives in training, or a pair (decoded, that) as in eval mode.
            batch: batch_idx (g,), cls (g, 1) or (g,), bboxes (g, 4) normalised xywh; g may be 0. More in subclasses.

        Returns:
            the loss, and its parts with their gains: box, class and distribution loss; more in subclasses.
        """
        decoded = isinstance(preds, tuple) and isinstance(preds[0], torch.Tensor)
        parts = self.parts(preds[1] if decoded else preds, batch)
        loss = torch.stack([part * getattr(self.hyp, gain) for part, gain in zip(parts, self.gains)])
        return loss.sum() * self.images(preds), loss.detach()

    @staticmethod
    def images(preds: list | tuple) -> int:
        """Return the batch size."""
        while not isinstance(preds, torch.Tensor):
            preds = preds[0]
        return len(preds)

    def parts(self, maps: list[torch.Tensor], batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the parts of the loss without gains, for maps (b, 4 * reg_max + nc, h, w)."""
        return self.of_boxes(self.match(*self.flatten(maps), maps, batch))

    def match(
        self,
        dist: torch.Tensor,
        logits: torch.Tensor,
        points: torch.Tensor,
        strides: torch.Tensor,
        maps: list[torch.Tensor],
        batch: dict[str, torch.Tensor],
    ) -> Matched:
        """Find out which anchors learn which objects."""
        objects = self.targets(maps, batch)
        return Matched(dist, logits, points, strides, *objects, self.assign(dist, logits, points, strides, *objects))

    def flatten(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return distance logits (b, a, 4 * reg_max) and class logits (b, a, nc) in single precision, anchor points
        (a, 2) in strides, and strides (a, 1)."""
        # Channels last, as convolutions on a CPU leave them: no element changes its place
        rows = [m.permute(0, 2, 3, 1).flatten(1, 2).split((4 * self.reg_max, self.nc), 2) for m in maps]
        dist, logits = (torch.cat(parts, 1).float() for parts in zip(*rows))
        # In half precision not every anchor of a large image has coordinates of its own
        points, strides = make_anchors([m[:1, :1].float() for m in maps], self.stride)
        return dist, logits, points, strides

    def targets(
        self, maps: list[torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return image (g,), class (g,) and box (g, 4) xyxy in pixels of each object."""
        device = maps[0].device
        w, h = self.size(maps)
        boxes = batch["bboxes"].to(device, torch.float32).reshape(-1, 4)
        boxes = xywh2xyxy(boxes * boxes.new_tensor((w, h, w, h)))
        return batch["batch_idx"].to(device).reshape(-1).long(), batch["cls"].to(device).reshape(-1).long(), boxes

    def size(self, maps: list[torch.Tensor]) -> tuple[float, float]:
        """Return width and height of the images, pixels."""
        h, w = (side * self.stride[0] for side in maps[0].shape[2:])
        return w, h

    def decode(self, dist: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Turn distance logits (p, 4 * reg_max) into boxes (p, 4) xyxy around points (p, 2), all in strides."""
        return dist2bbox(self.expected(dist), points, xywh=False)

    def expected(self, dist: torch.Tensor) -> torch.Tensor:
        """Return the distances (p, 4) that distance logits (p, 4 * reg_max) stand for."""
        if self.reg_max == 1:
            return dist
        steps = torch.arange(self.reg_max, device=dist.device, dtype=dist.dtype)
        # No matrix product: autocast would turn it to half precision
        return (dist.view(-1, 4, self.reg_max).softmax(2) * steps).sum(2)

    def scaled(self, boxes: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return boxes (p, 4) times factors (p, 1)."""
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
        """Find the anchors that learn an object."""
        rows, a = dist.flatten(0, 1), len(points)

        def predict(
            image: torch.Tensor, anchor: torch.Tensor, label: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            place = image * a + anchor
            # Boxes are decoded where an object lies, and once where several do
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
