"""Transforms for classification, made of torchvision's: from a PIL image (or an RGB array) to a float tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from PIL import Image

from ultralytics.data.canvas import GREY
from ultralytics.utils.errors import ConfigError

if TYPE_CHECKING:  # imported where it is used: it takes its time, and one that does not fit torch cannot be imported
    from torchvision.transforms import InterpolationMode

DEFAULT_MEAN, DEFAULT_STD, DEFAULT_CROP_FRACTION = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0
AUTO_AUGMENT = {"randaugment": "RandAugment", "augmix": "AugMix", "autoaugment": "AutoAugment"}  # in torchvision


class Pipeline:
    """Apply transforms one after the other: PIL image or uint8 array (h, w, 3) RGB in, float32 tensor (3, h, w) out."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, image: Image.Image | np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Transform an image; with `rng` all random numbers follow from it, and PyTorch's own state stays as it is."""
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image = image if image.mode == "RGB" else image.convert("RGB")
        if rng is None:
            return self._apply(image)
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(int(rng.integers(2**63)))  # of the CPU alone
            return self._apply(image)

    def _apply(self, image: Image.Image) -> torch.Tensor:
        for transform in self.transforms:
            image = transform(image)
        return torch.as_tensor(image)

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(type(transform).__name__ for transform in self.transforms)})"


def classify_transforms(
    size: int | tuple[int, int] = 224,
    mean: Sequence[float] = DEFAULT_MEAN,
    std: Sequence[float] = DEFAULT_STD,
    interpolation: str = "BILINEAR",
    crop_fraction: float = DEFAULT_CROP_FRACTION,
) -> Pipeline:
    """Build the pipeline of validation and prediction: resize the shorter side, crop the center, normalize.

    Args:
        size: (h, w) of the result, or one number for both.
        mean: per channel, subtracted from values from 0 to 1.
        std: per channel, by which the difference is divided.
        interpolation: NEAREST, BILINEAR or BICUBIC.
        crop_fraction: fraction of the resized image's side that is kept.
    """
    from torchvision import transforms as T

    h, w = (size, size) if isinstance(size, int) else size
    scaled = [math.floor(side / crop_fraction) for side in (h, w)]
    resize = T.Resize(scaled[0] if h == w else scaled, _interpolation(interpolation))
    return Pipeline([resize, T.CenterCrop((h, w)), T.ToTensor(), *_normalize(mean, std)])


def classify_augmentations(
    size: int = 224,
    mean: Sequence[float] = DEFAULT_MEAN,
    std: Sequence[float] = DEFAULT_STD,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    auto_augment: str | None = None,
    hsv_h: float = 0.015,
    hsv_s: float = 0.4,
    hsv_v: float = 0.4,
    force_color_jitter: bool = False,
    erasing: float = 0.0,
    interpolation: str = "BILINEAR",
) -> Pipeline:
    """Build the training pipeline.

    Args:
        size: side of the result.
        mean: per channel, subtracted from values from 0 to 1.
        std: per channel, by which the difference is divided.
        scale: least and greatest fraction of the image's area in the crop; (0.08, 1) if None.
        ratio: least and greatest aspect ratio of the crop; (3/4, 4/3) if None.
        hflip: probability of a horizontal flip.
        vflip: probability of a vertical flip.
        auto_augment: randaugment, augmix, autoaugment or None.
        hsv_h: range of random hue.
        hsv_s: range of random saturation.
        hsv_v: range of random brightness and contrast.
        force_color_jitter: jitter colors also where `auto_augment` changes them.
        erasing: probability of erasing a rectangle.
        interpolation: NEAREST, BILINEAR or BICUBIC.
    """
    from torchvision import transforms as T

    if not isinstance(size, int):
        raise ConfigError(f"size={size} is not allowed; the training images of a classifier are squares of one side.")
    policy, filter = str(auto_augment or "").lower(), _interpolation(interpolation)
    if policy and policy not in AUTO_AUGMENT:
        raise ConfigError(f"auto_augment={auto_augment} is not allowed; give {', '.join(AUTO_AUGMENT)} or None.")
    steps: list[Callable] = [T.RandomResizedCrop(size, scale or (0.08, 1.0), ratio or (3 / 4, 4 / 3), filter)]
    if hflip > 0:
        steps.append(T.RandomHorizontalFlip(hflip))
    if vflip > 0:
        steps.append(T.RandomVerticalFlip(vflip))
    if policy:
        steps.append(getattr(T, AUTO_AUGMENT[policy])(interpolation=filter))
    if not policy or force_color_jitter:
        steps.append(T.ColorJitter(brightness=hsv_v, contrast=hsv_v, saturation=hsv_s, hue=hsv_h))
    steps += [T.ToTensor(), *_normalize(mean, std)]
    if erasing > 0:
        steps.append(T.RandomErasing(erasing, inplace=True))
    return Pipeline(steps)


