"""Taking trained weights over into another model."""

from __future__ import annotations

import torch


def matching(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the entries of `source` whose name and shape stand in `target`."""
    return {k: v for k, v in source.items() if k in target and v.shape == target[k].shape}
