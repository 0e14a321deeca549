"""Boxes, masks and suppression under the names of 8.3.0 (see `utils/geometry`), and a timer."""

from __future__ import annotations

import contextlib
import math
import re
import time

import torch

from ultralytics.utils.geometry.boxes import (  # noqa: F401  public names of this module
    clip_boxes,
    clip_coords,
    ltwh2xywh,
    ltwh2xyxy,
    resample_segments,
    scale_boxes,
    scale_coords,
    segment2box,
    segments2boxes,
    xywh2ltwh,
    xywh2xyxy,
    xywhn2xyxy,
    xyxy2ltwh,
    xyxy2xywh,
    xyxy2xywhn,
)
from ultralytics.utils.geometry.masks import (  # noqa: F401
    convert_torch2numpy_batch,
    crop_mask,
    masks2segments,
    process_mask,
    process_mask_native,
    process_mask_upsample,
    scale_image,
    scale_masks,
)
from ultralytics.utils.geometry.nms import nms, nms_rotated, non_max_suppression  # noqa: F401
from ultralytics.utils.geometry.rboxes import regularize_rboxes, xywhr2xyxyxyxy, xyxyxyxy2xywhr  # noqa: F401


def make_divisible(x: float, divisor: int | torch.Tensor) -> int:
    """Return the smallest multiple of `divisor` (of its largest entry, if it is a tensor) that is not below `x`."""
    if isinstance(divisor, torch.Tensor):
        divisor = int(divisor.max())
    return math.ceil(x / divisor) * divisor


def clean_str(s: str) -> str:
    """Replace characters that file names or window titles may not have by underscores."""
    return re.sub(r"[|@#!¡·$€%&()=?¿^*;:,¨´><+]", "_", s)


class Profile(contextlib.ContextDecorator):
    """A timer: `with Profile() as p: ...` stores the seconds in `p.dt` and adds them to `p.t`.

    On a CUDA device it waits for all queued work before it reads the clock.
    """

    def __init__(self, t: float = 0.0, device: torch.device | str | None = None):
        self.t, self.dt = t, 0.0
        self.device = device
        self._cuda = device is not None and torch.device(device).type == "cuda"

    def __enter__(self) -> Profile:
        self.start = self.time()
        return self

    def __exit__(self, *_) -> None:
        self.dt = self.time() - self.start
        self.t += self.dt

    def __str__(self) -> str:
        return f"Elapsed time is {self.t} s"

    def time(self) -> float:
        if self._cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
