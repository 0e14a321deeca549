"""Images of feature maps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from ultralytics.utils.drawing.annotator import imwrite
from ultralytics.utils.files import atomic_write, writing


def feature_visualization(
    x: object, module_type: str, stage: int, n: int = 32, save_dir: str | Path = "runs"
) -> Path | None:
    """Write the first channels of a layer's output as grey tiles (.png), and all of them as an array (.npy).

    Args:
        x: (b, channels, h, w) output; the first image of the batch is drawn. Anything else is skipped.
        module_type: name of the layer's class, for the file's name.
        stage: its index.
        n: most channels drawn.
        save_dir: folder of the files `stageSTAGE_TYPE_features.png` and `.npy`.

    Returns:
        Path of the image, or None if there was nothing to draw.
    """
    if not isinstance(x, torch.Tensor) or x.ndim != 4 or x.shape[2] < 2 or x.shape[3] < 2:
        return None
    maps = x[0].detach().float().cpu().numpy()
    shown = maps[: min(n, len(maps))]
    low, high = shown.min((1, 2), keepdims=True), shown.max((1, 2), keepdims=True)
    grey = (255 * (shown - low) / np.maximum(high - low, 1e-9)).astype(np.uint8)
    k = math.ceil(64 / max(grey.shape[1:]))  # small maps are drawn larger
    grey = np.pad(grey.repeat(k, 1).repeat(k, 2), ((0, 0), (1, 1), (1, 1)))
    columns = min(8, len(grey))
    rows = math.ceil(len(grey) / columns)
    blank = np.zeros((rows * columns - len(grey), *grey.shape[1:]), np.uint8)
    tiles = np.concatenate((grey, blank)).reshape(rows, columns, *grey.shape[1:])
    sheet = np.concatenate(np.concatenate(tiles, 1), 1)
    file = Path(save_dir) / f"stage{stage}_{module_type.split('.')[-1]}_features.png"
    with writing(file), atomic_write(file.with_suffix(".npy"), sync=False) as f:
        np.save(f, maps)
    return imwrite(file, sheet)
