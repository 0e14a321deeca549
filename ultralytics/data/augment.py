"""Augmentations: each takes a sample, a dict, and returns it changed.

While a sample travels, `img` is a uint8 (h, w, 3) BGR array that no transform changes in place, `cls` is (n, 1)
float32, `bboxes` is (n, 4) float32 xyxy in pixels of `img`, and `rng` is the generator that every transform draws from.
`Format` ends the journey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.data.images import letterbox_geometry
from ultralytics.utils.errors import ConfigError

GREY = 114  # value of every padded pixel
_BORDER = (GREY, GREY, GREY)


def generator(labels: dict) -> np.random.Generator:
    """Return the sample's own random generator; a sample without one gets one from the system's entropy."""
    if labels.get("rng") is None:
        labels["rng"] = np.random.default_rng()
    return labels["rng"]


class Compose:
    """Apply transforms one after the other."""

    def __init__(self, transforms: Callable | Sequence[Callable]):
        self.transforms = list(transforms) if isinstance(transforms, (list, tuple)) else [transforms]

    def __call__(self, labels: dict) -> dict:
        for transform in self.transforms:
            labels = transform(labels)
        return labels

    def append(self, transform: Callable) -> None:
        """Add a transform at the end."""
        self.transforms.append(transform)

    def insert(self, index: int, transform: Callable) -> None:
        """Add a transform before the one at `index`."""
        self.transforms.insert(index, transform)

    def tolist(self) -> list[Callable]:
        """Return the transforms."""
        return self.transforms

    def __getitem__(self, index: int | slice) -> Any:
        found = self.transforms[index]
        return Compose(found) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.transforms))})"


class LetterBox:
    """Scale a picture into a frame and pad the rest with grey.

    Args:
        new_shape: (height, width) of the frame, or one number for both.
        auto: pad only up to the next multiple of `stride`.
        scaleFill: stretch instead of padding.
        scaleup: allow enlarging.
        center: pad on both sides; else only right and below.
        stride: of the model.
    """

    def __init__(
        self,
        new_shape: int | tuple[int, int] = (640, 640),
        auto: bool = False,
        scaleFill: bool = False,
        scaleup: bool = True,
        center: bool = True,
        stride: int = 32,
    ):
        self.new_shape = (new_shape, new_shape) if isinstance(new_shape, int) else tuple(new_shape)
        self.auto, self.scaleFill, self.scaleup, self.center, self.stride = auto, scaleFill, scaleup, center, stride

    def __call__(self, labels: dict | None = None, image: np.ndarray | None = None) -> Any:
        """Return the sample, or the picture alone where no sample was given."""
        labels = {} if labels is None else labels
        img = labels["img"] if image is None else image
        frame = labels.pop("rect_shape", self.new_shape)
        size, (left, top, right, bottom) = letterbox_geometry(
            img.shape[:2], frame, self.auto, self.scaleFill, self.scaleup, self.center, self.stride
        )
        h, w = img.shape[:2]
        if (w, h) != size:
            img = cv2.resize(img, size, interpolation=cv2.INTER_LINEAR)
        if left or top or right or bottom:
            img = cv2.copyMakeBorder(img, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_BORDER)
        if not labels:
            return img
        labels["img"], labels["resized_shape"] = img, img.shape[:2]
        if "ratio_pad" in labels:
            labels["ratio_pad"] = (labels["ratio_pad"], (left, top))
        if "bboxes" in labels:
            gain, shift = np.array([size[0] / w, size[1] / h] * 2), np.array([left, top] * 2)
            labels["bboxes"] = (labels["bboxes"] * gain + shift).astype(np.float32)
        return labels


class Canvas:
    """Pictures laid out on grey but not yet painted, so that a warp touches only the pixels it shows.

    Args:
        shape: (height, width, 3).
        tiles: (pixels, left, top) of each picture; they do not overlap.
    """

    def __init__(self, shape: tuple[int, int, int], tiles: list[tuple[np.ndarray, int, int]]):
        self.shape, self.tiles, self.dtype, self.ndim = shape, tiles, np.dtype(np.uint8), 3

    def paint(self) -> np.ndarray:
        """Return the whole canvas as an array."""
        img = np.full(self.shape, GREY, np.uint8)
        for tile, x, y in self.tiles:
            img[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        return img

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self.paint().astype(dtype or np.uint8, copy=False)

    def warp(self, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the canvas under a 3x3 matrix, as (h, w, 3) for size (w, h); seams between tiles stay sharp."""
        sx, sy = matrix[0, 0], matrix[1, 1]
        upright = np.count_nonzero(matrix[[0, 1, 2, 2], [1, 0, 0, 1]]) == 0 and sx > 0 and sy > 0
        if not upright:  # turned tiles overlap in the picture's rows and columns
            return warp(self.paint(), matrix, size)
        img = np.full((size[1], size[0], 3), GREY, np.uint8)
        for tile, x, y in self.tiles:
            x1, x2 = _shown(x, x + tile.shape[1], sx, matrix[0, 2], size[0])
            y1, y2 = _shown(y, y + tile.shape[0], sy, matrix[1, 2], size[1])
            if x1 >= x2 or y1 >= y2:
                continue
            back = np.array([[1 / sx, 0, (x1 - matrix[0, 2]) / sx - x], [0, 1 / sy, (y1 - matrix[1, 2]) / sy - y]])
            img[y1:y2, x1:x2] = cv2.warpAffine(
                tile,
                back,
                (x2 - x1, y2 - y1),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
        return img


def _shown(start: int, stop: int, scale: float, shift: float, size: int) -> tuple[int, int]:
    """Return the range of output pixels whose centres fall on the source pixels [start, stop)."""
    low, high = (math.ceil(scale * (edge - 0.5) + shift) for edge in (start, stop))
    return max(low, 0), min(high, size)


def warp(img: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture under a 3x3 matrix, grey outside; size is (w, h)."""
    if np.array_equal(matrix[2], (0, 0, 1)):
        return cv2.warpAffine(img, matrix[:2], dsize=size, borderValue=_BORDER)
    return cv2.warpPerspective(img, matrix, dsize=size, borderValue=_BORDER)


class Mosaic:
    """Join four pictures of the dataset around a random centre, on a canvas of twice the size.

    The picture it leaves is a `Canvas`: `RandomPerspective` warps it in one go, `np.asarray` paints it.
    Bochkovskiy et al., YOLOv4, arXiv 2004.10934, section 3.3.

    Args:
        dataset: has `get_image_and_label(index)` and, where it wants to choose the partners, `partners(labels, k)`.
        imgsz: side of the training picture; the canvas has twice that.
        p: probability.
        n: number of pictures; four.
    """

    def __init__(self, dataset: Any, imgsz: int = 640, p: float = 1.0, n: int = 4):
        if not 0 <= p <= 1:
            raise ConfigError(f"mosaic={p} is not a probability; give a number from 0 to 1.")
        if n != 4:
            raise ConfigError(f"A mosaic of {n} pictures is not available; it joins 4.")
        self.dataset, self.imgsz, self.p, self.n = dataset, imgsz, p, n
        self.border = (-imgsz // 2, -imgsz // 2)  # what RandomPerspective cuts off on each side: height, width

    def __call__(self, labels: dict) -> dict:
        rng = generator(labels)
        if self.p <= 0 or rng.random() >= self.p:
            return labels
        s = self.imgsz
        yc, xc = (int(rng.uniform(s / 2, 3 * s / 2)) for _ in range(2))
        parts = [labels, *(_fetch(self.dataset, i, labels) for i in _partners(self.dataset, labels, self.n - 1))]
        tiles, boxes = [], []
        for i, part in enumerate(parts):
            img = part["img"]
            h, w = img.shape[:2]
            x, y = (xc - w, xc)[i % 2], (yc - h, yc)[i // 2]  # where the picture's corner lies, perhaps off the canvas
            x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, 2 * s), min(y + h, 2 * s)
            tiles.append((img[y1 - y : y2 - y, x1 - x : x2 - x], x1, y1))
            boxes.append(part["bboxes"] + np.array([x, y, x, y], np.float32))
        boxes, cls = np.concatenate(boxes).clip(0, 2 * s), np.concatenate([p["cls"] for p in parts])
        seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        labels.pop("ratio_pad", None)
        return labels | {
            "img": Canvas((2 * s, 2 * s, 3), tiles),
            "bboxes": boxes[seen],
            "cls": cls[seen],
            "resized_shape": (2 * s, 2 * s),
            "mosaic_border": self.border,
        }


def _partners(dataset: Any, labels: dict, k: int) -> list[int]:
    """Return the indices of k samples to mix with this one."""
    if hasattr(dataset, "partners"):
        return dataset.partners(labels, k)
    return generator(labels).integers(len(dataset), size=k).tolist()


def _fetch(dataset: Any, index: int, labels: dict) -> dict:
    """Return another sample of the dataset, which draws from this sample's generator."""
    return dataset.get_image_and_label(index) | {k: labels[k] for k in ("rng", "epoch", "index") if k in labels}


class RandomPerspective:
    """Rotate, scale, shear, shift and tilt a picture and its boxes by random amounts.

    Args:
        degrees: rotation within -degrees..degrees.
        translate: shift within this fraction of the size.
        scale: gain within 1 - scale..1 + scale.
        shear: within -shear..shear degrees.
        perspective: tilt within -perspective..perspective, 0 to 0.001.
        border: (vertical, horizontal) pixels added on each side; a mosaic brings its own.
        pre_transform: applied first to samples that are no mosaic.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.1,
        scale: float = 0.5,
        shear: float = 0.0,
        perspective: float = 0.0,
        border: tuple[int, int] = (0, 0),
        pre_transform: Callable | None = None,
    ):
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        self.perspective, self.border, self.pre_transform = perspective, border, pre_transform

    def __call__(self, labels: dict) -> dict:
        if self.pre_transform and "mosaic_border" not in labels:
            labels = self.pre_transform(labels)
        labels.pop("ratio_pad", None)  # no single ratio leads back to the original picture
        border = labels.pop("mosaic_border", self.border)
        img, boxes = labels["img"], labels["bboxes"]
        h, w = img.shape[:2]
        size = w + 2 * border[1], h + 2 * border[0]
        matrix, gain = self.draw(generator(labels), (w, h), size)
        if size != (w, h) or not np.array_equal(matrix, np.eye(3)):
            img = img.warp(matrix, size) if isinstance(img, Canvas) else warp(img, matrix, size)
        elif isinstance(img, Canvas):
            img = img.paint()
        new = warp_boxes(boxes, matrix).clip(0, np.array([*size, *size], np.float32))
        keep = box_candidates(boxes * gain, new)
        return labels | {"img": img, "bboxes": new[keep], "cls": labels["cls"][keep], "resized_shape": img.shape[:2]}

    def draw(self, rng: np.random.Generator, old: tuple[int, int], new: tuple[int, int]) -> tuple[np.ndarray, float]:
        """Return a random 3x3 matrix from a picture of (w, h) `old` to one of `new`, and its gain."""
        center, tilt, shear, shift = (np.eye(3) for _ in range(4))
        center[:2, 2] = -old[0] / 2, -old[1] / 2
        tilt[2, :2] = rng.uniform(-self.perspective, self.perspective, 2)
        angle, gain = rng.uniform(-self.degrees, self.degrees), rng.uniform(1 - self.scale, 1 + self.scale)
        turn = np.vstack([cv2.getRotationMatrix2D((0, 0), angle, gain), (0, 0, 1)])
        shear[0, 1], shear[1, 0] = np.tan(np.radians(rng.uniform(-self.shear, self.shear, 2)))
        shift[:2, 2] = rng.uniform(0.5 - self.translate, 0.5 + self.translate, 2) * new
        return shift @ shear @ turn @ tilt @ center, gain


def warp_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the upright boxes (n, 4) xyxy around the corners of the warped ones."""
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    points = corners @ matrix[:, :2].T + matrix[:, 2]
    points = points[..., :2] / points[..., 2:]
    return np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32)


def box_candidates(
    before: np.ndarray,
    after: np.ndarray,
    wh_thr: float = 2,
    ar_thr: float = 100,
    area_thr: float = 0.1,
    eps: float = 1e-16,
) -> np.ndarray:
    """Return which boxes (n, 4) xyxy are still worth learning.

    A box stays if both sides are above `wh_thr` pixels, the longer is below `ar_thr` times the shorter, and more than
    `area_thr` of its area before is left.
    """
    w1, h1 = (before[:, 2:] - before[:, :2]).T
    w2, h2 = (after[:, 2:] - after[:, :2]).T
    aspect = np.maximum(w2 / (h2 + eps), h2 / (w2 + eps))
    return (w2 > wh_thr) & (h2 > wh_thr) & (w2 * h2 / (w1 * h1 + eps) > area_thr) & (aspect < ar_thr)


class MixUp:
    """Blend a sample with another one at a ratio from Beta(32, 32), keeping the objects of both.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, arXiv 1710.09412.
    """

    def __init__(self, dataset: Any, pre_transform: Callable | None = None, p: float = 0.0):
        self.dataset, self.pre_transform, self.p = dataset, pre_transform, p

    def __call__(self, labels: dict) -> dict:
        if self.p <= 0 or (rng := generator(labels)).random() >= self.p:
            return labels
        other = _fetch(self.dataset, _partners(self.dataset, labels, 1)[0], labels)
        if self.pre_transform:
            other = self.pre_transform(other)
        ratio = rng.beta(32.0, 32.0)
        labels["img"] = cv2.addWeighted(labels["img"], ratio, other["img"], 1 - ratio, 0)
        for key in ("bboxes", "cls"):
            labels[key] = np.concatenate([labels[key], other[key]])
        return labels


class RandomHSV:
    """Shift hue and scale saturation and value, each by a random gain within 1 - gain..1 + gain."""

    def __init__(self, hgain: float = 0.5, sgain: float = 0.5, vgain: float = 0.5):
        self.hgain, self.sgain, self.vgain = hgain, sgain, vgain
        self._ramp = np.arange(256, dtype=np.float64)

    def __call__(self, labels: dict) -> dict:
        if not (self.hgain or self.sgain or self.vgain):
            return labels
        h, s, v = generator(labels).uniform(-1, 1, 3) * (self.hgain, self.sgain, self.vgain) + 1
        x = self._ramp
        table = np.stack([(x * h) % 180, (x * s).clip(0, 255), (x * v).clip(0, 255)], -1).astype(np.uint8)[None]
        hsv = cv2.LUT(cv2.cvtColor(labels["img"], cv2.COLOR_BGR2HSV), table)
        labels["img"] = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        return labels


class RandomFlip:
    """Mirror a sample with probability p.

    Args:
        p: probability.
        direction: 'horizontal' (left and right change places) or 'vertical'.
    """

    def __init__(self, p: float = 0.5, direction: str = "horizontal"):
        if direction not in {"horizontal", "vertical"}:
            raise ConfigError(f"A flip is 'horizontal' or 'vertical', not '{direction}'.")
        self.p, self.direction = p, direction

    def __call__(self, labels: dict) -> dict:
        if self.p <= 0 or generator(labels).random() >= self.p:
            return labels
        img, axis = labels["img"], int(self.direction == "vertical")  # 0: x changes, 1: y changes
        boxes = labels["bboxes"].copy()
        boxes[:, [axis, axis + 2]] = img.shape[1 - axis] - labels["bboxes"][:, [axis + 2, axis]]
        return labels | {"img": cv2.flip(img, 1 - axis), "bboxes": boxes}


class Format:
    """Turn a sample into what a batch is made of: img (3, h, w) uint8 RGB, boxes normalised xywh, tensors.

    The tensor is a view of the (h, w, 3) array, so that a batch is channels-last in memory and nothing is transposed.

    Args:
        bgr: probability of leaving the channels in the order BGR.
    """

    def __init__(self, bgr: float = 0.0):
        self.bgr = bgr

    def __call__(self, labels: dict) -> dict:
        img, boxes = labels["img"], labels["bboxes"]
        swapped = self.bgr > 0 and generator(labels).random() < self.bgr
        pixels = np.array(img) if swapped else cv2.cvtColor(np.asarray(img), cv2.COLOR_BGR2RGB)
        h, w = pixels.shape[:2]
        xywh = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1) / (w, h, w, h)
        sample = {k: labels[k] for k in ("im_file", "ori_shape", "resized_shape", "ratio_pad") if k in labels}
        return sample | {
            "img": torch.from_numpy(pixels).permute(2, 0, 1),
            "cls": torch.from_numpy(np.array(labels["cls"], np.float32)).reshape(-1, 1),
            "bboxes": torch.from_numpy(xywh.astype(np.float32)).reshape(-1, 4),
            "batch_idx": torch.zeros(len(boxes)),
        }


def v8_transforms(dataset: Any, imgsz: int, hyp: Any, stretch: bool = False) -> Compose:
    """Return the training pipeline up to, and without, `Format`.

    Args:
        dataset: where mosaic and mixup take their other samples from.
        imgsz: side of the training picture.
        hyp: settings with the augmentation's strengths.
        stretch: the samples are already square; no letterbox.
    """
    geometry = Compose([
        Mosaic(dataset, imgsz=imgsz, p=hyp.mosaic),
        RandomPerspective(
            degrees=hyp.degrees,
            translate=hyp.translate,
            scale=hyp.scale,
            shear=hyp.shear,
            perspective=hyp.perspective,
            pre_transform=None if stretch else LetterBox((imgsz, imgsz)),
        ),
    ])  # fmt: skip
    return Compose([
        geometry,
        MixUp(dataset, pre_transform=geometry, p=hyp.mixup),
        RandomHSV(hyp.hsv_h, hyp.hsv_s, hyp.hsv_v),
        RandomFlip(hyp.flipud, "vertical"),
        RandomFlip(hyp.fliplr, "horizontal"),
    ])  # fmt: skip
