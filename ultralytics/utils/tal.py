"""Anchor points, and their task-aligned assignment to objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from ultralytics.utils.metrics import bbox_iou, probiou
from ultralytics.utils.overrides import is_stock, replaceable


def make_anchors(
    feats: list[torch.Tensor], strides: torch.Tensor | list[float], grid_cell_offset: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the anchor points (a, 2) x, y in units of their stride and the strides (a, 1) of all maps (b, c, h, w)."""
    points, stride_of = [], []
    dtype, device = feats[0].dtype, feats[0].device
    for feat, stride in zip(feats, strides):
        h, w = feat.shape[-2:]  # whole numbers first: graphs of old opsets have no range of halves
        x = torch.arange(w, device=device).to(dtype) + grid_cell_offset
        y = torch.arange(h, device=device).to(dtype) + grid_cell_offset
        points.append(torch.stack((x.expand(h, w), y[:, None].expand(h, w)), -1).view(-1, 2))
        if isinstance(stride, torch.Tensor) and stride.is_cuda:  # reading it would wait for the GPU
            stride_of.append(stride.to(dtype).expand(h * w, 1))
        else:
            stride_of.append(torch.full((h * w, 1), float(stride), device=device, dtype=dtype))
    return torch.cat(points), torch.cat(stride_of)


def dist2bbox(distance: torch.Tensor, anchor_points: torch.Tensor, xywh: bool = True, dim: int = -1) -> torch.Tensor:
    """Turn distances to left, top, right, bottom (4 of them along `dim`) into boxes around the anchor points."""
    lt, rb = distance.chunk(2, dim)
    low, high = anchor_points - lt, anchor_points + rb
    return torch.cat(((low + high) / 2, high - low) if xywh else (low, high), dim)


