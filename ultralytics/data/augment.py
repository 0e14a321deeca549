"""Augmentations: each takes a sample, a dict, and returns it changed.

Until `Format` turns it into tensors, a sample's `img` is a uint8 (h, w, 3) BGR array that no transform changes in
place, its objects are as described in `instances`, and `rng` is the generator that every transform draws from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import overload

import cv2
import numpy as np
import torch

from ultralytics.data.canvas import BORDER, Canvas, is_upright, scale, warp
from ultralytics.data.classify_augment import (
    DEFAULT_CROP_FRACTION,
    DEFAULT_MEAN,
    DEFAULT_STD,
    CenterCrop,
    ClassifyLetterBox,
    ToTensor,
    classify_augmentations,
    classify_transforms,
)
from ultralytics.data.image_files import letterbox_geometry
from ultralytics.data.instances import (
    FIELDS,
    Sample,
    box_candidates,
    crop,
    flat,
    join,
    mirror,
    objects_of,
    project_keypoints,
    project_segments,
    scale_shift,
    select,
    shift,
    warp_boxes,
)
from ultralytics.data.masks import polygons2masks, polygons2masks_overlap
from ultralytics.data.pixel_augment import Albumentations
from ultralytics.data.transform import (
    BaseMixTransform,
    BaseTransform,
    Compose,
    SampleSource,
    call_override,
    generator,
    ours,
)
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.instance import Bboxes
from ultralytics.utils.metrics import bbox_ioa
from ultralytics.utils.ops import xyxyxyxy2xywhr

__all__ = (
    "DEFAULT_CROP_FRACTION", "DEFAULT_MEAN", "DEFAULT_STD",
    "Albumentations", "BaseMixTransform", "BaseTransform", "Canvas", "CenterCrop", "ClassifyLetterBox", "Compose",
    "CopyPaste", "Format", "LetterBox", "MixUp", "Mosaic", "RandomFlip", "RandomHSV", "RandomPerspective", "ToTensor",
    "box_candidates", "classify_augmentations", "classify_transforms", "generator", "v8_transforms", "warp",
    "warp_boxes",
)  # fmt: skip


@ours
class LetterBox:
    """Scale an image into a frame and pad the rest with grey.

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

    @overload
    def __call__(self, labels: None = None, *, image: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, labels: Sample, image: np.ndarray | None = None) -> Sample: ...
    def __call__(self, labels: Sample | None = None, image: np.ndarray | None = None) -> Sample | np.ndarray:
        """Return the sample, or only the image where no sample was given."""
        labels = {} if labels is None else flat(labels)
        img = labels["img"] if image is None else image
        frame = labels.pop("rect_shape", self.new_shape)
        size, (left, top, right, bottom) = letterbox_geometry(
            img.shape[:2], frame, self.auto, self.scaleFill, self.scaleup, self.center, self.stride
        )
        h, w = img.shape[:2]
        if (w, h) != size:
            img = cv2.resize(img, size, interpolation=cv2.INTER_LINEAR)
        if left or top or right or bottom:
            img = cv2.copyMakeBorder(img, top, bottom, left, right, cv2.BORDER_CONSTANT, value=BORDER)
        if not labels:
            return img
        labels["img"], labels["resized_shape"] = img, img.shape[:2]
        if "ratio_pad" in labels:
            labels["ratio_pad"] = (labels["ratio_pad"], (left, top))
        if "bboxes" in labels:
            labels |= scale_shift(labels, (size[0] / w, size[1] / h), (left, top))
        return labels


