"""Average precision exactly as COCO evaluates boxes, also by object size, in plain NumPy.

The rules are those of pycocotools (cocodataset.org, "Detection evaluation"), with its order of ties, so the figures
equal those of `COCOeval`. They differ from the package's own mAP in that at most 100 detections of a class count in an
image, precision is read at 101 recalls without interpolation, and objects and detections outside a range of sizes are
ignored instead of wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}  # pixels, inclusive
MAX_DETS = (1, 10, 100)  # detections that count, of each class in each image
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of IoU
RECALLS = np.linspace(0, 1, 101)
KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
_AT_ONCE = 20_000  # pairs of detection and object that are matched at once: bounds the memory


class Image(NamedTuple):
    """Detections and objects of an image; boxes are (n, 4) xyxy in pixels of the original image."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    true_boxes: np.ndarray
    true_classes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray


EMPTY = Image(*(np.zeros(shape, kind) for shape, kind in zip([(0, 4), 0, 0, (0, 4), 0, 0, 0], "ddidid?")))


class ByClass(NamedTuple):
    """Figures of the k classes that have objects; NaN where a class has none of a size."""

    classes: np.ndarray  # (k,) class indices
    ap: np.ndarray  # (k, sizes, thresholds) average precision
    ar: np.ndarray  # (k, sizes, thresholds, max_dets) recall


def _column(values: ArrayLike, n: int, kind: DTypeLike, what: str) -> np.ndarray:
    """Check that there are n values and return them as an array."""
    column: np.ndarray = np.asarray(values).reshape(-1).astype(kind)  # a copy
    if len(column) != n:
        raise ValueError(f"{what} has {len(column)} entries for {n} boxes; it needs one for each.")
    return column


class CocoAP:
    """Accumulates images one by one and computes COCO's twelve figures.

    `ap.add(boxes, scores, classes, true_boxes, true_classes)` for each image, then `ap.results()`.
    """

    def __init__(self) -> None:
        self.images: list[tuple[tuple, Image]] = []
        self._found: ByClass | None = None

    def add(
        self,
        boxes: ArrayLike,
        scores: ArrayLike,
        classes: ArrayLike,
        true_boxes: ArrayLike,
        true_classes: ArrayLike,
        areas: ArrayLike | None = None,
        crowd: ArrayLike | None = None,
        image_id: int | str | None = None,
    ) -> None:
        """Add one image.

        Args:
            boxes: (n, 4) xyxy of detections, in pixels of the original image.
            scores: (n,).
            classes: (n,) whole numbers.
            true_boxes: (m, 4) xyxy of objects.
            true_classes: (m,).
            areas: (m,) of objects, which decide their size; COCO takes those of masks. None: those of the boxes.
            crowd: (m,) bool, boxes around many objects: detections in them are neither right nor wrong.
            image_id: images are ordered by their ids, as in pycocotools, where of equal scores the first image comes
                first. None: in the order of the calls.
        """
        found = np.asarray(boxes).reshape(-1, 4).astype(np.float64)  # copies
        true = np.asarray(true_boxes).reshape(-1, 4).astype(np.float64)
        n, m = len(found), len(true)
        image = Image(
            found,
            _column(scores, n, float, "scores"),
            _column(classes, n, int, "classes"),
            true,
            _column(true_classes, m, int, "true_classes"),
            _area(true) if areas is None else _column(areas, m, float, "areas"),
            np.zeros(m, bool) if crowd is None else _column(crowd, m, bool, "crowd"),
        )
        number = len(self.images) if image_id is None else image_id
        self.images.append(((isinstance(number, str), number), image))
        self._found = None

    def by_class(self) -> ByClass:
        """Return average precision and recall of each class, size and threshold; cached."""
        if self._found is None:
            ordered = [image for _, image in sorted(self.images, key=lambda pair: pair[0])]
            self._found = _evaluate(ordered or [EMPTY])
        return self._found

    def results(self) -> dict[str, float]:
        """Return COCO's twelve figures, 0 to 1; NaN (pycocotools: -1) where no object has the size.

        AP is the mean over classes and IoU 0.5 to 0.95; AP50, AP75 at one IoU; APs, APm, APl of small (area up to 32^2
        pixels), medium and large (from 96^2) objects. AR is the recall, likewise, with 1, 10 and 100 detections.
        """
        found = self.by_class()
        ap, ar = np.moveaxis(found.ap, 0, -1), np.moveaxis(found.ar, 0, -1)  # sizes first, classes last
        values = [
            *(ap[0], ap[0, 0], ap[0, 5]), *ap[1:],
            *np.moveaxis(ar[0], 1, 0), *ar[1:, :, -1],
        ]  # fmt: skip
        return {key: _mean(value) for key, value in zip(KEYS, values)}

    @property
    def sizes(self) -> dict[str, float]:
        """AP (mean over IoU 0.5 to 0.95) of small, medium and large objects; NaN where there are none."""
        figures = self.results()
        return {size: figures[f"AP{size[0]}"] for size in AREAS if size != "all"}


