"""The loss of rotated boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.losses.boxes import DEFAULT
from ultralytics.utils.losses.detect import BboxLoss, padded, scaled_columns, v8DetectionLoss
from ultralytics.utils.metrics import probiou
from ultralytics.utils.overrides import replaceable
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, dist2rbox


class RotatedBboxLoss(BboxLoss):
    """Box losses for xywhr (p, 5): 1 - probabilistic IoU, and DFL of the sides as if the box were upright."""

    def __init__(self, reg_max: int = 16):
        super().__init__(reg_max)

    def iou(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return probiou(pred, target)

    def corners(self, boxes: torch.Tensor) -> torch.Tensor:
        return xywh2xyxy(boxes[:, :4])


@replaceable("preprocess", "bbox_decode")
class v8OBBLoss(v8DetectionLoss):
    """Detection of rotated boxes: probabilistic IoU, and anchors inside the rotated rectangle.

    The batch's bboxes are (g, 5): normalised xywh and the angle in radians. The angle is appended as the last column of
    the distance logits (n, a, 4 * reg_max + 1), and boxes are (..., 5) xywhr.
    """

    least_side = 2.0  # pixels; the angle of a smaller box is meaningless

    def make_assigner(self, topk: int) -> nn.Module:
        return RotatedTaskAlignedAssigner(topk=topk, num_classes=self.nc, alpha=0.5, beta=6.0)

    def make_bbox_loss(self) -> nn.Module:
        name = getattr(self.hyp, "box_loss", DEFAULT)
        if name != DEFAULT:
            LOGGER.warning(f"WARNING: box_loss={name} is for upright boxes; rotated ones are compared by ProbIoU.")
        return RotatedBboxLoss(self.reg_max)

    def flat(
        self, preds: Sequence
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """Return what `flatten` does, with the angles beside the distances, and the maps."""
        maps, angle = preds
        dist, logits, points, strides = self.flatten(maps)
        return torch.cat((dist, angle.mT.float()), 2), logits, points, strides, maps

    # For all anchors, by the parts that users replace -----------------------------------------------------------------

    def parts_of_all(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return self.box_parts(self.target(*self.flat(preds), batch))

    def rows(self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return image, class and normalised box of each object, (g, 2 + 5), without those that are too small."""
        rows = super().rows(maps, batch)
        sides = rows[:, 4:6] * rows.new_tensor(self.size(maps))
        return rows[(sides >= self.least_side).all(1)]

    def preprocess(self, targets: torch.Tensor, batch_size: int, scale_tensor: torch.Tensor) -> torch.Tensor:
        """Return the objects by image (b, n, 6), class and xywhr in pixels, padded with 0; see the base class."""
        rows = torch.cat((targets[:, 1:2], targets[:, 2:6] * scale_tensor, targets[:, 6:]), 1)
        return padded(rows, targets[:, 0].long(), batch_size)

    def bbox_decode(  # type: ignore[override]  # as in 8.3.0
        self, anchor_points: torch.Tensor, pred_dist: torch.Tensor, pred_angle: torch.Tensor
    ) -> torch.Tensor:
        """Turn distance logits (b, a, 4 * reg_max) and angles (b, a, 1) into boxes (b, a, 5) xywhr, in strides."""
        return self.decode(torch.cat((pred_dist, pred_angle), -1), anchor_points)

    def decode_all(self, points: torch.Tensor, dist: torch.Tensor) -> torch.Tensor:
        return self.bbox_decode(points, *dist.split((4 * self.reg_max, 1), -1))

    # The same for the anchors that matter -----------------------------------------------------------------------------

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return self.of_boxes(self.match(*self.flat(preds), batch))

    def targets(
        self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = maps[0].device
        w, h = self.size(maps)
        boxes = scaled_columns(batch["bboxes"].to(torch.float32).reshape(-1, 5), (w, h, w, h, 1))
        large = (boxes[:, 2:4] >= self.least_side).all(1)  # while they are on the CPU, if they are
        image, label = (batch[k].reshape(-1).long() for k in ("batch_idx", "cls"))
        image, label, boxes = (x[large].to(device, non_blocking=True) for x in (image, label, boxes))
        return image, label, boxes

    def decode(self, dist: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        dist, angle = dist.split((4 * self.reg_max, 1), -1)
        return torch.cat((dist2rbox(self.expected(dist), angle, points), angle), -1)

    def scaled(self, boxes: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return torch.cat((boxes[..., :4] * factor, boxes[..., 4:]), -1)
