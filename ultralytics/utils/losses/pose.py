"""The loss of keypoints and their visibility."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ultralytics.utils.losses.detect import Matched, head_of, per_process, v8DetectionLoss
from ultralytics.utils.metrics import OKS_SIGMA


class KeypointLoss(nn.Module):
    """1 - object keypoint similarity, as COCO measures it: Maji et al., YOLO-Pose, arXiv 2204.06806, section 3.3.

    Args:
        sigmas: (k,) standard deviation of each keypoint, in units of the object's size.
    """

    def __init__(self, sigmas: torch.Tensor):
        super().__init__()
        self.sigmas = sigmas

    def forward(
        self, pred: torch.Tensor, target: torch.Tensor, visible: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Return the loss (p, k) of each keypoint; those of an object weigh as much as if all were visible.

        Args:
            pred, target: (p, k, 2 or more) x, y.
            visible: (p, k) bool.
            area: (p, 1) of the objects, in the square of the keypoints' unit.
        """
        distance = (pred[..., :2] - target[..., :2]).square().sum(-1)
        e = distance / ((2 * self.sigmas.to(pred)).square() * (area + 1e-9) * 2)
        share = visible.shape[1] / (visible.sum(1, keepdim=True) + 1e-9)
        return share * (1 - (-e).exp()) * visible


class v8PoseLoss(v8DetectionLoss):
    """Detection and keypoints: their similarity, and the cross-entropy of their visibility.

    The batch also has keypoints (g, k, 2 or 3), normalised x, y and visibility (0: not labelled). Parts: box, keypoint,
    visibility, class and distribution loss.
    """

    gains = ("box", "pose", "kobj", "cls", "dfl")

    def __init__(self, model: nn.Module, tal_topk: int = 10):
        super().__init__(model, tal_topk)
        self.kpt_shape = tuple(head_of(model).kpt_shape)
        k = self.kpt_shape[0]
        sigmas = torch.from_numpy(OKS_SIGMA) if self.kpt_shape == (17, 3) else torch.full((k,), 1 / k)
        self.keypoint_loss = KeypointLoss(sigmas)

    def parts(self, preds: Sequence, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        maps, kpts = preds
        found = self.match(*self.flatten(maps), maps, batch)
        box, cls, dfl = self.of_boxes(found)
        target = batch["keypoints"].to(kpts.device, torch.float32)  # with visibility, also where the model gives none
        target = torch.cat((target[..., :2] * target.new_tensor(self.size(maps)), target[..., 2:]), -1)
        pose, kobj = self.keypoints(found, kpts, target)
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
        pose = self.keypoint_loss(xy, target[..., :2] / stride[:, None], visible, area).sum()
        count = per_process(pose.detach().new_tensor(visible.numel()))
        if pred.shape[-1] < 3:
            return pose / count, pose.new_zeros(())
        seen = F.binary_cross_entropy_with_logits(pred[..., 2], visible.float(), reduction="sum")
        return pose / count, seen / count
