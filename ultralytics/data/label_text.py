"""The text of label files: what a task's rows hold, and how they become arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ultralytics.data.instances import clip_polygon
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import decode, open_regular
from ultralytics.utils.hostile import limits

NO_LABELS = np.zeros((0, 5), np.float32)
_SLACK = 0.01  # of the image: what rounding puts beyond its border is moved there, in boxes and keypoints
REACH = 0.5  # of the image: an object that the border cuts has corners up to here outside

_MOST_CLASSES = 2**24  # up to here, float32 holds each whole number


@dataclass(frozen=True)
class Layout:
    """Columns of a task's label files after the class; numbers are fractions of the image, 0 to 1.

    Corners of polygons and rotated boxes may lie outside the image, as those of objects that its border cuts do.
    """

    task: str = "detect"
    boxes: bool = True  # x y w h
    corners: int | None = 3  # fewest of a polygon x1 y1 x2 y2 ..., None if there are no polygons
    masks: bool = False  # samples hold masks of the polygons
    rotated: bool = False  # boxes of samples are the smallest rectangles around the polygons
    kpt_shape: tuple[int, int] | None = None  # number of keypoints, and of values each, after the box

    def fits(self, n: int) -> bool:
        """Whether a row may have n columns."""
        polygon = self.corners is not None and n % 2 == 1 and n >= 1 + 2 * self.corners
        return polygon or (self.boxes and n == self.columns)

    @property
    def keeps_polygons(self) -> bool:
        """Whether polygons are kept; else a polygon becomes its box."""
        return self.masks or self.rotated

    @property
    def columns(self) -> int:
        """Number of columns of a row with a box."""
        return 5 + (self.kpt_shape[0] * self.kpt_shape[1] if self.kpt_shape else 0)

    @property
    def wanted(self) -> str:
        """The allowed columns in words."""
        if self.kpt_shape:
            point = "x y visibility" if self.kpt_shape[1] == 3 else "x y"
            return f"{self.columns} (class x y w h, then {point} of {self.kpt_shape[0]} keypoints)"
        least = 1 + 2 * (self.corners or 0)
        if self.boxes:
            return f"5 (class x y w h), or {least}, {least + 2}, ... of a polygon"
        return f"{least} or {least + 2}, {least + 4}, ... (class x1 y1 x2 y2 ... of the corners), not boxes"


DETECT = Layout()
LAYOUTS = {
    "detect": DETECT,
    "segment": Layout("segment", boxes=False, masks=True),
    "obb": Layout("obb", boxes=False, corners=4, rotated=True),
    "pose": Layout("pose", corners=None),
}


def layout_of(task: str, kpt_shape: Sequence[int] | None = None) -> Layout:
    """Return the layout of a task's label files; `kpt_shape` is (number of keypoints, 2 or 3 values each)."""
    if task not in LAYOUTS:
        raise ConfigError(f"The task '{task}' has no label files; those with some are {', '.join(LAYOUTS)}.")
    layout = LAYOUTS[task]
    if layout.corners is not None:
        return layout
    if kpt_shape is None:
        raise DataError(
            "The data have no `kpt_shape`, which says how many keypoints an object has and how many numbers each. "
            "Add it to the data YAML, as `kpt_shape: [17, 3]` (3: x, y, visibility; 2: x, y)."
        )
    return replace(layout, kpt_shape=(int(kpt_shape[0]), int(kpt_shape[1])))


@dataclass(slots=True)
class Entry:
    """One image and its labels; all coordinates are normalised to 0..1."""

    im_file: str
    shape: tuple[int, int] = (0, 0)  # height, width
    rows: np.ndarray = field(default_factory=lambda: NO_LABELS)  # (n, 5) class and box xywh
    segments: list[np.ndarray] | None = None  # n polygons (m, 2), if the task has them
    keypoints: np.ndarray | None = None  # (n, k, 3) x, y, visibility (0 absent, 1 hidden, 2 visible), likewise
    found: bool = False  # there is a label file
    duplicates: int = 0  # repeated rows that were removed
    fault: str = ""  # `KIND: DETAIL` if the image must be left out
    stamps: tuple[str, str] = ("", "")  # of image and label file as they were read, see `labels.fingerprint`


def read_label(file: str | Path, nc: int, single_cls: bool = False) -> tuple[np.ndarray, int]:
    """Read the boxes of one label file like `read_objects`; return (n, 5) rows and the number of duplicates."""
    entry = Entry("")
    read_objects(entry, file, nc, single_cls)
    return entry.rows, entry.duplicates


def read_objects(entry: Entry, file: str | Path, nc: int, single_cls: bool = False, layout: Layout = DETECT) -> None:
    """Read one label file into an entry, see `parse_objects`."""
    with open_regular(file) as f:
        data = f.read(min(os.fstat(f.fileno()).st_size, limits.LABEL_BYTES) + 1)
    parse_objects(entry, data, file, nc, single_cls, layout)


