"""Samples, batches, and the objects of a sample: boxes, classes and, where the task has them, polygons and keypoints.

A sample holds `cls` (n, 1), `bboxes` (n, 4) xyxy, and perhaps `segments`, a list of n polygons (m, 2), and
`keypoints` (n, k, 3) of x, y and visibility (0: absent, 1: hidden, 2: visible). All are float32, in pixels of the
image. Polygons are stored as corners only: straight sides stay straight under every transform here. Each function
takes a sample and returns a new dict of its objects only; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from ultralytics.data.canvas import is_upright
from ultralytics.utils.errors import DataError
from ultralytics.utils.instance import POINTS, Instances
from ultralytics.utils.ops import resample_segments

Sample = dict[str, Any]  # one image on its way through the transforms (see `augment`), or what `Format` makes of it
Batch = dict[str, Any]  # samples joined by a dataset's `collate_fn`

FIELDS = ("cls", "bboxes", "segments", "keypoints")
_MARGIN = 16.0  # pixels around the image at which polygons are clipped, so that the new edges do not show in masks


class Labels(Sample):
    """A sample that transforms written for 8.3.0 can read as well: `labels["instances"]` is an `Instances`.

    From the moment that it is asked for, it holds the objects in place of `bboxes`, `segments` and `keypoints`; `flat`
    turns it back.
    """

    def __missing__(self, key: str) -> Instances:
        if key != "instances" or "bboxes" not in self:
            raise KeyError(key)
        segments = super().pop("segments", None)
        if segments:  # of one length, as in 8.3.0
            segments = np.stack(resample_segments(segments, max(POINTS, 1 + max(map(len, segments)))))
        found = Instances(super().pop("bboxes"), segments, super().pop("keypoints", None), "xyxy", normalized=False)
        self[key] = found
        return found

    def __or__(self, other: Sample) -> Labels:  # type: ignore[override]  # a sample stays one
        return Labels({**self, **other})

    def copy(self) -> Labels:
        return Labels(self)

    def get(self, key: str, default: object = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    def pop(self, key: str, *default: object) -> Any:
        if key == "instances":
            self.get(key)
        return super().pop(key, *default)


def flat(labels: Sample) -> Sample:
    """Return a sample whose objects are `bboxes` and so on again, as this package keeps them, where it has `instances`.

    Raises:
        DataError: a transform has left another number of boxes than of classes.
    """
    if "instances" not in labels:
        return labels
    instances: Instances = labels.pop("instances")
    h, w = labels["img"].shape[:2]
    instances.convert_bbox("xyxy")
    instances.denormalize(w, h)
    n, cls = len(instances), np.asarray(labels["cls"], np.float32).reshape(-1, 1)
    if len(cls) != n:
        raise DataError(f"A transform left {n} boxes and {len(cls)} classes. It must drop the same objects from both.")
    sample = Labels(labels | {"cls": cls, "bboxes": instances.bboxes.astype(np.float32)})
    if len(instances.segments) == n:
        sample["segments"] = [s.astype(np.float32) for s in instances.segments]
    if instances.keypoints is not None:
        sample["keypoints"] = instances.keypoints.astype(np.float32)
    return sample


def objects_of(labels: Sample) -> Sample:
    """Return the objects of a sample without its other keys."""
    return {key: labels[key] for key in FIELDS if key in labels}


def select(labels: Sample, keep: np.ndarray) -> Sample:
    """Return the objects selected by a mask (n,), or by indices in their order."""
    chosen = np.flatnonzero(keep) if keep.dtype == bool else keep
    return {
        key: [value[i] for i in chosen] if isinstance(value, list) else value[chosen]
        for key, value in objects_of(labels).items()
    }


def join(parts: Sequence[Sample]) -> Sample:
    """Concatenate the objects of several samples."""
    joined = {}
    for key in objects_of(parts[0]):
        if not all(key in part for part in parts):  # polygons of an image without objects, in a task without any
            continue
        values = [part[key] for part in parts]
        joined[key] = list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)
    return joined


def scale_shift(labels: Sample, gain: Sequence[float], shift: Sequence[float]) -> Sample:
    """Scale the objects by gain (x, y), then shift them by (x, y) pixels."""
    scale, offset = np.array((*gain, *gain), np.float64), np.array((*shift, *shift), np.float64)
    moved = objects_of(labels)
    moved["bboxes"] = (moved["bboxes"] * scale + offset).astype(np.float32)
    return _move_points(moved, lambda points: points * scale[:2] + offset[:2])


def shift(labels: Sample, offsets: np.ndarray) -> Sample:
    """Shift each object by its own (x, y) of offsets (n, 2), in pixels."""
    moved = objects_of(labels)
    moved["bboxes"] = (moved["bboxes"] + np.concatenate([offsets, offsets], 1)).astype(np.float32)
    if "segments" in moved:
        moved["segments"] = [(s + by).astype(np.float32) for s, by in zip(moved["segments"], offsets)]
    if "keypoints" in moved:
        points = moved["keypoints"].copy()
        points[..., :2] += offsets[:, None]
        moved["keypoints"] = points
    return moved


def mirror(labels: Sample, axis: int, length: int, flip_idx: Sequence[int] | None = None) -> Sample:
    """Mirror the objects along x (axis 0) or y (axis 1) of an image that is `length` pixels long there.

    `flip_idx` names for each keypoint the one that takes its place: a mirrored left hand is a right one.
    """
    turned = objects_of(labels)
    boxes = turned["bboxes"].copy()
    boxes[:, [axis, axis + 2]] = length - turned["bboxes"][:, [axis + 2, axis]]
    turned["bboxes"] = boxes
    sign, offset = ((-1.0, 1.0), (length, 0.0)) if axis == 0 else ((1.0, -1.0), (0.0, length))
    turned = _move_points(turned, lambda points: points * np.array(sign) + np.array(offset))
    if "keypoints" in turned and flip_idx:
        turned["keypoints"] = turned["keypoints"][:, list(flip_idx)]
    return turned


def crop(labels: Sample, size: tuple[int, int]) -> Sample:
    """Clip the objects at the borders of an image of (w, h); what lies outside gets a box without area."""
    cut, frame = objects_of(labels), np.array(size, np.float32)
    if "segments" in cut:
        cut["segments"] = clip_polygons(cut["segments"], np.zeros(2), frame)
        cut["bboxes"] = polygon_boxes(cut["segments"])
    else:
        cut["bboxes"] = cut["bboxes"].clip(0, np.concatenate([frame, frame]))
    if "keypoints" in cut:
        cut["keypoints"] = hide_outside(cut["keypoints"], size)
    return cut


def project_segments(
    segments: Sequence[np.ndarray], matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Transform polygons by a 3x3 matrix; return the boxes (n, 4) of what an image of (w, h) shows, and the polygons.

    A polygon itself may extend slightly beyond the image.
    """
    frame = np.array(size, np.float32)
    moved = _move_points({"segments": list(segments)}, lambda points: _warp(points, matrix))["segments"]
    moved = clip_polygons(moved, np.full(2, -_MARGIN), frame + _MARGIN)
    return polygon_boxes(clip_polygons(moved, np.zeros(2), frame)), moved