def dist2rbox(distance: torch.Tensor, angle: torch.Tensor, anchor_points: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Turn distances along a box's own axes (4 along `dim`) and its angle (1, radians) into xywh around the anchors."""
    lt, rb = distance.chunk(2, dim)
    x, y = ((rb - lt) / 2).chunk(2, dim)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((torch.cat((x * cos - y * sin, x * sin + y * cos), dim) + anchor_points, lt + rb), dim)


def bbox2dist(anchor_points: torch.Tensor, bbox: torch.Tensor, reg_max: float) -> torch.Tensor:
    """Turn xyxy boxes into distances left, top, right, bottom from the anchor points, cut to 0..reg_max - 0.01."""
    low, high = bbox.chunk(2, -1)
    return torch.cat((anchor_points - low, high - anchor_points), -1).clamp(0, reg_max - 0.01)


# (image, anchor, label), each (p,) -> class scores (p,) 0..1 and boxes (p, 4) xyxy or (p, 5) xywhr, pixels
Predict = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


_MOST_PAIRS = 2**22  # of objects and anchors that a GPU compares at once: some 20 tensors of 16 MiB


def _with_rank(x: torch.Tensor, rank: torch.Tensor) -> torch.Tensor:
    """Return whole numbers that are ordered as values of at least 0 are, and equal ones by rank (below 2^32)."""
    return (x.contiguous().view(torch.int32).long() << 32) | rank  # the bits of a positive float grow as it does


def _rank_in(key: torch.Tensor) -> torch.Tensor:
    """Return the rank in a number of `_with_rank`."""
    return key & 0xFFFFFFFF


class Assignment(NamedTuple):
    """The positives, one entry for each of p anchors that learn an object."""

    image: torch.Tensor  # (p,) index of the image in the batch
    anchor: torch.Tensor  # (p,) index of the anchor point
    gt: torch.Tensor  # (p,) index of the object among all objects of the batch
    score: torch.Tensor  # (p,) target class score, 0..1
    taken: torch.Tensor | None = None  # (p,) which entries count, the others have score 0; None: all

    def total(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of a value (p, ...) of each entry over those that count."""
        return x.sum() if self.taken is None else x[..., None].flatten(1).mul(self.taken[:, None]).sum()

    def number(self) -> torch.Tensor:
        """Return how many entries count, as a float."""
        return self.score.new_tensor(len(self.score)) if self.taken is None else self.taken.sum().to(self.score.dtype)


@replaceable(
    "forward",
    "get_pos_mask",
    "get_box_metrics",
    "select_topk_candidates",
    "get_targets",
    "select_candidates_in_gts",
    "select_highest_overlaps",
)
class TaskAlignedAssigner(nn.Module):
    """Assign each object to the anchors inside it that classify and locate it best.

    Feng et al., TOOD: Task-aligned One-stage Object Detection, arXiv 2108.07755, section 3.2: alignment is
    score^alpha * IoU^beta (CIoU here); each object takes its `topk` best anchors; an anchor claimed by several objects
    goes to the one that its box overlaps most; target scores are the alignments scaled to the object's best IoU.

    The objects of the whole batch are concatenated and only (object, anchor inside it) pairs are computed, so nothing
    grows with the fullest image or with the number of classes. A subclass that replaces one of the steps of 8.3.0
    (`get_pos_mask`, `get_box_metrics`, `select_topk_candidates`, ...) gets the same rule step by step instead, on
    tensors of all objects (b, n) and all anchors; `iou_calculation` serves both.
    """

    def __init__(self, topk: int = 13, num_classes: int = 80, alpha: float = 1.0, beta: float = 6.0, eps: float = 1e-9):
        super().__init__()
        self.topk, self.num_classes, self.bg_idx = topk, num_classes, num_classes
        self.alpha, self.beta, self.eps = alpha, beta, eps
        self.bs = self.n_max_boxes = 0  # of the batch at hand, for steps that read them, as those of 8.3.0

    @torch.no_grad()
    def forward(
        self,
        pd_scores: torch.Tensor,
        pd_bboxes: torch.Tensor,
        anc_points: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_bboxes: torch.Tensor,
        mask_gt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Assign objects padded to n per image, and return targets for every anchor.

        Args:
            pd_scores: (b, a, nc) 0..1.
            pd_bboxes: (b, a, 4) xyxy, pixels.
            anc_points: (a, 2) x, y, pixels.
            gt_labels: (b, n, 1).
            gt_bboxes: (b, n, 4) xyxy, pixels.
            mask_gt: (b, n, 1) nonzero where there is an object.

        Returns:
            target labels (b, a), boxes (b, a, 4), scores (b, a, nc), foreground mask (b, a) and index of the object in
            its image (b, a). Background anchors have score 0; their label and box are those of the first object.
        """
        self.bs, self.n_max_boxes = gt_bboxes.shape[:2]
        if self.n_max_boxes == 0:
            labels = torch.full(pd_scores.shape[:2], self.bg_idx, device=pd_scores.device)
            nothing = torch.zeros_like(labels)
            return labels, torch.zeros_like(pd_bboxes), torch.zeros_like(pd_scores), nothing.bool(), nothing
        if is_stock(self, TaskAlignedAssigner):
            return self._from_pairs(pd_scores, pd_bboxes, anc_points, gt_labels, gt_bboxes, mask_gt)
        mask_pos, align, overlaps = self.get_pos_mask(pd_scores, pd_bboxes, gt_labels, gt_bboxes, anc_points, mask_gt)
        gt_idx, fg_mask, mask_pos = self.select_highest_overlaps(mask_pos, overlaps, self.n_max_boxes)
        labels, boxes, scores = self.get_targets(gt_labels, gt_bboxes, gt_idx, fg_mask)
        align, overlaps = align * mask_pos, overlaps * mask_pos
        best_align, best_overlap = (x.amax(-1, keepdim=True) for x in (align, overlaps))
        scaled = (align * best_overlap / (best_align + self.eps)).amax(-2)[..., None]
        return labels, boxes, scores * scaled, fg_mask.bool(), gt_idx

    # Step by step, on all anchors -------------------------------------------------------------------------------------

    def get_pos_mask(
        self,
        pd_scores: torch.Tensor,
        pd_bboxes: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_bboxes: torch.Tensor,
        anc_points: torch.Tensor,
        mask_gt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return which anchors each object takes, alignments and overlaps, all (b, n, a); arguments as `forward`."""
        inside = self.select_candidates_in_gts(anc_points, gt_bboxes) * mask_gt
        align, overlaps = self.get_box_metrics(pd_scores, pd_bboxes, gt_labels, gt_bboxes, inside)
        top = self.select_topk_candidates(align, topk_mask=mask_gt.expand(-1, -1, self.topk).bool())
        return top * inside * (align != 0), align, overlaps  # without alignment nothing would be learned

    def get_box_metrics(
        self,
        pd_scores: torch.Tensor,
        pd_bboxes: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_bboxes: torch.Tensor,
        mask_gt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return alignments and overlaps (b, n, a), which are 0 where `mask_gt` (b, n, a) is."""
        mask, a = mask_gt.bool(), pd_bboxes.shape[1]
        image, gt, anchor = mask.nonzero(as_tuple=True)
        overlaps = pd_bboxes.new_zeros(mask.shape)
        overlaps[mask] = self.iou_calculation(gt_bboxes[image, gt], pd_bboxes[image, anchor]).to(overlaps.dtype)
        scores = pd_scores.mT.gather(1, gt_labels.long().expand(-1, -1, a)) * mask
        return scores.pow(self.alpha) * overlaps.pow(self.beta), overlaps

    def select_topk_candidates(
        self, metrics: torch.Tensor, largest: bool = True, topk_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mark the `topk` best anchors of each object, 0 or 1 like `metrics` (b, n, a).

        `topk_mask` (b, n, topk) says which of them count; without it, all of the objects whose best is above 0.
        """
        values, index = metrics.topk(min(self.topk, metrics.shape[-1]), -1, largest)
        if topk_mask is None:
            topk_mask = (values.amax(-1, keepdim=True) > self.eps).expand_as(index)
        counted = topk_mask[..., : index.shape[-1]]
        return torch.zeros_like(metrics).scatter_(-1, index, counted.to(metrics.dtype))

    def get_targets(
        self, gt_labels: torch.Tensor, gt_bboxes: torch.Tensor, target_gt_idx: torch.Tensor, fg_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return labels (b, a), boxes (b, a, 4) and scores (b, a, nc), 1 at the label, of each anchor's object."""
        labels = gt_labels[..., 0].long().clamp(0).gather(1, target_gt_idx)
        boxes = gt_bboxes.gather(1, target_gt_idx[..., None].expand(-1, -1, gt_bboxes.shape[-1]))
        scores = gt_bboxes.new_zeros((*labels.shape, self.num_classes)).scatter_(2, labels[..., None], 1)
        return labels, boxes, scores * (fg_mask[..., None] > 0)

    @staticmethod
    def select_candidates_in_gts(xy_centers: torch.Tensor, gt_bboxes: torch.Tensor, eps: float = 1e-9) -> torch.Tensor:
        """Mark (b, n, a), 0 or 1, which points (a, 2) lie inside which boxes (b, n, 4)."""
        inside = TaskAlignedAssigner._inside(*xy_centers.unbind(-1), *gt_bboxes.split(1, -1))
        return inside.to(xy_centers.dtype)

    @staticmethod
    def select_highest_overlaps(
        mask_pos: torch.Tensor, overlaps: torch.Tensor, n_max_boxes: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Leave each anchor that several objects take to the one that its box overlaps most.

        Returns:
            the object (b, a) of each anchor, how many it has, 0 or 1, and the mask (b, n, a) without the others.
        """
        most = torch.zeros_like(mask_pos).scatter_(1, overlaps.argmax(1, keepdim=True), 1)
        mask_pos = torch.where(mask_pos.sum(1, keepdim=True) > 1, most, mask_pos)
        return mask_pos.argmax(1), mask_pos.sum(1), mask_pos

    # The same by pairs ------------------------------------------------------------------------------------------------

    def _from_pairs(
        self,
        pd_scores: torch.Tensor,
        pd_bboxes: torch.Tensor,
        anc_points: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_bboxes: torch.Tensor,
        mask_gt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what `forward` does, by `assign`."""
        image, slot = mask_gt[..., 0].nonzero(as_tuple=True)
        labels = gt_labels[..., 0].long()

        def predict(
            image: torch.Tensor, anchor: torch.Tensor, label: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return pd_scores[image, anchor, label], pd_bboxes[image, anchor]

        hits = self.assign(predict, anc_points, len(labels), image, labels[image, slot], gt_bboxes[image, slot])
        target_scores = torch.zeros_like(pd_scores)
        fg_mask = torch.zeros(pd_scores.shape[:2], dtype=torch.bool, device=pd_scores.device)
        gt_idx = torch.zeros_like(fg_mask, dtype=torch.long)
        gt_idx[hits.image, hits.anchor] = slot[hits.gt]
        fg_mask[hits.image, hits.anchor] = True
        target_labels = labels.gather(1, gt_idx)
        target_bboxes = gt_bboxes.gather(1, gt_idx[..., None].expand(-1, -1, gt_bboxes.shape[-1]))
        target_scores[hits.image, hits.anchor, target_labels[hits.image, hits.anchor]] = hits.score.to(pd_scores.dtype)
        return target_labels, target_bboxes, target_scores, fg_mask, gt_idx

    @torch.no_grad()
    def assign(
        self,
        predict: Predict,
        points: torch.Tensor,
        images: int,
        gt_image: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_boxes: torch.Tensor,
    ) -> Assignment:
        """Assign the g concatenated objects of a batch.

        Args:
            predict: looks up predictions; called once, with the pairs that matter.
            points: (a, 2) x, y, pixels.
            images: batch size.
            gt_image: (g,) image of each object.
            gt_labels: (g,) classes.
            gt_boxes: (g, 4) xyxy, pixels.
        """
        gt, anchor = self._pairs_inside(points, gt_boxes)
        image = gt_image[gt]
        score, boxes = predict(image, anchor, gt_labels[gt])
        overlap = self.iou_calculation(gt_boxes[gt], boxes)
        align = score.float().pow(self.alpha) * overlap.pow(self.beta)

        chosen = self._top(gt, align, len(gt_boxes))
        # One object an anchor: of those that hold a contested anchor, the one that its box overlaps most gets it
        place, size = image * len(points) + anchor, images * len(points)
        claims = torch.zeros(size, dtype=torch.long, device=place.device).index_add_(0, place, chosen.long())[place]
        most = overlap.new_zeros(size).scatter_reduce_(0, place, overlap, "amax")[place]
        wins = torch.where(claims > 1, overlap == most, chosen).nonzero()[:, 0]
        wins = self._first_of_each(wins, place[wins], size)

        image, anchor, gt, align, overlap = (x[wins] for x in (image, anchor, gt, align, overlap))
        best_align, best_overlap = (
            x.new_zeros(len(gt_boxes)).scatter_reduce_(0, gt, x, "amax")[gt] for x in (align, overlap)
        )
        return Assignment(image, anchor, gt, align * best_overlap / (best_align + self.eps))

    @torch.no_grad()
    def assign_on_gpu(
        self,
        logits: torch.Tensor,
        boxes: torch.Tensor,
        points: torch.Tensor,
        gt_image: torch.Tensor,
        gt_labels: torch.Tensor,
        gt_boxes: torch.Tensor,
    ) -> Assignment:
        """Assign as `assign` does, by steps whose sizes are known beforehand: nothing waits for the GPU.

        Each object is compared with all anchors, which takes a GPU less time than one wait. The result has `topk`
        entries for each object, in their order; `taken` tells which of them are positives.

        Args:
            logits: (b, a, nc) of the classes.
            boxes: (b, a, 4) decoded, in pixels like the following.
            points: (a, 2) x, y.
            gt_image: (g,) image of each object.
            gt_labels: (g,) classes.
            gt_boxes: (g, 4) xyxy.
        """
        n, a, k = len(gt_boxes), len(points), min(self.topk, len(points))
        size, device = len(logits) * a, logits.device
        # For each anchor of each image the overlap with the object that its box overlaps most, and which that is
        most = torch.zeros(size, dtype=torch.long, device=device)
        values, anchors = [gt_boxes.new_zeros(0, k)], [gt_image.new_zeros(0, k)]
        rows = max(1, _MOST_PAIRS // a)
        for first in range(0, n, rows):
            part = slice(first, first + rows)
            inside = self._inside(*points.T.contiguous(), *gt_boxes[part].T[..., None])
            image = gt_image[part]
            align, overlap = self._metrics(
                logits[image, :, gt_labels[part]], gt_boxes[part, None].expand(-1, a, -1), boxes[image]
            )
            value, anchor = align.masked_fill(~inside, 0).topk(k, 1)
            values.append(value)
            anchors.append(anchor)
            rank = n - 1 - torch.arange(first, first + len(image), device=device)  # the first of equals is greatest
            key = _with_rank(overlap.masked_fill(~inside, 0), rank[:, None])
            most.scatter_reduce_(
                0, (image[:, None] * a + torch.arange(a, device=device)).view(-1), key.view(-1), "amax"
            )

        chosen, anchor = torch.cat(values).view(-1) > 0, torch.cat(anchors).view(-1)
        slot = torch.arange(n * k, device=device)
        gt = slot // k
        place = gt_image[gt] * a + anchor
        low = torch.full((size,), n * k, device=device)
        low = low.scatter_reduce_(0, place, torch.where(chosen, slot, n * k), "amin")[place]
        high = torch.full((size,), -1, device=device)
        high = high.scatter_reduce_(0, place, torch.where(chosen, slot, -1), "amax")[place]
        taken = chosen & (slot == low)  # one entry for each anchor that is chosen
        gt = torch.where(taken & (low // k != high // k), n - 1 - _rank_in(most[place]), gt)  # by several objects

        image = gt_image[gt]
        align, overlap = (
            torch.where(taken, x, 0)
            for x in self._metrics(logits[image, anchor, gt_labels[gt]], gt_boxes[gt], boxes[image, anchor])
        )
        best_align, best_overlap = (x.new_zeros(n).scatter_reduce_(0, gt, x, "amax")[gt] for x in (align, overlap))
        return Assignment(image, anchor, gt, align * best_overlap / (best_align + self.eps), taken)

    def _metrics(
        self, logits: torch.Tensor, gt_boxes: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return alignment and overlap (...) for the logits (...) of the objects' classes and both boxes (..., 4)."""
        d = boxes.shape[-1]
        overlap = self.iou_calculation(gt_boxes.reshape(-1, d), boxes.reshape(-1, d)).view_as(logits)
        return logits.sigmoid().float().pow(self.alpha) * overlap.pow(self.beta), overlap

    def iou_calculation(self, gt_bboxes: torch.Tensor, pd_bboxes: torch.Tensor) -> torch.Tensor:
        """Return how well boxes (p, 4) fit their objects (p, 4), both xyxy: (p,), 0..1."""
        return bbox_iou(gt_bboxes, pd_bboxes.float(), xywh=False, CIoU=True).squeeze(-1).clamp(0)

    @classmethod
    def _pairs_inside(cls, points: torch.Tensor, gt_boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (object, anchor) index pairs of the points that lie inside each box, sorted by object."""
        x, y = points.T.contiguous()
        rows = max(1, 2**25 // max(len(points), 1))  # boxes compared at once: at most some 32 MiB for each mask
        masks = [cls._inside(x, y, *part.T[..., None]).nonzero() for part in gt_boxes.split(rows)]
        if len(masks) > 1:
            for i, pairs in enumerate(masks):
                pairs[:, 0] += i * rows
        pairs = torch.cat(masks)
        return pairs[:, 0], pairs[:, 1]

    @staticmethod
    def _inside(x: torch.Tensor, y: torch.Tensor, *box: torch.Tensor) -> torch.Tensor:
        """Mark (g, a) which points (a,) lie inside which boxes, whose columns are (g, 1) each."""
        x1, y1, x2, y2 = box
        return (x > x1) & (x < x2) & (y > y1) & (y < y2)

    def _top(self, gt: torch.Tensor, align: torch.Tensor, n: int) -> torch.Tensor:
        """Mark (p,) the `topk` pairs of best alignment of each of n objects; `gt` (p,) is sorted."""
        count = torch.bincount(gt, minlength=n)
        width = int(count.max()) if n else 0
        chosen = torch.zeros_like(gt, dtype=torch.bool)
        if width == 0:
            return chosen
        start = count.cumsum(0) - count
        column = torch.arange(len(gt), device=gt.device) - start[gt]
        table = align.new_full((n, width), -1.0)  # a row for each object, its pairs from the left
        table[gt, column] = align
        value, column = table.topk(min(self.topk, width), 1)
        # Without any alignment the target score would be 0, from which nothing is learned
        row, k = (value > 0).nonzero(as_tuple=True)
        chosen[start[row] + column[row, k]] = True
        return chosen

    @staticmethod
    def _first_of_each(pairs: torch.Tensor, place: torch.Tensor, size: int) -> torch.Tensor:
        """Keep the first of pairs (p,) at the same place; objects of equal overlap are rare but do occur."""
        first = place.new_full((size,), size).scatter_reduce_(
            0, place, torch.arange(len(place), device=place.device), "amin"
        )
        return pairs[first[place] == torch.arange(len(place), device=place.device)]


@replaceable("select_candidates_in_gts")
class RotatedTaskAlignedAssigner(TaskAlignedAssigner):
    """The same for rotated boxes (..., 5) xywhr: probabilistic IoU, and the anchors inside the rotated rectangle."""

    def iou_calculation(self, gt_bboxes: torch.Tensor, pd_bboxes: torch.Tensor) -> torch.Tensor:
        return probiou(gt_bboxes, pd_bboxes.float()).squeeze(-1).clamp(0)

    @staticmethod
    def select_candidates_in_gts(xy_centers: torch.Tensor, gt_bboxes: torch.Tensor, eps: float = 1e-9) -> torch.Tensor:
        """Mark (b, n, a) which points (a, 2) lie inside which boxes (b, n, 5)."""
        return RotatedTaskAlignedAssigner._inside(*xy_centers.unbind(-1), *gt_bboxes.split(1, -1))

    @staticmethod
    def _inside(x: torch.Tensor, y: torch.Tensor, *box: torch.Tensor) -> torch.Tensor:
        cx, cy, w, h, angle = box
        cos, sin, dx, dy = angle.cos(), angle.sin(), x - cx, y - cy
        return ((dx * cos + dy * sin).abs() <= w / 2) & ((dy * cos - dx * sin).abs() <= h / 2)
