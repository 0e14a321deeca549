"""The batch size that fits a GPU, under the names of 8.3.0; it lives a few floors above, in `engine.training`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_HOME = "ultralytics.engine.training.autobatch"


def check_train_batch_size(model: nn.Module, imgsz: int = 640, amp: bool = True, batch: float = -1) -> int:
    """Return the batch size that a training with `batch=-1`, or a share of the memory such as 0.8, takes."""
    return importlib.import_module(_HOME).auto_batch(model, imgsz, batch, amp)


def autobatch(model: nn.Module, imgsz: int = 640, fraction: float = 0.60, batch_size: int = 16) -> int:
    """Return the largest batch whose training step takes a fraction of the GPU's memory; on a CPU `batch_size`."""
    return importlib.import_module(_HOME).auto_batch(model, imgsz, fraction, amp=False, otherwise=batch_size)
