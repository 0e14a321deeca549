"""The loss of classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F


class v8ClassificationLoss:
    """Cross-entropy of image classes."""

    def __call__(self, preds: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss, and the same detached (1,), for logits (b, nc) and batch["cls"] (b,)."""
        loss = F.cross_entropy(preds.float(), batch["cls"].to(preds.device).reshape(-1).long())
        return loss, loss.detach()[None]
