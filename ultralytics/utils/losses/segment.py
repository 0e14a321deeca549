"""The loss of masks, which are prototypes summed with the coefficients of each positive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.utils.losses.detect import Matched, per_process, v8DetectionLoss


class v8SegmentationLoss(v8DetectionLoss):
    """Detection and masks: the binary cross-entropy of each positive's mask inside its object's box.

    The batch also has masks: (n, h, w) where pixels are 0 or 1 + the index of the object among those of its image
    (`overlap_mask`), or (g, h, w) of 0 and 1, one for each object. Parts: box, mask, class and distribution loss.
    """

    gains = ("box", "box", "cls", "dfl")

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        super().__init__(model, tal_topk)
        self.overlap = self.hyp.overlap_mask

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, coefficients, protos = preds
        found = self.match(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.of_boxes(found)
        corners = found.gt_boxes / found.gt_boxes.new_tensor(self.size(maps) * 2)
        masks = self.masks(found, corners, coefficients, protos, batch["masks"].to(protos.device))
        return box, masks, cls, dfl

    def masks(
        self,
        found: Matched,
        corners: torch.Tensor,
        coefficients: torch.Tensor,
        protos: torch.Tensor,
        masks: torch.Tensor,
    ) -> torch.Tensor:
        """Return the loss per pixel of its box, summed over a positive's mask, and its mean over all positives.

        Args:
            found: the batch.
            corners: (g, 4) the objects' boxes xyxy, 0..1.
            coefficients: (n, nm, a).
            protos: (n, nm, h, w).
            masks: see the class; of another size they are resized.
        """
        h, w = protos.shape[2:]
        if len(masks) and masks.shape[-2:] != (h, w):
            masks = F.interpolate(masks[None].float(), (h, w), mode="nearest")[0]
        hits, place = found.hits, _place_in_image(found.gt_image)
        corners = corners * corners.new_tensor((w, h, w, h))
        area = (corners[:, 2:] - corners[:, :2]).prod(1)
        total = protos[:0].sum().float() + coefficients[:0].sum().float()  # 0; without objects gradients are 0 too
        for i in hits.image.unique().tolist():
            mine = hits.image == i
            gt = hits.gt[mine]
            true = masks[i] == (place[gt] + 1)[:, None, None] if self.overlap else masks[gt] > 0
            logits = (coefficients[i, :, hits.anchor[mine]].T @ protos[i].flatten(1)).view(-1, h, w).float()
            loss = F.binary_cross_entropy_with_logits(logits, true.float(), reduction="none")
            total = total + ((loss * _inside(corners[gt], h, w)).sum((1, 2)) / area[gt]).sum()
        return total / per_process(total.new_tensor(len(hits.image)))


def _place_in_image(image: torch.Tensor) -> torch.Tensor:
    """Return the index (g,) of each object among those of its image (g,), in the order of the batch."""
    order = image.argsort(stable=True)
    count = torch.bincount(image)
    start = (count.cumsum(0) - count)[image[order]]
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=image.device) - start)


def _inside(corners: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Mark the pixels (p, h, w) inside boxes (p, 4) xyxy, pixels."""
    x1, y1, x2, y2 = corners.T[..., None]
    x, y = (torch.arange(n, device=corners.device, dtype=corners.dtype) for n in (w, h))
    return ((y >= y1) & (y < y2))[:, :, None] & ((x >= x1) & (x < x2))[:, None]