def project_keypoints(keypoints: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Transform keypoints (n, k, 3) by a 3x3 matrix, and hide those that leave an image of (w, h)."""
    moved = _move_points({"keypoints": keypoints}, lambda points: _warp(points, matrix))
    return hide_outside(moved["keypoints"], size)


def hide_outside(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Move keypoints (n, k, 3) outside an image of (w, h) to its border and set their visibility to 0."""
    inside = keypoints[..., :2].clip(0, np.array(size, np.float32))
    outside = (inside != keypoints[..., :2]).any(-1, keepdims=True)
    return np.concatenate([inside, keypoints[..., 2:] * ~outside], -1)


def _move_points(labels: Sample, move: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Apply a function of points (n, 2) to the polygons and keypoints of a dict, in place, and return it."""
    if labels.get("segments"):
        stops = np.cumsum([len(s) for s in labels["segments"]])[:-1]
        labels["segments"] = np.split(move(np.concatenate(labels["segments"])).astype(np.float32), stops)
    if "keypoints" in labels:
        points = labels["keypoints"]
        moved = move(points[..., :2].reshape(-1, 2)).reshape(*points.shape[:2], 2)
        labels["keypoints"] = np.concatenate([moved, points[..., 2:]], -1).astype(np.float32)
    return labels


def _warp(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform points (..., 2) by a 3x3 matrix."""
    points = points @ matrix[:, :2].T + matrix[:, 2]
    return points[..., :2] / points[..., 2:]


def warp_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return the upright boxes (n, 4) xyxy around the transformed corners of boxes (n, 4)."""
    if is_upright(matrix):
        gain, shift = matrix[[0, 1, 0, 1], [0, 1, 0, 1]], matrix[[0, 1, 0, 1], 2]
        return (boxes * gain + shift).astype(np.float32)
    points = _warp(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
    return np.concatenate([points.min(1), points.max(1)], 1).astype(np.float32)


def polygon_boxes(segments: Sequence[np.ndarray]) -> np.ndarray:
    """Return the boxes (n, 4) xyxy around polygons; zeros for one without points."""
    counts = np.array([len(s) for s in segments], int)
    filled, boxes = counts > 0, np.zeros((len(counts), 4), np.float32)
    if filled.any():
        points, starts = np.concatenate(segments), (np.cumsum(counts) - counts)[filled]
        boxes[filled, :2], boxes[filled, 2:] = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    return boxes


def clip_polygons(segments: Sequence[np.ndarray], low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Clip polygons to the rectangle between two corners (x, y); those within it stay the arrays they are."""
    boxes, clipped = polygon_boxes(segments), list(segments)
    outside = ((boxes[:, 2:] < low) | (boxes[:, :2] > high)).any(1)
    crossing = ((boxes[:, :2] < low) | (boxes[:, 2:] > high)).any(1) & ~outside
    for i in np.flatnonzero(outside).tolist():
        clipped[i] = np.zeros((0, 2), np.float32)
    for i in np.flatnonzero(crossing).tolist():
        clipped[i] = clip_polygon(segments[i], low, high)
    return clipped


def clip_polygon(polygon: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Clip a polygon (m, 2) to the rectangle between two corners (x, y); (0, 2) if nothing is left.

    Sutherland and Hodgman, Reentrant Polygon Clipping, 1974: one side of the rectangle after the other.
    """
    for axis, sign, bound in ((0, 1, low[0]), (1, 1, low[1]), (0, -1, high[0]), (1, -1, high[1])):
        depth = sign * (polygon[:, axis] - bound)
        inside = depth >= 0
        if inside.all():
            continue
        if not inside.any():
            return np.zeros((0, 2), np.float32)
        following, next_depth = np.roll(polygon, -1, 0), np.roll(depth, -1)
        crosses = inside != np.roll(inside, -1)
        share = np.divide(depth, depth - next_depth, where=crosses, out=np.zeros_like(depth))
        cut = polygon + share[:, None] * (following - polygon)
        polygon = np.stack([polygon, cut], 1)[np.stack([inside, crosses], 1)]
    return polygon.astype(np.float32, copy=False)


def box_candidates(
    before: np.ndarray,
    after: np.ndarray,
    wh_thr: float = 2,
    ar_thr: float = 100,
    area_thr: float = 0.1,
    eps: float = 1e-16,
) -> np.ndarray:
    """Return a mask (n,) of the boxes (n, 4) xyxy that are still worth learning after an augmentation.

    A box stays if both sides are above `wh_thr` pixels, the longer is below `ar_thr` times the shorter, and more than
    `area_thr` of its former area is left.
    """
    w1, h1 = (before[:, 2:] - before[:, :2]).T
    w2, h2 = (after[:, 2:] - after[:, :2]).T
    aspect = np.maximum(w2 / (h2 + eps), h2 / (w2 + eps))
    return (w2 > wh_thr) & (h2 > wh_thr) & (w2 * h2 / (w1 * h1 + eps) > area_thr) & (aspect < ar_thr)
