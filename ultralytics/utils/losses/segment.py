"""The loss of masks, which are prototypes summed with the coefficients of each positive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.utils.losses.detect import Matched, per_process, place_in_image, scaled_columns, v8DetectionLoss
from ultralytics.utils.ops import crop_mask
from ultralytics.utils.overrides import replaceable
from ultralytics.utils.tal import Assignment


@replaceable("calculate_segmentation_loss", "single_mask_loss")
class v8SegmentationLoss(v8DetectionLoss):
    """Detection and masks: the binary cross-entropy of each positive's mask inside its object's box.

    The batch also has masks: (n, h, w) where pixels are 0 or 1 + the index of the object among those of its image
    (`overlap_mask`), or (g, h, w) of 0 and 1, one for each object. Parts: box, mask, class and distribution loss.
    """

    gains = ("box", "box", "cls", "dfl")

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        super().__init__(model, tal_topk)
        self.overlap = self.hyp.overlap_mask

    # For all anchors, by the parts that users replace -----------------------------------------------------------------

    def parts_of_all(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, coefficients, protos = preds
        t = self.target(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.box_parts(t)
        masks = self.calculate_segmentation_loss(
            t.fg_mask,
            _resized(batch["masks"].to(protos.device), protos).float(),
            t.gt_idx,
            self.scaled(t.target_boxes, t.strides),
            batch["batch_idx"].to(protos.device).view(-1, 1),
            protos,
            coefficients.mT.contiguous(),
            protos.new_tensor(t.imgsz[::-1]),
            self.overlap,
        )
        return box, masks, cls, dfl

    def calculate_segmentation_loss(
        self,
        fg_mask: torch.Tensor,
        masks: torch.Tensor,
        target_gt_idx: torch.Tensor,
        target_bboxes: torch.Tensor,
        batch_idx: torch.Tensor,
        proto: torch.Tensor,
        pred_masks: torch.Tensor,
        imgsz: torch.Tensor,
        overlap: bool,
    ) -> torch.Tensor:
        """Return the mask loss of all positives, its mean.

        Args:
            fg_mask: (n, a) bool, the positives.
            masks: see the class, in the prototypes' size.
            target_gt_idx: (n, a) index of the object in its image.
            target_bboxes: (n, a, 4) xyxy, pixels.
            batch_idx: (g, 1) image of each object.
            proto: (n, nm, h, w).
            pred_masks: (n, a, nm) coefficients.
            imgsz: (2,) height and width, pixels.
            overlap: one mask for each image.
        """
        boxes = target_bboxes / imgsz[[1, 0, 1, 0]]
        area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
        h, w = proto.shape[-2:]
        boxes = boxes * boxes.new_tensor((w, h, w, h))
        total = proto[:0].sum().float() + pred_masks[:0].sum().float()  # 0; without objects gradients are 0 too
        for i in fg_mask.any(1).nonzero()[:, 0].tolist():
            fg = fg_mask[i]
            gt = target_gt_idx[i][fg]
            true = masks[i] == (gt + 1)[:, None, None] if overlap else masks[batch_idx.view(-1) == i][gt]
            total = total + self.single_mask_loss(true.float(), pred_masks[i][fg], proto[i], boxes[i][fg], area[i][fg])
        return total / per_process(fg_mask.sum().to(total.dtype))

    @staticmethod
    def single_mask_loss(
        gt_mask: torch.Tensor, pred: torch.Tensor, proto: torch.Tensor, xyxy: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Return the mask loss of the positives of one image, its sum.

        Args:
            gt_mask: (p, h, w) of 0 and 1.
            pred: (p, nm) coefficients.
            proto: (nm, h, w).
            xyxy: (p, 4) boxes, in pixels of the mask.
            area: (p,) of the boxes, as a share of the image.
        """
        logits = torch.einsum("in,nhw->ihw", pred, proto).float()
        loss = F.binary_cross_entropy_with_logits(logits, gt_mask, reduction="none")
        return (crop_mask(loss, xyxy).mean((1, 2)) / area).sum()

    # The same for the anchors that matter -----------------------------------------------------------------------------

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, coefficients, protos = preds
        found = self.match(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.of_boxes(found)
        w, h = self.size(maps)
        corners = torch.stack([x / side for x, side in zip(found.gt_boxes.unbind(1), (w, h, w, h))], 1)
        true, image = batch["masks"].to(protos.device, non_blocking=True), batch["batch_idx"].reshape(-1).long()
        masks = self.masks(found, corners, coefficients, protos, true, image)
        return box, masks, cls, dfl

    def masks(
        self,
        found: Matched,
        corners: torch.Tensor,
        coefficients: torch.Tensor,
        protos: torch.Tensor,
        masks: torch.Tensor,
        image: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss per pixel of its box, summed over a positive's mask, and its mean over all positives.

        Args:
            found: the batch.
            corners: (g, 4) the objects' boxes xyxy, 0..1.
            coefficients: (n, nm, a).
            protos: (n, nm, h, w).
            masks: see the class; of another size they are resized.
            image: (g,) image of each object; if it is on the CPU, nothing waits for a GPU.
        """
        masks = _resized(masks, protos)
        h, w = protos.shape[2:]
        hits, place = found.hits, place_in_image(image).to(protos.device, non_blocking=True)
        corners = scaled_columns(corners, (w, h, w, h))
        area = (corners[:, 2:] - corners[:, :2]).prod(1)
        total = protos[:0].sum().float() + coefficients[:0].sum().float()  # 0; without objects gradients are 0 too
        for i, mine in _by_image(hits, image):
            gt = hits.gt[mine]
            true = masks[i] == (place[gt] + 1)[:, None, None] if self.overlap else masks[gt] > 0
            logits = (coefficients[i, :, hits.anchor[mine]].T @ protos[i].flatten(1)).view(-1, h, w).float()
            loss = F.binary_cross_entropy_with_logits(logits, true.float(), reduction="none")
            each = (loss * _inside(corners[gt], h, w)).sum((1, 2)) / area[gt]
            total = total + (each if hits.taken is None else each * hits.taken[mine]).sum()
        return total / per_process(hits.number().to(total.dtype))


def _by_image(hits: Assignment, image: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield images and which entries of an assignment are theirs, for the image (g,) of each object."""
    if hits.taken is None:
        for i in hits.image.unique().tolist():
            yield i, hits.image == i
    elif len(image):
        each = len(hits.gt) // len(image)  # entries of an object
        order = image.argsort(stable=True)[:, None] * each + torch.arange(each, device=image.device)
        parts = order.view(-1).to(hits.gt.device, non_blocking=True).split((torch.bincount(image) * each).tolist())
        yield from ((i, part) for i, part in enumerate(parts) if len(part))


def _resized(masks: torch.Tensor, protos: torch.Tensor) -> torch.Tensor:
    """Return masks (m, h, w) in the size of the prototypes."""
    if not len(masks) or masks.shape[-2:] == protos.shape[-2:]:
        return masks
    return F.interpolate(masks[None].float(), protos.shape[-2:], mode="nearest")[0]


def _inside(corners: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Mark the pixels (p, h, w) inside boxes (p, 4) xyxy, pixels."""
    x1, y1, x2, y2 = corners.T[..., None]
    x, y = (torch.arange(n, device=corners.device, dtype=corners.dtype) for n in (w, h))
    return ((y >= y1) & (y < y2))[:, :, None] & ((x >= x1) & (x < x2))[:, None]
