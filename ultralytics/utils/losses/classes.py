"""Losses of class scores that weigh easy and hard examples apart, for losses of users' own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class FocalLoss(nn.Module):
    """Focal loss: cross-entropy in which well classified examples count little. arXiv 1708.02002, section 3.

    As in 8.3.0 the result is one number: the mean over the second dimension, summed over the others. Gamma and alpha
    are arguments of the call.
    """

    @staticmethod
    def forward(pred: torch.Tensor, label: torch.Tensor, gamma: float = 1.5, alpha: float = 0.25) -> torch.Tensor:
        """Return the loss of logits and labels 0..1 of one shape; `alpha` 0 weighs positives and negatives alike."""
        loss = F.binary_cross_entropy_with_logits(pred, label, reduction="none")
        right = label * pred.sigmoid() + (1 - label) * (1 - pred.sigmoid())  # the probability of the label
        loss = loss * (1 - right) ** gamma
        if alpha > 0:
            loss = loss * (label * alpha + (1 - label) * (1 - alpha))
        return loss.mean(1).sum()


class VarifocalLoss(nn.Module):
    """Varifocal loss: positives weigh as much as their target score, negatives by focus. arXiv 2008.13367, section 3.2.

    The result is one number, as that of `FocalLoss`.
    """

    @staticmethod
    def forward(
        pred_score: torch.Tensor, gt_score: torch.Tensor, label: torch.Tensor, alpha: float = 0.75, gamma: float = 2.0
    ) -> torch.Tensor:
        """Return the loss of logits for target scores 0..1, with `label` 1 at positives and 0 elsewhere."""
        weight = alpha * pred_score.sigmoid().pow(gamma) * (1 - label) + gt_score * label
        with torch.autocast(pred_score.device.type, enabled=False):
            loss = F.binary_cross_entropy_with_logits(pred_score.float(), gt_score.float(), reduction="none")
        return (loss * weight).mean(1).sum()
