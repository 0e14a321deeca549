"""The batch size that fills a share of the GPU's memory, and half of it when one does not fit."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from ultralytics.cfg.schema import Settings
from ultralytics.engine.training.progress import Progress
from ultralytics.engine.training.resume import resume_command
from ultralytics.nn.tasks import PoseModel
from ultralytics.utils import LOGGER, WORLD_SIZE
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import autocast, single_values

CPU_BATCH = 16
OBJECTS = 8  # in each image of a trial
FIRST_BATCHES = 3  # of a process; memory that suffices for these is short later for another reason


def auto_batch(model: nn.Module, imgsz: int, share: float = -1, amp: bool = True, otherwise: int = CPU_BATCH) -> int:
    """Return the largest batch whose training step takes `share` of the GPU's memory (-1: 0.6), by a few trial steps.

    Memory grows linearly with the batch, so a line through the trials tells where the share is reached. On a CPU there
    is nothing to fill, and `otherwise` is returned.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        LOGGER.warning(f"batch={share} fits the batch to a GPU's memory; on {device.type} batch={otherwise} is used.")
        return otherwise
    return fitting_batch(model, imgsz, share if 0 < share < 1 else 0.6, amp, device)


def fitting_batch(model: nn.Module, imgsz: int, share: float, amp: bool, device: torch.device) -> int:
    """Return the batch whose training step takes `share` of the memory of a GPU (see `auto_batch`)."""
    model = deepcopy(model).train()  # batch statistics of noise shall not stay
    free, total = torch.cuda.mem_get_info(device)
    sizes, used = [], []
    for n in (1, 2, 4, 8, 16):
        try:
            used.append(_peak_memory(model, n, imgsz, amp, device))
            sizes.append(n)
        except torch.cuda.OutOfMemoryError:
            break
    torch.cuda.empty_cache()
    if len(sizes) < 2:
        LOGGER.warning("At most one image fits into the GPU's memory: batch=1 is used. A smaller imgsz would help.")
        return 1
    slope, offset = np.polyfit(sizes, used, 1)
    batch = max(1, int((share * total - (total - free) - offset) / max(slope, 1)))
    LOGGER.info(f"batch={batch} should take {share:.0%} of the {total / 2**30:.1f} GiB of {device}.")
    return batch


def _peak_memory(model: nn.Module, n: int, imgsz: int, amp: bool, device: torch.device) -> int:
    """Return the peak memory in bytes of a forward and backward pass of `n` images, the loss included."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with autocast(amp, device.type), single_values(model, n):
        loss, _ = model(trial_batch(model, n, imgsz, device))
    loss.backward()
    model.zero_grad()
    return torch.cuda.max_memory_allocated(device) - before


def trial_batch(model: nn.Module, n: int, imgsz: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return a batch of `n` images of noise, with the usual number of objects and the labels of the model's task."""
    channels, task = getattr(model, "yaml", {}).get("ch", 3), getattr(model, "task", "detect")
    images = torch.rand(n, channels, imgsz, imgsz, device=device).to(memory_format=torch.channels_last)
    if task == "classify":
        return {"img": images, "cls": torch.zeros(n, dtype=torch.long, device=device)}
    g = n * OBJECTS
    batch = {
        "img": images,
        "batch_idx": torch.arange(n, device=device).repeat_interleave(OBJECTS),
        "cls": torch.zeros(g, 1, device=device),
        "bboxes": torch.full((g, 5 if task == "obb" else 4), 0.5, device=device),
    }
    if task == "segment":
        args = cast(Settings, model.args)
        side = imgsz // args.mask_ratio
        batch["masks"] = torch.ones(n if args.overlap_mask else g, side, side, device=device)
    if task == "pose":
        batch["keypoints"] = torch.full((g, cast(PoseModel, model).kpt_shape[0], 3), 0.5, device=device)
    return batch


def half_of(progress: Progress, last: Path, device: torch.device, imgsz: int | list[int]) -> int:
    """Return half the batch size, with which a training that ran out of memory repeats its epoch, once.

    Args:
        progress: of the training.
        last: file of the last state.
        device: whose memory ran out.
        imgsz: side of the images.

    Raises:
        ConfigError: it ran out after the first batches, or again; the message says which batch fitted.
    """
    size, done = progress.batch_size, progress.fitting
    first = done < FIRST_BATCHES and not progress.halved and size > 1
    if not first or WORLD_SIZE > 1 or not last.exists():
        fitted = size if done else None
        resumed = f"{resume_command(last)} " if last.exists() else ""
        raise ConfigError(
            f"The memory of {device} is too small for batch={size} at imgsz={imgsz}. "
            + (f"batch={fitted} did fit for {done} batches before. " if fitted else "No batch has fitted so far. ")
            + f"Train with fewer images in a batch: {resumed}batch={max(size // 2, 1)}"
        )
    LOGGER.warning(f"batch={size} does not fit into the memory of {device}: batch={size // 2} is used.")
    return size // 2