def parse_objects(
    entry: Entry, data: bytes, file: str | Path, nc: int, single_cls: bool = False, layout: Layout = DETECT
) -> None:
    """Read the content of a label file into an entry.

    Args:
        entry: gets `rows`, `duplicates`, and `segments` or `keypoints` where the layout has them.
        data: one object per line.
        file: its name, for messages.
        nc: number of classes; a row's class must be below it.
        single_cls: every class counts as 0.
        layout: what a row holds.

    Raises:
        DataError: `KIND: DETAIL` with the line at fault.
    """
    if len(data) > limits.LABEL_BYTES:
        raise DataError(f"large label: the file has more than {limits.LABEL_BYTES} bytes")
    lines = decode(data, file, errors="replace").splitlines()
    words = [found for line in lines if (found := line.split())]
    if not words:
        return
    objects = _plain_objects(words, nc, single_cls, layout) or _checked_objects(lines, nc, single_cls, layout)
    first = objects.first()
    entry.duplicates = len(words) - len(first)
    if entry.duplicates:
        objects = objects.at(first)
    entry.rows = objects.rows
    if objects.polygons is not None:
        entry.segments = objects.polygons
    if objects.keypoints is not None:
        entry.keypoints = objects.keypoints


class Objects(NamedTuple):
    """The objects of a label file, one a line."""

    rows: np.ndarray  # (n, 5) class and box xywh
    polygons: list | None = None  # (m, 2) each, if the layout keeps them; None for a row with a box
    keypoints: np.ndarray | None = None  # (n, k, 3), if it has some

    def first(self) -> list[int]:
        """Return the place of each object of which there is no equal one before."""
        rows, n = self.rows.tobytes(), len(self.rows)
        keys = [rows[i : i + 20] for i in range(0, 20 * n, 20)]
        for parts in (self.polygons, self.keypoints):
            if parts is not None:
                keys = [key if part is None else key + part.tobytes() for key, part in zip(keys, parts)]
        places: dict[bytes, int] = {}
        for i, key in enumerate(keys):
            places.setdefault(key, i)
        return list(places.values())

    def at(self, places: list[int]) -> Objects:
        """Return the objects at some places."""
        polygons = None if self.polygons is None else [self.polygons[i] for i in places]
        return Objects(self.rows[places], polygons, None if self.keypoints is None else self.keypoints[places])


def _plain_objects(lines: list[list[str]], nc: int, single_cls: bool, layout: Layout) -> Objects | None:
    """Turn the words of all lines into objects at once.

    Returns:
        None where a line is at fault, holds a number to be moved into the image, or has a box and others polygons.
    """
    counts, columns = list(map(len, lines)), layout.columns
    kinds = set(counts)
    boxes = layout.boxes and kinds == {columns}
    if not boxes and ((layout.boxes and columns in kinds) or not all(map(layout.fits, kinds))):
        return None
    try:
        values = list(map(float, chain.from_iterable(lines)))
    except ValueError:
        return None
    starts = [0, *accumulate(counts)]
    classes = [values[i] for i in starts[:-1]]
    if not all(0 <= c < _MOST_CLASSES and (single_cls or (c < nc and c.is_integer())) for c in classes):
        return None
    for i in starts[:-1]:
        values[i] = 0.0
    if not _are_inside(values, layout):
        return None
    for i, cls in zip(starts, () if single_cls else classes):
        values[i] = cls
    if not boxes:
        return _outlined(np.array(values, np.float32), starts, layout)
    table = np.array(values, np.float32).reshape(-1, columns)
    if layout.kpt_shape:
        return Objects(table[:, :5], None, _keypoints(table[:, 5:], layout))
    return Objects(table, [None] * len(table) if layout.keeps_polygons else None)


def _are_inside(values: list[float], layout: Layout) -> bool:
    """Whether all coordinates are 0 to 1, and visibilities, which are among them, 0, 1 or 2."""
    if layout.kpt_shape and layout.kpt_shape[1] == 3:
        table = np.array(values).reshape(-1, layout.columns)
        seen = table[:, 7::3].copy()
        table[:, 7::3] = 0
        return bool(np.isin(seen, (0, 1, 2)).all() and table.min() >= 0 and table.max() <= 1)  # NaN is neither
    return all(0 <= value <= 1 for value in values)