def _normalize(mean: Sequence[float], std: Sequence[float]) -> list[Callable]:
    """Return the step that normalizes, or none where it would change nothing."""
    from torchvision.transforms import Normalize

    unchanged = (tuple(mean), tuple(std)) == (DEFAULT_MEAN, DEFAULT_STD)
    return [] if unchanged else [Normalize(mean, std)]


def _interpolation(name: str) -> InterpolationMode:
    """Return torchvision's filter of a name in letters of either case."""
    from torchvision.transforms import InterpolationMode

    allowed = ("NEAREST", "BILINEAR", "BICUBIC")
    if str(name).upper() not in allowed:
        raise ConfigError(f"interpolation={name} is not allowed; give {', '.join(allowed)}.")
    return InterpolationMode[str(name).upper()]


# Transforms of arrays (h, w, 3), for pipelines of one's own ---------------------------------------------------------


class ClassifyLetterBox:
    """Scale an image into a frame and pad the rest with grey.

    Args:
        size: (h, w) of the frame, or one number for both.
        auto: the frame is the scaled image, padded to a multiple of the stride.
        stride: of the model.
    """

    def __init__(self, size: int | tuple[int, int] = (640, 640), auto: bool = False, stride: int = 32):
        self.h, self.w = (size, size) if isinstance(size, int) else size
        self.auto, self.stride = auto, stride

    def __call__(self, im: np.ndarray) -> np.ndarray:
        old_h, old_w = im.shape[:2]
        gain = min(self.h / old_h, self.w / old_w)
        h, w = round(old_h * gain), round(old_w * gain)
        frame = (self.h, self.w)
        if self.auto:
            frame = (math.ceil(h / self.stride) * self.stride, math.ceil(w / self.stride) * self.stride)
        top, left = (round((side - own) / 2 - 0.1) for side, own in zip(frame, (h, w)))
        out = np.full((*frame, 3), GREY, im.dtype)
        out[top : top + h, left : left + w] = cv2.resize(im, (w, h), interpolation=cv2.INTER_LINEAR)
        return out


class CenterCrop:
    """Cut the largest square from the centre of an image, and scale it.

    Args:
        size: (h, w) of the result, or one number for both.
    """

    def __init__(self, size: int | tuple[int, int] = 640):
        self.h, self.w = (size, size) if isinstance(size, int) else size

    def __call__(self, im: Image.Image | np.ndarray) -> np.ndarray:
        im = np.asarray(im)
        h, w = im.shape[:2]
        m = min(h, w)
        top, left = (h - m) // 2, (w - m) // 2
        return cv2.resize(im[top : top + m, left : left + m], (self.w, self.h), interpolation=cv2.INTER_LINEAR)


class ToTensor:
    """Turn a BGR array (h, w, 3) of 0 to 255 into an RGB tensor (3, h, w) of 0 to 1, float32 or `half`."""

    def __init__(self, half: bool = False):
        self.half = half

    def __call__(self, im: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(im.transpose(2, 0, 1)[::-1]))
        return (tensor.half() if self.half else tensor.float()) / 255
