"""The loss of rotated boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ultralytics.utils.geometry.boxes import xywh2xyxy
from ultralytics.utils.losses.detect import BboxLoss, v8DetectionLoss
from ultralytics.utils.metrics import probiou
from ultralytics.utils.tal import RotatedTaskAlignedAssigner, dist2rbox


class RotatedBboxLoss(BboxLoss):
    """Box losses for xywhr (p, 5): 1 - probabilistic IoU, and DFL of the sides as if the box were upright."""

    def iou(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return probiou(pred, target)

    def corners(self, boxes: torch.Tensor) -> torch.Tensor:
        return xywh2xyxy(boxes[:, :4])


class v8OBBLoss(v8DetectionLoss):
    """Detection of rotated boxes: probabilistic IoU, and anchors inside the rotated rectangle.

    The batch's bboxes are (g, 5): normalised xywh and the angle in radians. The angle is appended as the last column of
    the distance logits (n, a, 4 * reg_max + 1), and boxes are (..., 5) xywhr.
    """

    assigner_class, box_loss_class = RotatedTaskAlignedAssigner, RotatedBboxLoss
    least_side = 2.0  # pixels; the angle of a smaller box is meaningless

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, angle = preds
        dist, logits, points, strides = self.flatten(maps)
        dist = torch.cat((dist, angle.mT.float()), 2)
        return self.of_boxes(self.match(dist, logits, points, strides, maps, batch))

    def targets(
        self, maps: Sequence[torch.Tensor], batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        device = maps[0].device
        w, h = self.size(maps)
        boxes = batch["bboxes"].to(device, torch.float32).reshape(-1, 5)
        boxes = boxes * boxes.new_tensor((w, h, w, h, 1))
        large = (boxes[:, 2:4] >= self.least_side).all(1)
        image, label = (batch[k].to(device).reshape(-1).long() for k in ("batch_idx", "cls"))
        return image[large], label[large], boxes[large]

    def decode(self, dist: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        dist, angle = dist.split((4 * self.reg_max, 1), 1)
        return torch.cat((dist2rbox(self.expected(dist), angle, points), angle), 1)

    def scaled(self, boxes: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        return torch.cat((boxes[:, :4] * factor, boxes[:, 4:]), 1)
