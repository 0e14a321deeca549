"""The loss of keypoints and their visibility."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.utils.losses.detect import Matched, head_of, padded, per_process, v8DetectionLoss
from ultralytics.utils.metrics import OKS_SIGMA
from ultralytics.utils.overrides import is_stock, replaceable


@replaceable("forward")
class KeypointLoss(nn.Module):
    """1 - object keypoint similarity, as COCO measures it: Maji et al., YOLO-Pose, arXiv 2204.06806, section 3.3.

    Args:
        sigmas: (k,) standard deviation of each keypoint, in units of the object's size.
    """

    def __init__(self, sigmas: torch.Tensor):
        super().__init__()
        self.sigmas = sigmas

    def forward(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean of `each`, which takes the same arguments."""
        return self.each(pred_kpts, gt_kpts, kpt_mask, area).mean()

    def each(
        self, pred_kpts: torch.Tensor, gt_kpts: torch.Tensor, kpt_mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss (p, k) of each keypoint; those of an object weigh as much as if all were visible.

        Args:
            pred_kpts, gt_kpts: (p, k, 2 or more) x, y.
            kpt_mask: (p, k) bool, which are visible.
            area: (p, 1) of the objects, in the square of the keypoints' unit.
        """
        distance = (pred_kpts[..., :2] - gt_kpts[..., :2]).square().sum(-1)
        e = distance / ((2 * self.sigmas.to(pred_kpts)).square() * (area + 1e-9) * 2)
        share = kpt_mask.shape[1] / (kpt_mask.sum(1, keepdim=True) + 1e-9)
        return share * (1 - (-e).exp()) * kpt_mask


@replaceable("kpts_decode", "calculate_keypoints_loss")
class v8PoseLoss(v8DetectionLoss):
    """Detection and keypoints: their similarity, and the cross-entropy of their visibility.

    The batch also has keypoints (g, k, 2 or 3), normalised x, y and visibility (0: not labelled). Parts: box, keypoint,
    visibility, class and distribution loss. `keypoint_loss` and `bce_pose` are replaced by assignment.
    """

    gains = ("box", "pose", "kobj", "cls", "dfl")

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        super().__init__(model, tal_topk)
        self.kpt_shape = tuple(head_of(model).kpt_shape)
        self.bce_pose: nn.Module = nn.BCEWithLogitsLoss()
        k = self.kpt_shape[0]
        sigmas = torch.from_numpy(OKS_SIGMA) if self.kpt_shape == (17, 3) else torch.full((k,), 1 / k)
        self.keypoint_loss: nn.Module = KeypointLoss(sigmas.to(self.device))

    def is_stock(self) -> bool:
        bce = type(self.bce_pose) is nn.BCEWithLogitsLoss and self.bce_pose.reduction == "mean"
        return super().is_stock() and bce and is_stock(self.keypoint_loss, KeypointLoss)

    def pixels_of(self, batch: dict[str, torch.Tensor], maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the keypoints of a batch in pixels, with visibility, also where the model gives none."""
        target = batch["keypoints"].to(maps[0].device, torch.float32, non_blocking=True)
        w, h = self.size(maps)
        return torch.cat((target[..., :1] * w, target[..., 1:2] * h, target[..., 2:]), -1)

    # For all anchors, by the parts that users replace -----------------------------------------------------------------

    def parts_of_all(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, kpts = preds
        t = self.target(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.box_parts(t)
        decoded = self.kpts_decode(t.points, kpts.mT.float().unflatten(2, self.kpt_shape))
        if not t.fg_mask.any():
            none = decoded.sum() * 0
            return box, none, none, cls, dfl
        index = batch["batch_idx"].to(kpts.device).view(-1, 1)
        pose, kobj = self.calculate_keypoints_loss(
            t.fg_mask, t.gt_idx, self.pixels_of(batch, maps), index, t.strides, t.target_boxes, decoded
        )
        return box, pose, kobj, cls, dfl

    @staticmethod
    def kpts_decode(anchor_points: torch.Tensor, pred_kpts: torch.Tensor) -> torch.Tensor:
        """Turn raw keypoints (n, a, k, d) into x, y (and visibility as it is) in strides, around points (a, 2)."""
        xy = pred_kpts[..., :2] * 2 + anchor_points[:, None] - 0.5
        return torch.cat((xy, pred_kpts[..., 2:]), -1)

    def calculate_keypoints_loss(
        self,
        masks: torch.Tensor,
        target_gt_idx: torch.Tensor,
        keypoints: torch.Tensor,
        batch_idx: torch.Tensor,
        stride_tensor: torch.Tensor,
        target_bboxes: torch.Tensor,
        pred_kpts: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keypoint and visibility loss, means over the positives, of which there is one at least.

        Args:
            masks: (n, a) bool, the positives.
            target_gt_idx: (n, a) index of the object in its image.
            keypoints: (g, k, d) of the objects, pixels.
            batch_idx: (g, 1) image of each object.
            stride_tensor: (a, 1).
            target_bboxes: (n, a, 4) xyxy, strides.
            pred_kpts: (n, a, k, d) decoded, strides.
        """
        image, anchor = masks.nonzero(as_tuple=True)
        target = padded(keypoints, batch_idx.view(-1).long(), len(masks))[image, target_gt_idx[masks]]
        boxes, pred = target_bboxes[masks], pred_kpts[masks]
        target = torch.cat((target[..., :2] / stride_tensor[anchor][:, None], target[..., 2:]), -1)
        visible = target[..., 2] != 0 if target.shape[-1] == 3 else torch.ones_like(target[..., 0], dtype=torch.bool)
        pose = self.keypoint_loss(pred, target, visible, (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True))
        if pred.shape[-1] < 3:
            return pose, pose.new_zeros(())
        return pose, self.bce_pose(pred[..., 2], visible.float())

    # The same for the anchors that matter -----------------------------------------------------------------------------

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, kpts = preds
        found = self.match(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.of_boxes(found)
        pose, kobj = self.keypoints(found, kpts, self.pixels_of(batch, maps))
        return box, pose, kobj, cls, dfl

    def keypoints(self, found: Matched, kpts: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keypoint and visibility loss, means over all positives, for raw keypoints (n, k * d, a) and targets
        (g, k, d) in pixels."""
        hits = found.hits
        stride = found.strides[hits.anchor]
        pred = kpts[hits.image, :, hits.anchor].float().view(-1, *self.kpt_shape)
        target, boxes = target[hits.gt], found.gt_boxes[hits.gt] / stride
        points = found.points[hits.anchor][:, None]
        visible = target[..., 2] != 0 if target.shape[-1] == 3 else torch.ones_like(target[..., 0], dtype=torch.bool)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True)
        xy = pred[..., :2] * 2 + points - 0.5
        each = cast(KeypointLoss, self.keypoint_loss).each(xy, target[..., :2] / stride[:, None], visible, area)
        pose, count = hits.total(each), per_process(hits.number() * self.kpt_shape[0])
        if pred.shape[-1] < 3:
            return pose / count, pose.new_zeros(())
        seen = F.binary_cross_entropy_with_logits(pred[..., 2], visible.float(), reduction="none")
        return pose / count, hits.total(seen) / count