def _mean(values: np.ndarray) -> float:
    """Return the mean of all values but NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes (n, 4) xyxy."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _iou(boxes: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return the IoU (n, m) of detections and objects; with a crowd, the fraction of the detection inside it."""
    corner = np.minimum(boxes[:, None, 2:], true[None, :, 2:]) - np.maximum(boxes[:, None, :2], true[None, :, :2])
    shared = corner.clip(0).prod(2)
    area = _area(boxes)[:, None]
    union = np.where(crowd, area, area + _area(true) - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _outside(areas: np.ndarray) -> np.ndarray:
    """Return a mask (n, sizes) of the areas that lie outside each range of sizes."""
    low, high = np.array([*AREAS.values()]).T
    return (areas[:, None] < low) | (areas[:, None] > high)


# Matching -------------------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """Detections of all images, by image, class and falling score, up to the last of MAX_DETS."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    image: np.ndarray  # index of its image
    rank: np.ndarray  # position among the detections of its class in its image


class _Objects(NamedTuple):
    """Objects of all images, image by image."""

    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray  # (m, sizes) bool: a crowd, or of another size


class _Matches(NamedTuple):
    """Matched detections by size and threshold; all arrays have one length."""

    det: np.ndarray
    size: np.ndarray
    threshold: np.ndarray
    right: np.ndarray  # bool: an object that counts; else one that is ignored


def _detections(images: Sequence[Image]) -> _Found:
    """Sort the detections of all images and drop those beyond the limit."""
    boxes, scores, classes = (np.concatenate(column) for column in list(zip(*images))[:3])
    image = np.repeat(np.arange(len(images)), [len(p.boxes) for p in images])
    order = np.lexsort((-scores, classes, image))
    found = [boxes[order], scores[order], classes[order], image[order]]
    place = np.arange(len(order))
    first = np.r_[True, (np.diff(found[2]) != 0) | (np.diff(found[3]) != 0)][: len(order)]
    rank = place - np.maximum.accumulate(np.where(first, place, 0))
    return _Found(*(column[rank < MAX_DETS[-1]] for column in (*found, rank)))


def _objects(images: Sequence[Image]) -> _Objects:
    boxes, classes, areas, crowd = (np.concatenate(column) for column in list(zip(*images))[3:])
    return _Objects(boxes, classes, crowd, crowd[:, None] | _outside(areas))


def _pairs(found: _Found, objects: _Objects, dets: slice, trues: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return detections of an image, objects of their class and their IoU, where it reaches the lowest threshold.

    They are ordered by detection, then by rising IoU; of equal ones the later object comes last.
    """
    possible = np.flatnonzero(np.isin(found.classes[dets], objects.classes[trues]))
    iou = _iou(found.boxes[dets][possible], objects.boxes[trues], objects.crowd[trues])
    same = found.classes[dets][possible][:, None] == objects.classes[trues]
    det, true = np.nonzero((iou >= THRESHOLDS[0]) & same)
    iou = iou[det, true]
    order = np.lexsort((iou, det))
    return possible[det[order]] + dets.start, true[order] + trues.start, iou[order]


def _match(found: _Found, objects: _Objects, images: Sequence[Image]) -> _Matches:
    """Match each detection, by falling score, with the free object of its class that it overlaps most."""
    ends = np.searchsorted(found.image, np.arange(len(images) + 1)).tolist()
    trues = np.cumsum([0, *(len(p.true_boxes) for p in images)]).tolist()
    taken = np.zeros((len(objects.boxes), len(AREAS), len(THRESHOLDS)), bool)
    matches, held, n = [], [], 0
    for i in range(len(images)):
        if trues[i + 1] > trues[i] and ends[i + 1] > ends[i]:
            held.append(_pairs(found, objects, slice(ends[i], ends[i + 1]), slice(trues[i], trues[i + 1])))
            n += len(held[-1][0])
        if held and (n > _AT_ONCE or i == len(images) - 1):
            matches += _take([np.concatenate(column) for column in zip(*held)], found.rank, objects, taken)
            held, n = [], 0
    matches += _take([np.concatenate(column) for column in zip(*held)], found.rank, objects, taken) if held else []
    if not matches:
        return _Matches(*(np.zeros(0, kind) for kind in (int, int, int, bool)))
    return _Matches(*(np.concatenate(column) for column in zip(*matches)))


def _take(pairs: list[np.ndarray], rank: np.ndarray, objects: _Objects, taken: np.ndarray) -> list[_Matches]:
    """Match the detections of some images, and mark their objects in `taken` (m, sizes, thresholds).

    The n-th detections of all images and classes are matched at once, since they do not compete. An object that
    counts precedes one that is ignored, whatever their overlaps.
    """
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)
    step_of, matches = rank[pairs[0]], []
    for step in np.unique(step_of):
        det, true, iou = (column[step_of == step] for column in pairs)
        free = (iou[:, None] >= enough)[:, None] & (~taken[true] | objects.crowd[true, None, None])
        # The worth of a pair is its position in the order of IoUs; ignored objects are worth less than all others
        worth = np.arange(1, len(det) + 1, dtype=np.int32)[:, None] + len(det) * ~objects.ignored[true]
        starts = np.flatnonzero(np.r_[True, np.diff(det) != 0])
        best = np.maximum.reduceat(np.where(free, worth[:, :, None], 0), starts, axis=0)
        row, size, threshold = np.nonzero(best)
        winner = true[(best[row, size, threshold] - 1) % len(det)]
        taken[winner, size, threshold] = True
        matches.append(_Matches(det[starts][row], size, threshold, ~objects.ignored[winner, size]))
    return matches


# Counting -------------------------------------------------------------------------------------------------------------


def _evaluate(images: Sequence[Image]) -> ByClass:
    """Compute the figures of each class that has objects."""
    found, objects = _detections(images), _objects(images)
    classes = np.unique(objects.classes)
    counts = np.zeros((len(classes), len(AREAS)), int)
    np.add.at(counts, np.searchsorted(classes, objects.classes), ~objects.ignored)
    nothing = np.where(counts, 0.0, np.nan)[:, :, None].repeat(len(THRESHOLDS), 2)
    ap, ar = nothing, nothing[..., None].repeat(len(MAX_DETS), 3)

    order = np.lexsort((-found.scores, found.classes))
    place = np.argsort(order)
    first = np.searchsorted(found.classes[order], classes)  # detection of each class, in that order
    asked = ~_outside(_area(found.boxes[order]))  # unmatched, it is wrong; one of another size is ignored
    asked_before = np.concatenate((np.zeros((1, len(AREAS)), int), asked.cumsum(0)))

    matches = _match(found, objects, images)
    cell = np.searchsorted(classes, found.classes[matches.det]), matches.size, matches.threshold
    column = np.ravel_multi_index(cell, ap.shape) if len(matches.det) else matches.det
    sort = np.lexsort((place[matches.det], column))
    for rows in np.split(sort, np.flatnonzero(np.diff(column[sort])) + 1) if len(sort) else ():
        k, a, t = (axis[rows[0]] for axis in cell)
        at, right = place[matches.det[rows]], matches.right[rows]
        if objects_here := counts[k, a]:
            # False ones up to each match: all that were asked for, less those that are matched
            fp = asked_before[at + 1, a] - asked_before[first[k], a] - asked[at, a].cumsum()
            ap[k, a, t] = _average_precision(right.cumsum()[right], fp[right], objects_here)
            rank = found.rank[matches.det[rows]][right]
            ar[k, a, t] = [np.count_nonzero(rank < limit) / objects_here for limit in MAX_DETS]
    return ByClass(classes, ap, ar)


def _average_precision(tp: np.ndarray, fp: np.ndarray, objects: int) -> float:
    """Average the best precision from there on over 101 recalls.

    Args:
        tp: (n,) 1, 2, ... at each object found, by falling score.
        fp: (n,) false positives before each.
        objects: number of objects to find.
    """
    precision = tp / (fp + tp + np.spacing(1))
    envelope = np.r_[np.maximum.accumulate(precision[::-1])[::-1], 0.0]  # 0 at recalls that are not reached
    return envelope[np.searchsorted(tp / objects, RECALLS)].mean()
