"""The loss of a head whose predictions need no suppression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ultralytics.utils.losses.detect import v8DetectionLoss


class E2EDetectLoss:
    """The sum of the losses of both pairs of branches: many positions learn an object in the one, one in the other.

    Wang et al., YOLOv10, arXiv 2405.14458, section 3.1 (consistent dual assignments).
    """

    def __init__(self, model: nn.Module):
        self.one2many = v8DetectionLoss(model, tal_topk=10)
        self.one2one = v8DetectionLoss(model, tal_topk=1)

    def __call__(
        self,
        preds: Mapping[str, Sequence] | tuple[torch.Tensor, Mapping[str, Sequence]],
        batch: dict[str, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and its parts, as `v8DetectionLoss` does.

        Args:
            preds: the maps of both pairs of branches, or the pair (predictions, maps) of eval mode.
            batch: as there.
        """
        maps = preds[1] if isinstance(preds, tuple) else preds
        many, many_parts = self.one2many(maps["one2many"], batch)
        one, one_parts = self.one2one(maps["one2one"], batch)
        return many + one, many_parts + one_parts
