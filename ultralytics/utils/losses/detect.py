"""The loss of an anchor-free detection head, on which those of other tasks build."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.losses.boxes import DEFAULT, find_box_loss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.overrides import is_stock, replaceable
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


class Pixels(NamedTuple):
    """What turns boxes in strides into pixels, for box losses that count in them."""

    strides: torch.Tensor  # (p, 1) of the boxes
    imgsz: tuple[float, float]  # width, height of the images


@replaceable("forward")
class BboxLoss(nn.Module):
    """Box losses of the positives, weighted by their target class scores: 1 - CIoU, or another box loss, and DFL.

    Args:
        reg_max: bins of a distance; 1 has no distribution.
        box_loss: the setting of that name (see `register_box_loss`).
    """

    def __init__(self, reg_max: int = 16, box_loss: str = DEFAULT):
        super().__init__()
        self.dfl_loss = DFLoss(reg_max) if reg_max > 1 else None
        self.box_loss = box_loss

    def forward(
        self,
        pred_dist: torch.Tensor,
        pred_bboxes: torch.Tensor,
        anchor_points: torch.Tensor,
        target_bboxes: torch.Tensor,
        target_scores: torch.Tensor,
        target_scores_sum: torch.Tensor,
        fg_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return box and distribution loss, sums over the positives divided by `target_scores_sum`.

        Args:
            pred_dist: (b, a, 4 * reg_max) logits of the distances.
            pred_bboxes: (b, a, 4) xyxy decoded from them, in strides, like the following.
            anchor_points: (a, 2).
            target_bboxes: (b, a, 4) xyxy.
            target_scores: (b, a, nc).
            target_scores_sum: of the batch, at least 1.
            fg_mask: (b, a) bool, the positives.
        """
        weight = target_scores.sum(-1)[fg_mask][:, None]
        points = anchor_points.expand(*fg_mask.shape, 2)[fg_mask]
        box, dfl = self.of_positives(pred_dist[fg_mask], pred_bboxes[fg_mask], points, target_bboxes[fg_mask], weight)
        return box / target_scores_sum, dfl / target_scores_sum

    def of_positives(
        self,
        pred_dist: torch.Tensor,
        pred_bboxes: torch.Tensor,
        points: torch.Tensor,
        target_bboxes: torch.Tensor,
        weight: torch.Tensor,
        pixels: Pixels | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the sums of the weighted box and distribution losses of p positives.

        Args:
            pred_dist: (p, 4 * reg_max) logits of the distances.
            pred_bboxes: (p, 4) xyxy decoded from them, in strides, like the following.
            points: (p, 2) anchor points.
            target_bboxes: (p, 4) xyxy.
            weight: (p, 1).
            pixels: for a box loss other than CIoU.
        """
        box = (self.each(pred_bboxes, target_bboxes, pixels) * weight).sum()
        if self.dfl_loss is None:
            return box, box.new_zeros(())
        distances = bbox2dist(points, self.corners(target_bboxes), self.dfl_loss.reg_max - 1)
        return box, (self.dfl_loss(pred_dist, distances) * weight).sum()

    def each(self, pred: torch.Tensor, target: torch.Tensor, pixels: Pixels | None) -> torch.Tensor:
        """Return the box loss (p, 1) of each positive."""
        if self.box_loss == DEFAULT:  # in strides, by the `bbox_iou` that users replace, as in 8.3.0
            return 1 - self.iou(pred, target)
        if pixels is None:
            raise ConfigError(f"box_loss={self.box_loss} counts in pixels, which only v8DetectionLoss knows.")
        loss = find_box_loss(self.box_loss)(pred * pixels.strides, target * pixels.strides, pixels.imgsz)
        if loss.numel() != len(pred):
            raise ConfigError(
                f"box_loss={self.box_loss} gave a tensor of shape {tuple(loss.shape)} for {len(pred)} pairs of boxes. "
                "Let the function return the loss of each pair, without a sum or mean."
            )
        return loss.view(-1, 1)

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


def scaled_columns(rows: torch.Tensor, factors: Sequence[float]) -> torch.Tensor:
    """Multiply each column of rows (g, len(factors)) by a number; as a tensor these would have to be sent to a GPU."""
    return torch.stack([column * factor for column, factor in zip(rows.unbind(1), factors)], 1)


def place_in_image(image: torch.Tensor) -> torch.Tensor:
    """Return the index (g,) of each object among those of its image (g,), in the order of the batch."""
    order = image.argsort(stable=True)
    count = torch.bincount(image)
    start = (count.cumsum(0) - count)[image[order]]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=image.device) - start)


def padded(rows: torch.Tensor, image: torch.Tensor, images: int) -> torch.Tensor:
    """Return rows (g, ...) of the objects of a batch by image, (images, most objects of one, ...), padded with 0."""
    most = int(torch.bincount(image).max()) if len(image) else 0
    table = rows.new_zeros(images, most, *rows.shape[1:])
    table[image, place_in_image(image)] = rows
    return table


class Matched(NamedTuple):
    """Predictions and objects of a batch, for n images, a anchors, g objects."""

    dist: torch.Tensor  # (n, a, 4 * reg_max) distance logits
    logits: torch.Tensor  # (n, a, nc)
    points: torch.Tensor  # (a, 2) anchor points, strides
    strides: torch.Tensor  # (a, 1)
    gt_image: torch.Tensor  # (g,)
    gt_labels: torch.Tensor  # (g,)
    gt_boxes: torch.Tensor  # (g, 4) xyxy, pixels
    imgsz: tuple[float, float]  # width, height, pixels
    hits: Assignment  # of objects to anchors


class Targets(NamedTuple):
    """Predictions and targets of all anchors of a batch, for n images, a anchors; see `TaskAlignedAssigner.forward`."""

    dist: torch.Tensor  # (n, a, 4 * reg_max) distance logits
    logits: torch.Tensor  # (n, a, nc)
    points: torch.Tensor  # (a, 2) anchor points, strides
    strides: torch.Tensor  # (a, 1)
    boxes: torch.Tensor  # (n, a, 4) decoded xyxy, strides
    target_boxes: torch.Tensor  # (n, a, 4) xyxy, strides
    target_scores: torch.Tensor  # (n, a, nc)
    fg_mask: torch.Tensor  # (n, a)
    gt_idx: torch.Tensor  # (n, a) index of the object in its image
    imgsz: tuple[float, float]  # width, height, pixels


@replaceable("preprocess", "bbox_decode")
class v8DetectionLoss:
    """The loss of YOLOv8 and YOLO11 detectors: task-aligned targets, CIoU, binary cross-entropy and DFL.

    The constructor reads the shape of the predictions from the model's head, and keeps the settings `model.args` of the
    training as `hyp`. Gains that a callback changes there take effect with the next batch.

    Its parts are replaced as in 8.3.0: `bce`, `assigner` and `bbox_loss` by assignment, `preprocess` and `bbox_decode`
    by a subclass. The loss is then computed for all anchors, as these expect; otherwise for those that matter, which
    gives the same in less time.
    """

    gains: tuple[str, ...] = ("box", "cls", "dfl")  # the settings by which the parts are multiplied, in their order

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        head = head_of(model)
        self.hyp = cast("SimpleNamespace", model.args)
        self.stride, self.device = head.stride, head.stride.device
        self.pixels = [float(s) for s in head.stride]  # of a stride; reading the tensor would wait for a GPU each time
        self.nc, self.no, self.reg_max, self.use_dfl = head.nc, head.no, head.reg_max, head.reg_max > 1
        self.bce: nn.Module = nn.BCEWithLogitsLoss(reduction="none")
        self.assigner: nn.Module = self.make_assigner(tal_topk)
        self.bbox_loss: nn.Module = self.make_bbox_loss()
        self.proj = torch.arange(self.reg_max, dtype=torch.float, device=self.device)
        self.on_gpu = self.device.type == "cuda"  # assign there, without waiting for values

    def make_assigner(self, topk: int) -> nn.Module:
        """Return the assigner of objects to anchors."""
        return TaskAlignedAssigner(topk=topk, num_classes=self.nc, alpha=0.5, beta=6.0)

    def make_bbox_loss(self) -> nn.Module:
        """Return the loss of boxes that the setting `box_loss` names."""
        name = getattr(self.hyp, "box_loss", DEFAULT)
        return BboxLoss(self.reg_max) if name == DEFAULT else BboxLoss(self.reg_max, name)

    def __call__(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, summed over its parts and times the batch size, and the parts themselves, detached.

        Args:
            preds: the head's outputs in training, or the pair (decoded, outputs) of eval mode.
            batch: batch_idx (g,), cls (g, 1) or (g,), bboxes (g, 4) normalised xywh; g may be 0. More in subclasses.

        Returns:
            the loss, and its parts with their gains: box, class and distribution loss; more in subclasses.
        """
        decoded = isinstance(preds, tuple) and isinstance(preds[0], torch.Tensor)
        outputs = preds[1] if decoded else preds
        parts = self.parts(outputs, batch) if self.is_stock() else self.parts_of_all(outputs, batch)
        loss = torch.stack([part * getattr(self.hyp, gain) for part, gain in zip(parts, self.gains)])
        return loss.sum() * self.images(preds), loss.detach()

    def is_stock(self) -> bool:
        """Return whether no part of the loss was replaced, so that its faster way gives the same."""
        bce = type(self.bce) is nn.BCEWithLogitsLoss and self.bce.reduction == "none" and not [*self.bce.buffers()]
        return (
            bce
            and is_stock(self, v8DetectionLoss)
            and is_stock(self.assigner, TaskAlignedAssigner)
            and is_stock(self.bbox_loss, BboxLoss)
        )

    @staticmethod
    def images(preds: Sequence | torch.Tensor) -> int:
        """Return the batch size."""
        while not isinstance(preds, torch.Tensor):
            preds = preds[0]
        return len(preds)

    # For all anchors, by the parts that users replace -----------------------------------------------------------------

    def parts_of_all(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the parts of the loss without gains, for maps (b, 4 * reg_max + nc, h, w)."""
        return self.box_parts(self.target(*self.flatten(preds), preds, batch))

    def preprocess(self, targets: torch.Tensor, batch_size: int, scale_tensor: torch.Tensor) -> torch.Tensor:
        """Return the objects by image (b, n, 5), class and xyxy in pixels, padded with 0.

        Args:
            targets: (g, 6) image, class, normalised xywh.
            batch_size: b.
            scale_tensor: (4,) width, height, width, height in pixels.
        """
        rows = torch.cat((targets[:, 1:2], xywh2xyxy(targets[:, 2:6] * scale_tensor)), 1)
        return padded(rows, targets[:, 0].long(), batch_size)

    def bbox_decode(self, anchor_points: torch.Tensor, pred_dist: torch.Tensor) -> torch.Tensor:
        """Turn distance logits (b, a, 4 * reg_max) into boxes (b, a, 4) xyxy around points (a, 2), all in strides."""
        return self.decode(pred_dist, anchor_points)

    def decode_all(self, points: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        """Return the boxes of all anchors by `bbox_decode`."""
        return self.bbox_decode(points, dist)

    def rows(self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return image, class and normalised box of each object, (g, 2 + 4)."""
        columns = batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]
        return torch.cat([c.to(maps[0].device, torch.float32) for c in columns], 1)

    def target(
        self,
        dist: torch.Tensor,
        logits: torch.Tensor,
        points: torch.Tensor,
        strides: torch.Tensor,
        maps: Sequence[torch.Tensor],
        batch: dict[str, torch.Tensor],
    ) -> Targets:
        """Find the targets of all anchors."""
        w, h = imgsz = self.size(maps)
        targets = self.preprocess(self.rows(maps, batch), len(logits), dist.new_tensor((w, h, w, h)))
        gt_labels, gt_boxes = targets[..., :1], targets[..., 1:]
        boxes = self.decode_all(points, dist)
        _, target_boxes, target_scores, fg_mask, gt_idx = self.assigner(
            logits.detach().sigmoid(),
            self.scaled(boxes.detach(), strides),
            points * strides,
            gt_labels,
            gt_boxes,
            (gt_boxes.sum(2, keepdim=True) > 0).to(gt_boxes.dtype),
        )
        target_boxes = self.scaled(target_boxes, 1 / strides)
        return Targets(dist, logits, points, strides, boxes, target_boxes, target_scores, fg_mask.bool(), gt_idx, imgsz)

    def box_parts(self, t: Targets) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return box, class and distribution loss without gains, each divided by the sum of target scores."""
        total = per_process(t.target_scores.sum())
        cls = self.bce(t.logits, t.target_scores.to(t.logits.dtype)).sum() / total
        if not t.fg_mask.any():
            none = t.dist.sum() * 0  # a gradient of 0, as several processes need
            return none, cls, none
        sides = t.dist[..., : 4 * self.reg_max]
        if not is_stock(self.bbox_loss, BboxLoss):
            box, dfl = self.bbox_loss(sides, t.boxes, t.points, t.target_boxes, t.target_scores, total, t.fg_mask)
            return box, cls, dfl
        fg, anchor = t.fg_mask, t.fg_mask.nonzero()[:, 1]
        box, dfl = cast(BboxLoss, self.bbox_loss).of_positives(
            sides[fg],
            t.boxes[fg],
            t.points[anchor],
            t.target_boxes[fg],
            t.target_scores.sum(-1)[fg][:, None],
            Pixels(t.strides[anchor], t.imgsz),
        )
        return box / total, cls, dfl / total

    # The same for the anchors that matter -----------------------------------------------------------------------------

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return what `parts_of_all` does."""
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
        hits = self.assign(dist, logits, points, strides, *objects)
        return Matched(dist, logits, points, strides, *objects, self.size(maps), hits)

    def flatten(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return distance logits (b, a, 4 * reg_max) and class logits (b, a, nc) in single precision, anchor points
        (a, 2) in strides, and strides (a, 1)."""
        # Channels last, as convolutions on a CPU leave them: nothing is copied
        rows = [m.permute(0, 2, 3, 1).flatten(1, 2).split((4 * self.reg_max, self.nc), 2) for m in maps]
        dist, logits = (torch.cat(parts, 1).float() for parts in zip(*rows))
        # In half precision not every anchor of a large image has coordinates of its own
        points, strides = make_anchors([m[:1, :1].float() for m in maps], self.pixels)
        return dist, logits, points, strides

    def targets(
        self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return image (g,), class (g,) and box (g, 4) xyxy in pixels of each object."""
        device = maps[0].device
        w, h = self.size(maps)
        boxes = batch["bboxes"].to(device, torch.float32, non_blocking=True).reshape(-1, 4)
        boxes = xywh2xyxy(scaled_columns(boxes, (w, h, w, h)))
        image, label = (batch[k].to(device, non_blocking=True).reshape(-1).long() for k in ("batch_idx", "cls"))
        return image, label, boxes

    def size(self, maps: Sequence[torch.Tensor]) -> tuple[float, float]:
        """Return width and height of the images in pixels."""
        h, w = (side * self.pixels[0] for side in maps[0].shape[2:])
        return w, h

    def decode(self, dist: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Turn distance logits (..., 4 * reg_max) into boxes (..., 4) xyxy around points (..., 2), all in strides."""
        return dist2bbox(self.expected(dist), points, xywh=False)

    def expected(self, dist: torch.Tensor) -> torch.Tensor:
        """Return the expected distances (..., 4) of distance logits (..., 4 * reg_max)."""
        if not self.use_dfl:
            return dist
        # Not a matrix product, which autocast would run in half precision
        return (dist.view(*dist.shape[:-1], 4, self.reg_max).softmax(-1) * self.proj.to(dist)).sum(-1)

    def scaled(self, boxes: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Multiply boxes (..., 4) by factors (..., 1)."""
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
        """Assign objects to anchors; on a CPU only those inside an object are decoded."""
        assigner = cast(TaskAlignedAssigner, self.assigner)
        if self.on_gpu:
            boxes = self.scaled(self.decode(dist, points), strides)
            return assigner.assign_on_gpu(logits, boxes, points * strides, gt_image, gt_labels, gt_boxes)
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

        return assigner.assign(predict, points * strides, len(logits), gt_image, gt_labels, gt_boxes)

    def of_boxes(self, m: Matched) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return box, class and distribution loss without gains, each divided by the sum of target scores."""
        hits = m.hits
        total = per_process(hits.score.sum())
        # Binary cross-entropy of logit x and target t is softplus(x) - x t, and t is 0 for all but a few anchors
        true_logit = m.logits[hits.image, hits.anchor, m.gt_labels[hits.gt]]
        cls = F.softplus(m.logits).sum() - (true_logit * hits.score).sum()

        dist, points, strides = m.dist[hits.image, hits.anchor], m.points[hits.anchor], m.strides[hits.anchor]
        boxes = self.scaled(m.gt_boxes[hits.gt], 1 / strides)
        sides = dist[:, : 4 * self.reg_max]
        box, dfl = cast(BboxLoss, self.bbox_loss).of_positives(
            sides, self.decode(dist, points), points, boxes, hits.score[:, None], Pixels(strides, m.imgsz)
        )
        return box / total, cls / total, dfl / total
