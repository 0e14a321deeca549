"""Transforms of whole images, for classification: from a PIL image (or an RGB array) to a float tensor.

A pipeline is called with an image and a random generator; each step takes both and returns the image changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from ultralytics.utils.errors import ConfigError

DEFAULT_MEAN, DEFAULT_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
_FILTERS = {name: Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BICUBIC")}
Step = Callable[[Any, np.random.Generator], Any]


class Pipeline:
    """Apply steps one after the other: image in, float32 tensor (3, h, w) RGB out."""

    def __init__(self, steps: Sequence[Step]):
        self.transforms = list(steps)

    def __call__(self, image: Image.Image | np.ndarray, rng: np.random.Generator | None = None) -> torch.Tensor:
        rng = np.random.default_rng() if rng is None else rng
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image = image if image.mode == "RGB" else image.convert("RGB")
        for step in self.transforms:
            image = step(image, rng)
        return image

    def __repr__(self) -> str:
        return f"Pipeline({', '.join(type(step).__name__ for step in self.transforms)})"


def classify_transforms(
    size: int | tuple[int, int] = 224,
    mean: Sequence[float] = DEFAULT_MEAN,
    std: Sequence[float] = DEFAULT_STD,
    interpolation: str = "BILINEAR",
    crop_fraction: float = 1.0,
) -> Pipeline:
    """Return the pipeline of validation and prediction: shorter side scaled, the middle cut out, normalised.

    Args:
        size: (h, w) of the result, or one number for both.
        mean: per channel, taken off values from 0 to 1.
        std: per channel, by which the rest is divided.
        interpolation: NEAREST, BILINEAR or BICUBIC.
        crop_fraction: share of the scaled image's side that is cut out.
    """
    frame = (size, size) if isinstance(size, int) else tuple(size)
    scaled = tuple(math.floor(side / crop_fraction) for side in frame)
    return Pipeline([Resize(scaled, _filter(interpolation)), CenterCrop(frame), ToTensor(mean, std)])


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
    """Return the training pipeline.

    Args:
        size: side of the result.
        mean: per channel, taken off values from 0 to 1.
        std: per channel, by which the rest is divided.
        scale: least and greatest share of the image's area in the cut; (0.08, 1) if None.
        ratio: least and greatest aspect of the cut; (3/4, 4/3) if None.
        hflip: probability of mirroring left and right.
        vflip: probability of mirroring top and bottom.
        auto_augment: randaugment, augmix, autoaugment or None.
        hsv_h: range of random hue.
        hsv_s: range of random saturation.
        hsv_v: range of random brightness and contrast.
        force_color_jitter: jitter colours also where `auto_augment` changes them.
        erasing: probability of erasing a part.
        interpolation: NEAREST, BILINEAR or BICUBIC.
    """
    if not isinstance(size, int):
        raise ConfigError(f"size={size} is not allowed; the training images of a classifier are squares of one side.")
    wanted = str(auto_augment or "").lower()
    if wanted not in AUTO_AUGMENT:
        allowed = ", ".join(name for name in AUTO_AUGMENT if name)
        raise ConfigError(f"auto_augment={auto_augment} is not allowed; give {allowed} or None.")
    policy, resample = AUTO_AUGMENT[wanted], _filter(interpolation)
    steps: list[Step] = [RandomResizedCrop(size, scale or (0.08, 1.0), ratio or (3 / 4, 4 / 3), resample)]
    if hflip > 0:
        steps.append(Flip(hflip, Image.Transpose.FLIP_LEFT_RIGHT))
    if vflip > 0:
        steps.append(Flip(vflip, Image.Transpose.FLIP_TOP_BOTTOM))
    if policy:
        steps.append(policy())
    if policy is None or force_color_jitter:
        steps.append(ColorJitter(hsv_v, hsv_v, hsv_s, hsv_h))
    steps.append(ToTensor(mean, std))
    if erasing > 0:
        steps.append(RandomErasing(erasing))
    return Pipeline(steps)


def _filter(name: str) -> Image.Resampling:
    if str(name).upper() not in _FILTERS:
        raise ConfigError(f"interpolation={name} is not allowed; give {', '.join(_FILTERS)}.")
    return _FILTERS[str(name).upper()]


# Geometry ------------------------------------------------------------------------------------------------------------


class Resize:
    """Scale to (h, w); to a square frame so that the shorter side fits and the aspect stays."""

    def __init__(self, size: tuple[int, int], resample: Image.Resampling = Image.Resampling.BILINEAR):
        self.size, self.resample = size, resample

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        h, w = self.size
        if h == w:
            short = min(image.size)
            w, h = (h if side == short else int(h * side / short) for side in image.size)
        return image if image.size == (w, h) else image.resize((w, h), self.resample)


class CenterCrop:
    """Cut (h, w) out of the middle; what lies outside of the image is black."""

    def __init__(self, size: tuple[int, int]):
        self.size = size

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> Image.Image:
        (h, w), (width, height) = self.size, image.size
        left, top = round((width - w) / 2), round((height - h) / 2)
        return image if (w, h) == (width, height) else image.crop((left, top, left + w, top + h))


class RandomResizedCrop:
    """Cut out a part of random area and aspect and scale it to a square.

    Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842, section 6.
    """

    def __init__(self, size: int, scale: tuple[float, float], ratio: tuple[float, float], resample: Image.Resampling):
        self.size, self.scale, self.ratio, self.resample = size, scale, ratio, resample

    def box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Return the part's left, top, right and bottom."""
        for _ in range(10):
            area = width * height * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(*np.log(self.ratio)))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        # a very long image: its middle, at the nearest aspect allowed
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(round(height * aspect), 1)), min(height, max(round(width / aspect), 1))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.resize((self.size, self.size), self.resample, box=self.box(*image.size, rng))