@ours
class Mosaic(BaseMixTransform):
    """Join four images of the dataset around a random centre, on a canvas of twice the size.

    The resulting image is a `Canvas`: `RandomPerspective` paints only what it shows of it, `np.asarray` all.
    Bochkovskiy et al., YOLOv4, arXiv 2004.10934, section 3.3.

    Args:
        dataset: has `get_image_and_label(index)` and, where it wants to choose the partners, `partners(labels, k)`.
        imgsz: side of the training image; the canvas has twice that.
        p: probability.
        n: number of images; four.
    """

    def __init__(self, dataset: SampleSource, imgsz: int = 640, p: float = 1.0, n: int = 4):
        if not 0 <= p <= 1:
            raise ConfigError(f"mosaic={p} is not a probability; give a number from 0 to 1.")
        if n != 4:
            raise ConfigError(f"A mosaic of {n} images is not available; it joins 4.")
        super().__init__(dataset, p=p)
        self.imgsz, self.n = imgsz, n
        self.border = (-imgsz // 2, -imgsz // 2)  # what RandomPerspective cuts off on each side: height, width

    def get_indexes(self, labels: Sample | None = None) -> list[int]:
        """Choose the indices of the three other images."""
        return self.partners(labels, self.n - 1)

    def with_others(self, labels: Sample) -> Sample:
        rng, s = generator(labels), self.imgsz
        labels["mosaic_center"] = tuple(int(rng.uniform(s / 2, 3 * s / 2)) for _ in range(2))  # y, x
        return super().with_others(labels)

    def _mix_transform(self, labels: Sample) -> Sample:
        s, (yc, xc) = self.imgsz, labels.pop("mosaic_center")
        tiles, corners, parts = [], [], [labels, *labels["mix_labels"]]
        for i, part in enumerate(parts):
            img = part["img"]
            h, w = img.shape[:2]
            x, y = (xc - w, xc)[i % 2], (yc - h, yc)[i // 2]  # the image's top left corner, perhaps off the canvas
            x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, 2 * s), min(y + h, 2 * s)
            tiles.append((img[y1 - y : y2 - y, x1 - x : x2 - x], x1, y1))
            corners += [(x, y)] * len(part["cls"])
        cut = crop(shift(join(parts), np.array(corners, np.float64).reshape(-1, 2)), (2 * s, 2 * s))
        boxes = cut["bboxes"]
        labels.pop("ratio_pad", None)
        return (
            labels
            | select(cut, (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
            | {
                "img": Canvas((2 * s, 2 * s, 3), tiles),
                "resized_shape": (2 * s, 2 * s),
                "mosaic_border": self.border,
            }
        )


@ours
class RandomPerspective:
    """Rotate, scale, shear, shift and tilt an image and its objects by random amounts.

    Args:
        degrees: rotation within -degrees..degrees.
        translate: shift within this fraction of the size.
        scale: gain within 1 - scale..1 + scale.
        shear: within -shear..shear degrees.
        perspective: tilt within -perspective..perspective, 0 to 0.001.
        border: (vertical, horizontal) pixels added on each side; a mosaic brings its own.
        pre_transform: applied first to samples that are not mosaics.

    Attributes:
        size: (w, h) of the latest result, for overrides of the methods below, which are those of 8.3.0.
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
        self.size = (0, 0)

    def __call__(self, labels: Sample) -> Sample:
        labels = flat(labels)
        if self.pre_transform and "mosaic_border" not in labels:
            labels = flat(self.pre_transform(labels))
        labels.pop("ratio_pad", None)  # no single ratio leads back to the original image
        border = labels.pop("mosaic_border", self.border)
        h, w = labels["img"].shape[:2]
        self.size = w + 2 * border[1], h + 2 * border[0]
        img, matrix, gain = call_override(self.affine_transform, labels["img"], border, rng=generator(labels))
        new, bboxes, size = objects_of(labels), labels["bboxes"], (img.shape[1], img.shape[0])
        if "segments" in labels:
            new["bboxes"], new["segments"] = call_override(self.apply_segments, new["segments"], matrix, size=size)
        else:
            new["bboxes"] = self.apply_bboxes(bboxes, matrix).clip(0, np.array(size * 2, np.float32))
        if "keypoints" in labels:
            new["keypoints"] = call_override(self.apply_keypoints, new["keypoints"], matrix, size=size)
        least = 0.01 if "segments" in labels else 0.1  # a polygon's box fits what is left of it, so less is enough
        keep = self.box_candidates((bboxes * gain).T, new["bboxes"].T, area_thr=least)
        return labels | select(new, keep) | {"img": img, "resized_shape": img.shape[:2]}

    def affine_transform(
        self, img: np.ndarray | Canvas, border: tuple[int, int], rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Warp an image at random; return it, the 3x3 matrix, and its gain."""
        h, w = img.shape[:2]
        size = w + 2 * border[1], h + 2 * border[0]
        matrix, gain = self.draw(np.random.default_rng() if rng is None else rng, (w, h), size)
        if size == (w, h) and np.array_equal(matrix, np.eye(3)):
            img = img.paint() if isinstance(img, Canvas) else img
        elif is_upright(matrix):
            img, matrix = scale(img, matrix, size)
        else:
            img = warp(img, matrix, size)
        return img, matrix, gain

    def apply_bboxes(self, bboxes: np.ndarray, M: np.ndarray) -> np.ndarray:
        """Return the upright boxes (n, 4) xyxy around transformed ones."""
        return warp_boxes(bboxes, M)

    def apply_segments(
        self, segments: Sequence[np.ndarray], M: np.ndarray, size: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Transform polygons (m, 2); return the boxes (n, 4) of what is seen of them, and the polygons."""
        return project_segments(segments, M, size or self.size)

    def apply_keypoints(self, keypoints: np.ndarray, M: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """Transform keypoints (n, k, 3); those that leave the image become invisible."""
        return project_keypoints(keypoints, M, size or self.size)

    def box_candidates(
        self,
        box1: np.ndarray,
        box2: np.ndarray,
        wh_thr: float = 2,
        ar_thr: float = 100,
        area_thr: float = 0.1,
        eps: float = 1e-16,
    ) -> np.ndarray:
        """Return which objects to keep (n,), by their boxes (4, n) before and after; see `instances.box_candidates`."""
        return box_candidates(box1.T, box2.T, wh_thr, ar_thr, area_thr, eps)

    def draw(self, rng: np.random.Generator, old: tuple[int, int], new: tuple[int, int]) -> tuple[np.ndarray, float]:
        """Draw a random 3x3 matrix from an image of (w, h) `old` to one of `new`; return it and its gain."""
        drawn = (2 * rng.random(8) - 1).tolist()
        tilt_x, tilt_y = self.perspective * drawn[0], self.perspective * drawn[1]
        angle, gain = math.radians(self.degrees * drawn[2]), 1 + self.scale * drawn[3]
        shear_x, shear_y = (math.tan(math.radians(self.shear * share)) for share in drawn[4:6])
        x, y = (side * (0.5 + self.translate * share) for side, share in zip(new, drawn[6:]))
        cos, sin, (w, h) = gain * math.cos(angle), gain * math.sin(angle), old
        depth = 1 - (tilt_x * w + tilt_y * h) / 2
        center_and_tilt = np.array([(1, 0, -w / 2), (0, 1, -h / 2), (tilt_x, tilt_y, depth)])
        turn = np.array([(cos, sin, 0), (-sin, cos, 0), (0, 0, 1)])
        shear_and_shift = np.array([(1, shear_x, x), (shear_y, 1, y), (0, 0, 1)])
        return shear_and_shift @ turn @ center_and_tilt, gain


@ours
class MixUp(BaseMixTransform):
    """Blend a sample with another one at a ratio from Beta(32, 32), keeping the objects of both.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, arXiv 1710.09412.
    """

    def get_indexes(self, labels: Sample | None = None) -> int:
        """Choose the index of the other sample."""
        return self.partners(labels, 1)[0]

    def _mix_transform(self, labels: Sample) -> Sample:
        (other,), ratio = labels["mix_labels"], generator(labels).beta(32.0, 32.0)
        labels["img"] = cv2.addWeighted(labels["img"], ratio, other["img"], 1 - ratio, 0)
        return labels | join([labels, other])


@ours
class CopyPaste(BaseMixTransform):
    """Paste objects with polygons where they hide little of the others.

    Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation, arXiv 2012.07177.

    Args:
        dataset: where mode 'mixup' takes its other images from.
        pre_transform: applied to those.
        p: fraction of the objects that are pasted; in mode 'mixup' also the probability of pasting at all.
        mode: 'flip' pastes the image's own objects mirrored, 'mixup' those of another image.
    """

    def __init__(
        self,
        dataset: SampleSource | None = None,
        pre_transform: Callable | None = None,
        p: float = 0.5,
        mode: str = "flip",
    ):
        if mode not in {"flip", "mixup"}:
            raise ConfigError(f"copy_paste_mode={mode} is not allowed; give flip or mixup.")
        super().__init__(dataset, pre_transform, p)
        self.mode = mode

    def __call__(self, labels: Sample) -> Sample:
        labels = flat(labels)
        if "segments" not in labels:
            return labels
        if self.mode == "mixup":
            return super().__call__(labels)
        if self.p <= 0:
            return labels
        return self._paste(labels, labels | mirror(labels, 0, labels["img"].shape[1]), mirrored=True)

    def get_indexes(self, labels: Sample | None = None) -> int:
        """Choose the index of the other sample."""
        return self.partners(labels, 1)[0]

    def fetch(self, index: int, labels: Sample) -> Sample:
        """Return another sample, to be brought into the frame of this sample's batch, not that of its own."""
        return super().fetch(index, labels) | {"rect_shape": labels["img"].shape[:2]}

    def _mix_transform(self, labels: Sample) -> Sample:
        return self._paste(labels, labels["mix_labels"][0])

    def _paste(self, labels: Sample, other: Sample, mirrored: bool = False) -> Sample:
        """Paste the fraction p of the other sample's objects that hide the least, and less than 30 % of any object."""
        if not len(other["bboxes"]):
            return labels
        hidden = bbox_ioa(other["bboxes"], labels["bboxes"]).max(1, initial=0.0)
        free = np.flatnonzero(hidden < 0.3)
        chosen = free[np.argsort(hidden[free], kind="stable")][: round(self.p * len(free))]
        if not len(chosen):
            return labels
        img, source = np.array(labels["img"]), np.asarray(other["img"])
        source = cv2.flip(source, 1) if mirrored else source
        pasted, stencil = select(other, chosen), np.zeros(img.shape[:2], np.uint8)
        for polygon in pasted["segments"]:
            cv2.fillPoly(stencil, [polygon.astype(np.int32)], 1)
        cv2.copyTo(source, stencil, img)
        return labels | join([labels, pasted]) | {"img": img}


@ours
class RandomHSV:
    """Shift hue and scale saturation and value, each by a random gain within 1 - gain..1 + gain."""

    def __init__(self, hgain: float = 0.5, sgain: float = 0.5, vgain: float = 0.5):
        self.hgain, self.sgain, self.vgain = hgain, sgain, vgain
        self._ramp = np.arange(256, dtype=np.float64)

    def __call__(self, labels: Sample) -> Sample:
        if not (self.hgain or self.sgain or self.vgain):
            return labels
        h, s, v = generator(labels).uniform(-1, 1, 3) * (self.hgain, self.sgain, self.vgain) + 1
        x = self._ramp
        table = np.stack([(x * h) % 180, (x * s).clip(0, 255), (x * v).clip(0, 255)], -1).astype(np.uint8)[None]
        hsv = cv2.LUT(cv2.cvtColor(labels["img"], cv2.COLOR_BGR2HSV), table)
        labels["img"] = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        return labels


@ours
class RandomFlip:
    """Mirror a sample with probability p.

    Args:
        p: probability.
        direction: 'horizontal' (left and right change places) or 'vertical'.
        flip_idx: for each keypoint the one that takes its place in the mirrored image.
    """

    def __init__(self, p: float = 0.5, direction: str = "horizontal", flip_idx: Sequence[int] | None = None):
        if direction not in {"horizontal", "vertical"}:
            raise ConfigError(f"A flip is 'horizontal' or 'vertical', not '{direction}'.")
        self.p, self.direction, self.flip_idx = p, direction, flip_idx

    def __call__(self, labels: Sample) -> Sample:
        labels = flat(labels)
        if self.p <= 0 or generator(labels).random() >= self.p:
            return labels
        img, axis = labels["img"], int(self.direction == "vertical")  # 0: x changes, 1: y changes
        turned = mirror(labels, axis, img.shape[1 - axis], self.flip_idx)
        return labels | turned | {"img": cv2.flip(img, 1 - axis)}


@ours
class Format:
    """Turn a sample into tensors that can be collated: img (3, h, w) uint8 RGB, boxes as normalised xywh.

    The tensor is a view of the (h, w, 3) array, so that a batch is channels-last in memory and nothing is transposed.
    Keys of a sample that are none of this package's own stay as they are.

    Args:
        bbox_format: xywh, xyxy or ltwh.
        normalize: boxes and keypoints become fractions of the image; else they stay in pixels.
        return_mask: add `masks`, (1, h / ratio, w / ratio) of 0 or 1 + index of the object, the largest object first.
        return_keypoint: add `keypoints` (n, k, 3): x and y, and visibility 0, 1 or 2.
        return_obb: boxes are (n, 5), the smallest rectangles around the polygons: xywh and radians.
        mask_ratio: how many times smaller than the image masks are.
        mask_overlap: merge the masks of an image into one map; else `masks` is (n, h / ratio, w / ratio) of 0 and 1.
        batch_idx: add `batch_idx` (n,), which is 0 until samples are joined.
        bgr: probability of leaving the channels in the order BGR.
        cut_obb: clip polygons at the border before rectangles are fitted; else these may extend beyond the image.
    """

    def __init__(
        self,
        bbox_format: str = "xywh",
        normalize: bool = True,
        return_mask: bool = False,
        return_keypoint: bool = False,
        return_obb: bool = False,
        mask_ratio: int = 4,
        mask_overlap: bool = True,
        batch_idx: bool = True,
        bgr: float = 0.0,
        cut_obb: bool = True,
    ):
        self.bbox_format, self.normalize, self.batch_idx = bbox_format, normalize, batch_idx
        self.bgr, self.mask_ratio, self.mask_overlap, self.cut_obb = bgr, mask_ratio, mask_overlap, cut_obb
        self.return_mask, self.return_keypoint, self.return_obb = return_mask, return_keypoint, return_obb

    def __call__(self, labels: Sample) -> Sample:
        labels = flat(labels)
        img = labels["img"]
        swapped = self.bgr > 0 and generator(labels).random() < self.bgr
        pixels = np.array(img) if swapped else cv2.cvtColor(np.asarray(img), cv2.COLOR_BGR2RGB)
        h, w = pixels.shape[:2]
        sample: Sample = {k: v for k, v in labels.items() if k not in _CONSUMED}
        sample["img"] = torch.from_numpy(pixels).permute(2, 0, 1)
        objects, size = objects_of(labels), (w, h)
        if self.return_mask:
            masks, objects = self._masks(objects, (h, w))
            sample["masks"] = torch.from_numpy(masks)
        if self.return_keypoint:
            points = objects["keypoints"] / np.array((*size, 1) if self.normalize else 1, np.float32)
            sample["keypoints"] = torch.from_numpy(points)
        boxes = self._rotated_boxes(objects, size) if self.return_obb else self._boxes(objects["bboxes"])
        boxes[:, :4] /= size * 2 if self.normalize else 1
        if self.batch_idx:
            sample["batch_idx"] = torch.zeros(len(boxes))
        return sample | {
            "cls": torch.from_numpy(np.array(objects["cls"], np.float32)).reshape(-1, 1),
            "bboxes": torch.from_numpy(boxes.astype(np.float32)).reshape(-1, 5 if self.return_obb else 4),
        }

    def _boxes(self, xyxy: np.ndarray) -> np.ndarray:
        """Return boxes (n, 4) xyxy in the format wanted."""
        if self.bbox_format == "xywh":
            return np.concatenate([(xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]], 1)
        boxes = Bboxes(xyxy.copy(), "xyxy")
        boxes.convert(self.bbox_format)
        return boxes.bboxes

    def _rotated_boxes(self, objects: Sample, size: tuple[int, int]) -> np.ndarray:
        """Return the rectangles (n, 5) around the polygons."""
        polygons: list[np.ndarray] = (crop(objects, size) if self.cut_obb else objects)["segments"]
        return xyxyxyxy2xywhr(polygons)

    def _masks(self, objects: Sample, size: tuple[int, int]) -> tuple[np.ndarray, Sample]:
        """Return the masks of objects in an image of (h, w), and the objects in the order of their masks."""
        if not self.mask_overlap:
            return polygons2masks(size, objects["segments"], downsample_ratio=self.mask_ratio), objects
        union, order = polygons2masks_overlap(size, objects["segments"], self.mask_ratio)
        return union[None], select(objects, order)


_CONSUMED = {*FIELDS, "img", "rng", "epoch", "index", "rect_shape", "mosaic_border"}  # what `Format` does not pass on


def v8_transforms(dataset: SampleSource, imgsz: int, hyp: SimpleNamespace, stretch: bool = False) -> Compose:
    """Build the training transforms, all but `Format`.

    Args:
        dataset: where mosaic and mixup take their other samples from; has `data` where keypoints are mirrored.
        imgsz: side of the training image.
        hyp: settings with the strength of each augmentation.
        stretch: the samples are already square; no letterbox.
    """
    mosaic = Mosaic(dataset, imgsz=imgsz, p=hyp.mosaic)
    perspective = RandomPerspective(
        degrees=hyp.degrees,
        translate=hyp.translate,
        scale=hyp.scale,
        shear=hyp.shear,
        perspective=hyp.perspective,
        pre_transform=None if stretch else LetterBox((imgsz, imgsz)),
    )
    geometry = Compose([mosaic, perspective])
    if hyp.copy_paste > 0 and hyp.copy_paste_mode == "flip":
        geometry.insert(1, CopyPaste(p=hyp.copy_paste))
    elif hyp.copy_paste > 0:
        geometry.append(CopyPaste(dataset, Compose([mosaic, perspective]), hyp.copy_paste, hyp.copy_paste_mode))
    flips, flip_idx = _flips(dataset, hyp)
    pixels = Albumentations(p=1.0)
    return Compose([
        geometry,
        MixUp(dataset, pre_transform=geometry, p=hyp.mixup),
        *([pixels] if pixels.transform else []),
        RandomHSV(hyp.hsv_h, hyp.hsv_s, hyp.hsv_v),
        RandomFlip(flips[0], "vertical", flip_idx),
        RandomFlip(flips[1], "horizontal", flip_idx),
    ])  # fmt: skip


def _flips(dataset: SampleSource, hyp: SimpleNamespace) -> tuple[tuple[float, float], list[int]]:
    """Return the probabilities of vertical and horizontal flips, and `flip_idx`, without which keypoints never flip."""
    flips = (hyp.flipud, hyp.fliplr)
    if not getattr(dataset, "use_keypoints", False):
        return flips, []
    data: dict = getattr(dataset, "data", {})
    flip_idx = list(data.get("flip_idx") or [])
    if not flip_idx and any(flips):
        LOGGER.warning(
            "WARNING ⚠️ The data have no `flip_idx`, which says how keypoints change places in a mirror, so images "
            "are not flipped (fliplr=0, flipud=0). Add it to the data YAML, as `flip_idx: [0, 2, 1]`."
        )
        flips = (0.0, 0.0)
    if flip_idx and len(flip_idx) != data["kpt_shape"][0]:
        raise DataError(
            f"`flip_idx` has {len(flip_idx)} entries and `kpt_shape` says {data['kpt_shape'][0]} keypoints; "
            "give one entry for each keypoint."
        )
    return flips, flip_idx
