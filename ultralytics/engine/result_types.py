"""The parts of a prediction: boxes, masks, keypoints, class probabilities and rotated boxes of one image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch

from ultralytics.utils import ops
from ultralytics.utils.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

Array = torch.Tensor | np.ndarray
Index = int | slice | list[int] | list[bool] | torch.Tensor | np.ndarray
A = TypeVar("A", torch.Tensor, np.ndarray, torch.Tensor | np.ndarray)


def _shares(points: A, orig_shape: tuple[int, int]) -> A:
    """Scale coordinates (..., x, y, x, y, ...) in pixels to shares of the image."""
    size = tuple(orig_shape[1::-1]) * (points.shape[-1] // 2)
    return points / (np.array(size, points.dtype) if isinstance(points, np.ndarray) else points.new_tensor(size))


class BaseTensor:
    """Values of n objects (`data`, first dimension n; tensor or array) and the (h, w) of their image."""

    def __init__(self, data: Array, orig_shape: tuple[int, int]):
        if not isinstance(data, (torch.Tensor, np.ndarray)):
            raise DataError(f"{type(self).__name__} takes a tensor or an array, but a {type(data).__name__} was given.")
        self.data = data
        self.orig_shape = orig_shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def cpu(self) -> Self:
        """Return a copy in main memory."""
        return self if isinstance(self.data, np.ndarray) else type(self)(self.data.cpu(), self.orig_shape)

    def numpy(self) -> Self:
        """Return a copy that holds an array."""
        return self if isinstance(self.data, np.ndarray) else type(self)(self.data.cpu().numpy(), self.orig_shape)

    def cuda(self) -> Self:
        """Return a copy on the GPU."""
        return type(self)(torch.as_tensor(self.data).cuda(), self.orig_shape)

    def to(self, *args, **kwargs) -> Self:
        """Return a copy on another device or of another type, as `torch.Tensor.to` does."""
        return type(self)(torch.as_tensor(self.data).to(*args, **kwargs), self.orig_shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, idx: Index) -> Self:
        """Return the objects that an index, a slice, a list or a mask selects."""
        return type(self)(self.data[idx], self.orig_shape)

    def __iter__(self) -> Iterator[Self]:
        return (self[i : i + 1] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, orig_shape={tuple(self.orig_shape)})\n{self.data}"


class _Rows(BaseTensor):
    """One row an object: coordinates, [track id], confidence, class. `layout` names the coordinates."""

    layout: tuple[str, ...] = ()

    def __init__(self, boxes: Array, orig_shape: tuple[int, int]):
        super().__init__(boxes, orig_shape)
        if boxes.ndim == 1:
            self.data = boxes = boxes[None]
        width = len(self.layout) + 2
        if boxes.ndim != 2 or boxes.shape[1] not in (width, width + 1):
            raise DataError(
                f"{type(self).__name__} of shape {tuple(boxes.shape)} were given. Allowed are (n, {width}) with "
                f"{', '.join(self.layout)}, confidence, class, and (n, {width + 1}) with a track id before the "
                "confidence."
            )
        self.is_track = boxes.shape[1] == width + 1

    @property
    def conf(self) -> Array:
        """(n,) confidences in 0..1."""
        return self.data[:, -2]

    @property
    def cls(self) -> Array:
        """(n,) classes, as floats."""
        return self.data[:, -1]

    @property
    def id(self) -> Array | None:
        """(n,) track ids, or None where nothing was tracked."""
        return self.data[:, -3] if self.is_track else None


class Boxes(_Rows):
    """Boxes of one image.

    Args:
        boxes: (n, 6) x1, y1, x2, y2 in pixels, confidence, class; or (n, 7) with a track id before the confidence.
            One box may come as (6,) or (7,).
        orig_shape: (h, w) of the image.

    Raises:
        DataError: the shape is another.
    """

    layout = ("x1", "y1", "x2", "y2")

    @property
    def xyxy(self) -> Array:
        """(n, 4) corners, pixels."""
        return self.data[:, :4]

    @property
    def xywh(self) -> Array:
        """(n, 4) centre and size, pixels."""
        return ops.xyxy2xywh(cast(np.ndarray, self.xyxy))  # or a tensor, which gives a tensor

    @property
    def xyxyn(self) -> Array:
        """(n, 4) corners as shares of the image."""
        return _shares(self.xyxy, self.orig_shape)

    @property
    def xywhn(self) -> Array:
        """(n, 4) centre and size as shares of the image."""
        return _shares(self.xywh, self.orig_shape)


class OBB(_Rows):
    """Rotated boxes of one image.

    Args:
        boxes: (n, 7) centre x, y, width, height in pixels, angle in radians, confidence, class; or (n, 8) with a track
            id before the confidence. One box may come as (7,) or (8,).
        orig_shape: (h, w) of the image.

    Raises:
        DataError: the shape is another.
    """

    layout = ("x", "y", "w", "h", "angle")

    @property
    def xywhr(self) -> Array:
        """(n, 5) centre and size in pixels, angle in radians."""
        return self.data[:, :5]

    @property
    def xyxyxyxy(self) -> Array:
        """(n, 4, 2) corners, pixels."""
        return ops.xywhr2xyxyxyxy(cast(np.ndarray, self.xywhr))  # or a tensor, which gives a tensor

    @property
    def xyxyxyxyn(self) -> Array:
        """(n, 4, 2) corners as shares of the image."""
        return _shares(self.xyxyxyxy, self.orig_shape)

    @property
    def xyxy(self) -> Array:
        """(n, 4) upright boxes around them, pixels."""
        corners = self.xyxyxyxy
        if isinstance(corners, np.ndarray):
            return np.concatenate((corners.min(1), corners.max(1)), 1)
        return torch.cat((corners.amin(1), corners.amax(1)), 1)


class Masks(BaseTensor):
    """Masks of the objects of one image.

    Args:
        masks: (n, h, w) of 0 and 1, of the letterboxed image or of the image itself. One mask may come as (h, w).
        orig_shape: (h, w) of the image.
    """

    def __init__(self, masks: Array, orig_shape: tuple[int, int]):
        super().__init__(masks, orig_shape)
        if masks.ndim == 2:
            self.data = masks = masks[None]
        if masks.ndim != 3:
            raise DataError(f"Masks of shape {tuple(masks.shape)} were given. Allowed are (n, height, width).")

    @cached_property
    def xy(self) -> list[np.ndarray]:
        """The outline (points, 2) of each mask, in pixels of the image."""
        shape = self.shape[1:]
        return [ops.scale_coords(shape, outline, self.orig_shape) for outline in ops.masks2segments(self.data)]

    @cached_property
    def xyn(self) -> list[np.ndarray]:
        """The outline (points, 2) of each mask, as shares of the image."""
        return [_shares(outline, self.orig_shape) for outline in self.xy]


class Keypoints(BaseTensor):
    """Keypoints of the objects of one image.

    Args:
        keypoints: (n, k, 2) x, y in pixels, or (n, k, 3) with a confidence; points below 0.5 are moved to (0, 0).
            One object may come as (k, 2) or (k, 3).
        orig_shape: (h, w) of the image.
    """

    def __init__(self, keypoints: Array, orig_shape: tuple[int, int]):
        super().__init__(keypoints, orig_shape)
        if keypoints.ndim == 2:
            keypoints = keypoints[None]
        if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3):
            raise DataError(
                f"Keypoints of shape {tuple(keypoints.shape)} were given. "
                "Allowed are (n, k, 2) with x, y, and (n, k, 3) with x, y, confidence."
            )
        self.has_visible = keypoints.shape[2] == 3
        if self.has_visible:
            keypoints = keypoints.clone() if isinstance(keypoints, torch.Tensor) else keypoints.copy()
            keypoints[..., :2][keypoints[..., 2] < 0.5] = 0
        self.data = keypoints

    @property
    def xy(self) -> Array:
        """(n, k, 2) pixels; (0, 0) is a point that is not visible."""
        return self.data[..., :2]

    @property
    def xyn(self) -> Array:
        """(n, k, 2) as shares of the image."""
        return _shares(self.xy, self.orig_shape)

    @property
    def conf(self) -> Array | None:
        """(n, k) confidences in 0..1, or None where the model gives none."""
        return self.data[..., 2] if self.has_visible else None


class Probs(BaseTensor):
    """Class probabilities of one image: (nc,), summing to 1."""

    def __init__(self, probs: Array, orig_shape: tuple[int, int] | None = None):
        super().__init__(probs, cast("tuple[int, int]", orig_shape))  # None: not needed here

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)})\n{self.data}"

    @property
    def top1(self) -> int:
        """The most probable class."""
        return int(self.data.argmax())

    @property
    def top5(self) -> list[int]:
        """The five most probable classes, best first; fewer if the model has fewer."""
        return (-self.data).argsort()[:5].tolist()

    @property
    def top1conf(self) -> Array:
        """The probability of the most probable class."""
        return self.data[self.top1]

    @property
    def top5conf(self) -> Array:
        """(5,) the probabilities of `top5`."""
        return self.data[self.top5]