def _outlined(values: np.ndarray, starts: list[int], layout: Layout) -> Objects:
    """Return objects with the boxes around their polygons; `values` holds row after row, each from `starts` on."""
    corners = np.delete(values, starts[:-1]).reshape(-1, 2)
    stops = [(start - i) // 2 for i, start in enumerate(starts)]  # of the polygons before each
    low, high = np.minimum.reduceat(corners, stops[:-1]), np.maximum.reduceat(corners, stops[:-1])
    rows = np.concatenate([values[starts[:-1], None], (low + high) / 2, high - low], 1)
    return Objects(rows, [corners[a:b] for a, b in pairwise(stops)] if layout.keeps_polygons else None)


def _keypoints(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Turn the columns of keypoints into (n, k, 3); without visibility, 0 0 marks an absent point."""
    assert layout.kpt_shape is not None
    points = values.reshape(-1, *layout.kpt_shape)
    if points.shape[2] == 2:
        points = np.concatenate([points, 2.0 * points.any(2, keepdims=True)], 2).astype(np.float32)
    return points


def _checked_objects(lines: list[str], nc: int, single_cls: bool, layout: Layout) -> Objects:
    """Turn line by line into objects, and say which is at fault."""
    numbered = [(i, words) for i, line in enumerate(lines, 1) if (words := line.split())]
    full, nc = [_row(i, words, layout) for i, words in numbered], 1 if single_cls else nc
    cls = np.array([row[0] for row in full])
    if single_cls:
        cls[:] = 0
    bad = (cls != np.floor(cls)) | (cls < 0) | (cls >= nc)
    if bad.any():
        i, value = numbered[int(bad.argmax())][0], cls[bad.argmax()]
        raise DataError(f"wrong class: line {i} has class {value:g}; allowed are the whole numbers 0 to {nc - 1}")
    boxes, polygons = zip(*[_object(c, row, layout) for c, row in zip(cls, full)])
    return Objects(
        np.stack(boxes),
        list(polygons) if layout.keeps_polygons else None,
        _keypoints(np.stack([row[5:] for row in full]), layout) if layout.kpt_shape else None,
    )


def _row(i: int, words: list[str], layout: Layout) -> np.ndarray:
    """Parse line `i` and check all its numbers but the class."""
    if not layout.fits(len(words)):
        raise DataError(f"wrong columns: line {i} has {len(words)} columns; wanted are {layout.wanted}")
    try:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity, which is refused below
            row = np.array([float(w) for w in words], np.float32)
    except ValueError:
        raise DataError(f"not a number: line {i} reads '{' '.join(words)[:60]}'") from None
    if not np.isfinite(row).all():
        raise DataError(f"not a number: line {i} holds NaN or infinity")
    if layout.kpt_shape:
        points = row[5:].reshape(*layout.kpt_shape)
        if points.shape[1] == 3 and not np.isin(points[:, 2], (0, 1, 2)).all():
            worst = points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]
            raise DataError(
                f"wrong visibility: line {i} holds {worst:g}; allowed are 0 (not there), 1 (hidden), 2 (seen)"
            )
        present = points[points[:, 2] > 0] if points.shape[1] == 3 else points
        _refuse_far(i, present[:, :2], _SLACK)
        points[:, :2] = points[:, :2].clip(0, 1)
    if layout.kpt_shape or len(row) == 5:
        _refuse_far(i, row[1:3], _SLACK)
        _refuse_far(i, row[3:5], _SLACK, 0.0)
        row[1:5] = row[1:5].clip(0, 1)
    else:
        _refuse_far(i, row[1:], REACH)
        if not len(_inside(row[1:].reshape(-1, 2))):
            raise DataError(f"out of range: line {i} has an object that lies outside of the image altogether")
    return row


def _refuse_far(i: int, places: np.ndarray, reach: float, below: float | None = None) -> None:
    """Raise DataError for coordinates further outside 0 to 1 than `reach`, or than `below` at the lower end."""
    if (places < -(reach if below is None else below)).any() or (places > 1 + reach).any():
        worst = places.flat[np.abs(places - 0.5).argmax()]
        beyond = ", of which a corner may lie half an image outside" if reach == REACH else ""
        raise DataError(
            f"out of range: line {i} holds {worst:g}; coordinates are fractions of the image, 0 to 1{beyond}, "
            "not pixels or percent"
        )


def _inside(polygon: np.ndarray) -> np.ndarray:
    """Clip a polygon (m, 2) to the image."""
    return clip_polygon(polygon, np.zeros(2), np.ones(2))


def _object(cls: float, row: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn a row into class with box xywh (5,) and, unless it has a box or the layout drops it, polygon (m, 2).

    Polygons are clipped at the image's border. Rotated boxes are not: what is left of one would be another rectangle.
    """
    if layout.kpt_shape or len(row) == 5:
        return np.array([cls, *row[1:5]], np.float32), None
    polygon = row[1:].reshape(-1, 2)
    polygon = polygon if layout.rotated else _inside(polygon)
    low, high = polygon.min(0), polygon.max(0)
    box = np.array([cls, *((low + high) / 2), *(high - low)], np.float32)
    return box, polygon if layout.keeps_polygons else None
