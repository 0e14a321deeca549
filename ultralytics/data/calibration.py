"""Batches of dataset images for the calibration of an 8-bit model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ultralytics.data.augment import LetterBox
from ultralytics.data.image_files import read_image
from ultralytics.data.lists import find_images
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError

IMAGES = 300  # that calibrate; more change little


def calibration_batches(
    data: str, task: str, imgsz: list[int], split: str = "val", fraction: float = 1.0
) -> Callable[[], Iterable[np.ndarray]]:
    """Return a function that yields images spread over a split, as arrays (1, 3, h, w) float32 in 0..1.

    Args:
        data: dataset YAML; the folder of a classification dataset.
        task: of the model.
        imgsz: [h, w].
        split: 'val' and so on.
        fraction: fraction of the images to take, at most `IMAGES` of them.
    """
    described = check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
    files = find_images(described.get(split) or described["val"])
    if not files:
        raise DataError(f"The split '{split}' of '{data}' holds no images to calibrate on.")
    wanted = max(min(round(len(files) * fraction), IMAGES), 1)
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, wanted).round().astype(int)]
    letterbox = LetterBox((imgsz[0], imgsz[1]), auto=False)

    def batches() -> Iterable[np.ndarray]:
        for file in chosen:
            try:
                rgb = letterbox(image=read_image(file))[..., ::-1]
            except DataError as e:
                LOGGER.warning(f"WARNING ⚠️ left out of the calibration: {e}")
                continue
            yield np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], dtype=np.float32) / 255

    return batches