class Flip:
    """Mirror with probability p."""

    def __init__(self, p: float, method: Image.Transpose):
        self.p, self.method = p, method

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.transpose(self.method) if rng.random() < self.p else image


# Colour --------------------------------------------------------------------------------------------------------------


class ColorJitter:
    """Change brightness, contrast, saturation (gain within 1 - x..1 + x), hue (share of its circle) in random order."""

    def __init__(self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0):
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        self.gains = [(e, x) for e, x in zip(enhancers, (brightness, contrast, saturation)) if x > 0]
        self.hue = hue

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        changes = [partial(_enhance, e, rng.uniform(max(0.0, 1 - x), 1 + x)) for e, x in self.gains]
        if self.hue > 0:
            changes.append(partial(_turn_hue, rng.uniform(-self.hue, self.hue)))
        for i in rng.permutation(len(changes)):
            image = changes[i](image)
        return image


def _enhance(enhancer: Callable, gain: float, image: Image.Image) -> Image.Image:
    return enhancer(image).enhance(gain)


def _turn_hue(share: float, image: Image.Image) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(i + round(share * 255)) % 256 for i in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


# Operations of the automatic policies --------------------------------------------------------------------------------


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def _gain(enhancer: Callable) -> Callable:
    return lambda image, x: enhancer(image).enhance(1 + x)


# name: (function of image and strength, greatest strength, whether its sign is drawn); Cubuk et al., AutoAugment,
# arXiv 1805.09501, table 6. Strengths of shifts are shares of the side.
OPERATIONS: dict[str, tuple[Callable[[Image.Image, float], Image.Image], float, bool]] = {
    "Identity": (lambda image, x: image, 0.0, False),
    "ShearX": (lambda image, x: _affine(image, 1, x, 0, 0, 1, 0), 0.3, True),
    "ShearY": (lambda image, x: _affine(image, 1, 0, 0, x, 1, 0), 0.3, True),
    "TranslateX": (lambda image, x: _affine(image, 1, 0, round(x * image.width), 0, 1, 0), 150 / 331, True),
    "TranslateY": (lambda image, x: _affine(image, 1, 0, 0, 0, 1, round(x * image.height)), 150 / 331, True),
    "Rotate": (lambda image, x: image.rotate(x), 30.0, True),
    "Brightness": (_gain(ImageEnhance.Brightness), 0.9, True),
    "Color": (_gain(ImageEnhance.Color), 0.9, True),
    "Contrast": (_gain(ImageEnhance.Contrast), 0.9, True),
    "Sharpness": (_gain(ImageEnhance.Sharpness), 0.9, True),
    "Posterize": (lambda image, x: ImageOps.posterize(image, 8 - round(x)), 4.0, False),
    "Solarize": (lambda image, x: ImageOps.solarize(image, round(255 - x)), 255.0, False),
    "AutoContrast": (lambda image, x: ImageOps.autocontrast(image), 0.0, False),
    "Equalize": (lambda image, x: ImageOps.equalize(image), 0.0, False),
    "Invert": (lambda image, x: ImageOps.invert(image), 0.0, False),
}
_RAND_AUGMENT = [name for name in OPERATIONS if name != "Invert"]
_AUG_MIX = (
    "AutoContrast", "Equalize", "Posterize", "Rotate", "Solarize", "ShearX", "ShearY", "TranslateX", "TranslateY",
)  # fmt: skip


def apply_operation(image: Image.Image, name: str, level: float, rng: np.random.Generator) -> Image.Image:
    """Apply one operation at a share `level` (0 to 1) of its greatest strength."""
    function, greatest, signed = OPERATIONS[name]
    sign = -1 if signed and rng.random() < 0.5 else 1
    return function(image, sign * level * greatest)


