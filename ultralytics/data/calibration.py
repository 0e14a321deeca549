"""Batches of dataset images for the calibration of an 8-bit model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ultralytics.data.augment import LetterBox
from ultralytics.data.image_files import read_image
from ultralytics.data.lists import find_images
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError

IMAGES = 300  # that calibrate; more change little


class CalibrationImages:
    """Loader of images that are spread over a split: batches with `img`, (1, 3, h, w) uint8 RGB.

    Args:
        data: dataset YAML; the folder of a classification dataset.
        task: of the model.
        imgsz: [h, w].
        split: 'val' and so on.
        fraction: fraction of the images to take, at most `IMAGES` of them.

    Raises:
        DataError: there are no images in the split.
    """

    def __init__(self, data: str, task: str, imgsz: list[int], split: str = "val", fraction: float = 1.0):
        described = check_cls_dataset(data) if task == "classify" else check_det_dataset(data)
        files = find_images(described.get(split) or described["val"])
        if not files:
            raise DataError(f"The split '{split}' of '{data}' holds no images to calibrate on.")
        wanted = max(min(round(len(files) * fraction), IMAGES), 1)
        self.files = [files[i] for i in np.linspace(0, len(files) - 1, wanted).round().astype(int)]
        self.letterbox = LetterBox((imgsz[0], imgsz[1]), auto=False)

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for file in self.files:
            try:
                rgb = self.letterbox(image=read_image(file))[..., ::-1]
            except DataError as e:
                LOGGER.warning(f"WARNING ⚠️ left out of the calibration: {e}")
                continue
            yield {"img": torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)[None]))}
