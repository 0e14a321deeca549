"""The objects of an image as transforms written for 8.3.0 take them, `labels["instances"]`, and boxes with a format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.geometry.boxes import (
    ltwh2xywh,
    ltwh2xyxy,
    resample_segments,
    xywh2ltwh,
    xywh2xyxy,
    xyxy2ltwh,
    xyxy2xywh,
)

__all__ = ("Bboxes", "Instances", "to_2tuple", "to_4tuple")

FORMATS = ("xyxy", "xywh", "ltwh")
POINTS = 1000  # of a polygon in `Instances`, where all have equally many
_CONVERT = {
    ("xyxy", "xywh"): xyxy2xywh,
    ("xyxy", "ltwh"): xyxy2ltwh,
    ("xywh", "xyxy"): xywh2xyxy,
    ("xywh", "ltwh"): xywh2ltwh,
    ("ltwh", "xyxy"): ltwh2xyxy,
    ("ltwh", "xywh"): ltwh2xywh,
}


def to_2tuple(x: float | Iterable[float]) -> Iterable[float]:
    """Return a number twice, and several as they are."""
    return x if isinstance(x, Iterable) else (x,) * 2


def to_4tuple(x: float | Iterable[float]) -> Iterable[float]:
    """Return a number four times, and several as they are."""
    return x if isinstance(x, Iterable) else (x,) * 4


class Bboxes:
    """Boxes (n, 4) and their format: xyxy (corners), xywh (centre and size) or ltwh (top left corner and size).

    Raises:
        ConfigError: there is no such format.
        DataError: the boxes are not (n, 4) or (4,).
    """

    def __init__(self, bboxes: np.ndarray, format: str = "xyxy"):
        _check_format(format)
        bboxes = bboxes[None] if bboxes.ndim == 1 else bboxes
        if bboxes.ndim != 2 or bboxes.shape[1] != 4:
            raise DataError(f"Boxes of shape {bboxes.shape} are not possible; (n, 4) is wanted.")
        self.bboxes, self.format = bboxes, format

    def convert(self, format: str) -> None:
        """Change to another format."""
        _check_format(format)
        if format != self.format:
            self.bboxes, self.format = _CONVERT[self.format, format](self.bboxes), format

    def areas(self) -> np.ndarray:
        """Return the areas (n,)."""
        w, h = (self.bboxes[:, 2:] - (self.bboxes[:, :2] if self.format == "xyxy" else 0)).T
        return w * h

    def mul(self, scale: float | Sequence[float]) -> None:
        """Multiply the four columns, each by its own number or all by one."""
        self.bboxes = self.bboxes * _like(self.bboxes, to_4tuple(scale))

    def add(self, offset: float | Sequence[float]) -> None:
        """Add to the four columns, to each its own number or to all the same."""
        self.bboxes = self.bboxes + _like(self.bboxes, to_4tuple(offset))

    def __len__(self) -> int:
        return len(self.bboxes)

    def __getitem__(self, index: int | slice | np.ndarray) -> Bboxes:
        return type(self)(self.bboxes[index], self.format)

    @classmethod
    def concatenate(cls, boxes_list: Sequence[Bboxes], axis: int = 0) -> Bboxes:
        """Join several, in the format of the first."""
        if not boxes_list:
            return cls(np.zeros((0, 4), np.float32))
        return cls(np.concatenate([b.bboxes for b in boxes_list], axis), boxes_list[0].format)


class Instances:
    """The objects of an image: boxes and, where the task has them, polygons and keypoints.

    Args:
        bboxes: (n, 4).
        segments: (n, m, 2), or (0, m, 2) where the task has none.
        keypoints: (n, k, 3) x, y and visibility, or None.
        bbox_format: xyxy, xywh or ltwh.
        normalized: all coordinates are fractions of the image, not pixels.
    """

    def __init__(
        self,
        bboxes: np.ndarray,
        segments: np.ndarray | Sequence[np.ndarray] | None = None,
        keypoints: np.ndarray | None = None,
        bbox_format: str = "xywh",
        normalized: bool = True,
    ):
        self._bboxes, self.keypoints, self.normalized = Bboxes(bboxes, bbox_format), keypoints, normalized
        self.segments = _of_one_length(segments)

    @property
    def bboxes(self) -> np.ndarray:
        """The boxes (n, 4), in the format of the last `convert_bbox`."""
        return self._bboxes.bboxes

    @property
    def bbox_areas(self) -> np.ndarray:
        """Areas of the boxes (n,)."""
        return self._bboxes.areas()

    def convert_bbox(self, format: str) -> None:
        """Change the format of the boxes."""
        self._bboxes.convert(format)

    def scale(self, scale_w: float, scale_h: float, bbox_only: bool = False) -> None:
        """Multiply coordinates by the gain of the width and that of the height."""
        self._bboxes.mul((scale_w, scale_h, scale_w, scale_h))
        if not bbox_only:
            self._move((scale_w, scale_h), (0, 0))

    def denormalize(self, w: int, h: int) -> None:
        """Turn fractions of an image into its pixels; pixels stay."""
        if self.normalized:
            self.scale(w, h)
            self.normalized = False

    def normalize(self, w: int, h: int) -> None:
        """Turn pixels of an image into fractions; fractions stay."""
        if not self.normalized:
            self.scale(1 / w, 1 / h)
            self.normalized = True

    def add_padding(self, padw: int, padh: int) -> None:
        """Shift everything by pixels.

        Raises:
            ConfigError: the coordinates are fractions of the image.
        """
        if self.normalized:
            raise ConfigError(
                "Padding is counted in pixels, but these objects are normalised: denormalize(w, h) first."
            )
        moves_size = self._bboxes.format == "xyxy"  # the second corner moves, a size does not
        self._bboxes.add((padw, padh, padw * moves_size, padh * moves_size))
        self._move((1, 1), (padw, padh))

    def flipud(self, h: float) -> None:
        """Mirror upside down, in an image of this height (1 if normalised)."""
        self._mirror(1, h)

    def fliplr(self, w: float) -> None:
        """Mirror left and right, in an image of this width (1 if normalised)."""
        self._mirror(0, w)

    def clip(self, w: int, h: int) -> None:
        """Move what lies outside an image to its border."""
        format, limit = self._bboxes.format, (w, h)
        self.convert_bbox("xyxy")
        self._bboxes.bboxes = self.bboxes.clip(0, _like(self.bboxes, limit * 2))
        self.convert_bbox(format)
        self.segments = self.segments.clip(0, _like(self.segments, limit))
        if self.keypoints is not None:
            inside = self.keypoints.copy()
            inside[..., :2] = inside[..., :2].clip(0, _like(inside, limit))
            self.keypoints = inside

    def remove_zero_area_boxes(self) -> np.ndarray:
        """Drop the objects whose boxes have no area; return a mask (n,) of those that are kept."""
        good = self.bbox_areas > 0
        if not good.all():
            kept = self[good]
            self._bboxes, self.segments, self.keypoints = kept._bboxes, kept.segments, kept.keypoints
        return good

    def update(
        self,
        bboxes: np.ndarray,
        segments: np.ndarray | Sequence[np.ndarray] | None = None,
        keypoints: np.ndarray | None = None,
    ) -> None:
        """Replace the boxes, which have the present format, and polygons and keypoints where they are given."""
        self._bboxes = Bboxes(bboxes, self._bboxes.format)
        if segments is not None:
            self.segments = _of_one_length(segments)
        if keypoints is not None:
            self.keypoints = keypoints

    def __len__(self) -> int:
        return len(self._bboxes)

    def __getitem__(self, index: int | slice | np.ndarray) -> Instances:
        segments = self.segments[index] if len(self.segments) else self.segments
        keypoints = None if self.keypoints is None else self.keypoints[index]
        if isinstance(index, (int, np.integer)):  # one object is still a list of objects
            segments = segments[None] if len(self.segments) else segments
            keypoints = None if keypoints is None else keypoints[None]
        return type(self)(self.bboxes[index], segments, keypoints, self._bboxes.format, self.normalized)

    @classmethod
    def concatenate(cls, instances_list: Sequence[Instances], axis: int = 0) -> Instances:
        """Join several, which must agree in format and normalisation."""
        if not instances_list:
            return cls(np.zeros((0, 4), np.float32))
        first = instances_list[0]
        parts = [part for each in instances_list for part in each.segments]
        points = None
        if first.keypoints is not None:
            points = np.concatenate([each.keypoints for each in instances_list if each.keypoints is not None], axis)
        boxes = np.concatenate([each.bboxes for each in instances_list], axis)
        return cls(boxes, parts or first.segments, points, first._bboxes.format, first.normalized)

    def _move(self, gain: tuple[float, float], shift: tuple[float, float]) -> None:
        """Scale, then shift polygons and keypoints."""
        self.segments = self.segments * _like(self.segments, gain) + _like(self.segments, shift)
        if self.keypoints is not None:
            moved = self.keypoints.copy()
            moved[..., :2] = moved[..., :2] * _like(moved, gain) + _like(moved, shift)
            self.keypoints = moved

    def _mirror(self, axis: int, length: float) -> None:
        """Mirror along x (axis 0) or y (axis 1)."""
        boxes, format = self.bboxes.copy(), self._bboxes.format
        if format == "xyxy":
            boxes[:, [axis, axis + 2]] = length - boxes[:, [axis + 2, axis]]
        else:
            boxes[:, axis] = length - boxes[:, axis] - (boxes[:, axis + 2] if format == "ltwh" else 0)
        self._bboxes.bboxes = boxes
        self._move((1 - 2 * (axis == 0), 1 - 2 * (axis == 1)), (length * (axis == 0), length * (axis == 1)))


def _check_format(format: str) -> None:
    if format not in FORMATS:
        raise ConfigError(f"'{format}' is not a format of boxes; give {', '.join(FORMATS)}.")


def _like(array: np.ndarray, values: Iterable[float]) -> np.ndarray:
    """Return numbers in the type of an array, so that a product keeps it."""
    return np.asarray(tuple(values), array.dtype if array.dtype.kind == "f" else np.float32)


def _of_one_length(segments: np.ndarray | Sequence[np.ndarray] | None) -> np.ndarray:
    """Return polygons as one array (n, m, 2); those of several lengths are resampled to the longest."""
    if segments is None or not len(segments):
        return np.zeros((0, POINTS, 2), np.float32) if not isinstance(segments, np.ndarray) else segments
    if isinstance(segments, np.ndarray):
        return segments
    longest = max(map(len, segments))
    same = all(len(s) == longest for s in segments)
    return np.stack(list(segments) if same else resample_segments(segments, longest))