class RandAugment:
    """Apply n random operations at one strength. Cubuk et al., RandAugment, arXiv 1909.13719.

    Args:
        num_ops: operations, one after the other.
        magnitude: strength, 0 to bins - 1.
        bins: steps of strength.
    """

    def __init__(self, num_ops: int = 2, magnitude: int = 9, bins: int = 31):
        self.num_ops, self.level = num_ops, magnitude / (bins - 1)

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for name in rng.choice(_RAND_AUGMENT, self.num_ops):
            image = apply_operation(image, str(name), self.level, rng)
        return image


# Two operations each: name, probability, strength 0 to 9; arXiv 1805.09501, table 9 (ImageNet)
_POLICIES = [
    tuple((name, float(p), int(level)) for name, p, level in (half.split() for half in line.split(", ")))
    for line in (
        "Posterize .4 8, Rotate .6 9", "Solarize .6 5, AutoContrast .6 0", "Equalize .8 0, Equalize .6 0",
        "Posterize .6 7, Posterize .6 6", "Equalize .4 0, Solarize .2 4", "Equalize .4 0, Rotate .8 8",
        "Solarize .6 3, Equalize .6 0", "Posterize .8 5, Equalize 1 0", "Rotate .2 3, Solarize .6 8",
        "Equalize .6 0, Posterize .4 6", "Rotate .8 8, Color .4 0", "Rotate .4 9, Equalize .6 0",
        "Equalize 0 0, Equalize .8 0", "Invert .6 0, Equalize 1 0", "Color .6 4, Contrast 1 8",
        "Rotate .8 8, Color 1 2", "Color .8 8, Solarize .8 7", "Sharpness .4 7, Invert .6 0",
        "ShearX .6 5, Equalize 1 0", "Color .4 0, Equalize .6 0", "Equalize .4 0, Solarize .2 4",
        "Solarize .6 5, AutoContrast .6 0", "Invert .6 0, Equalize 1 0", "Color .6 4, Contrast 1 8",
        "Equalize .8 0, Equalize .6 0",
    )
]  # fmt: skip


class AutoAugment:
    """Apply one of the 25 learned pairs of operations for ImageNet. Cubuk et al., AutoAugment, arXiv 1805.09501."""

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for name, p, level in _POLICIES[rng.integers(len(_POLICIES))]:
            if rng.random() < p:
                image = apply_operation(image, name, level / 9, rng)
        return image


class AugMix:
    """Blend chains of weak operations with the image. Hendrycks et al., AugMix, arXiv 1912.02781.

    Args:
        severity: greatest strength of an operation, 1 to 10.
        width: number of chains; each has one to three operations.
        alpha: of the Dirichlet and Beta distributions from which the weights are drawn.
    """

    def __init__(self, severity: int = 3, width: int = 3, alpha: float = 1.0):
        self.severity, self.width, self.alpha = severity, width, alpha

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        keep, original = rng.beta(self.alpha, self.alpha), np.asarray(image, np.float32)
        mixed = np.zeros_like(original)
        for weight in rng.dirichlet([self.alpha] * self.width):
            chain = image
            for name in rng.choice(_AUG_MIX, rng.integers(1, 4)):
                chain = apply_operation(chain, str(name), rng.uniform(0.1, self.severity) / 10, rng)
            mixed += weight * np.asarray(chain, np.float32)
        return Image.fromarray((keep * original + (1 - keep) * mixed).round().clip(0, 255).astype(np.uint8))


AUTO_AUGMENT: dict[str, Callable[[], Step] | None] = {
    "": None,
    "randaugment": RandAugment,
    "augmix": AugMix,
    "autoaugment": AutoAugment,
}


# Tensors -------------------------------------------------------------------------------------------------------------


class ToTensor:
    """Turn an image into a float32 tensor (3, h, w): values from 0 to 1, less `mean`, over `std`; channels last."""

    def __init__(self, mean: Sequence[float] = DEFAULT_MEAN, std: Sequence[float] = DEFAULT_STD):
        self.mean, self.std = (np.array(v, np.float32) for v in (mean, std))

    def __call__(self, image: Image.Image, rng: np.random.Generator | None = None) -> torch.Tensor:
        pixels = (np.asarray(image, np.float32) / 255 - self.mean) / self.std
        return torch.from_numpy(pixels).permute(2, 0, 1)


class RandomErasing:
    """Blacken a random rectangle with probability p. Zhong et al., Random Erasing, arXiv 1708.04896.

    Args:
        p: probability.
        scale: least and greatest share of the area.
        ratio: least and greatest aspect.
    """

    def __init__(self, p: float, scale: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3)):
        self.p, self.scale, self.ratio = p, scale, ratio

    def __call__(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        if rng.random() >= self.p:
            return image
        height, width = image.shape[1:]
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(*np.log(self.ratio)))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                image[:, top : top + h, left : left + w] = 0
                break
        return image
