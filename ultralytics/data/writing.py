"""Writing of label files, all at once or not at all, with counts of what was left out."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ultralytics.data.instances import clip_polygon
from ultralytics.data.labels import REACH
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError
from ultralytics.utils.hostile.archives import move_into, safe_join


@dataclass
class Converted:
    """Result of a conversion: what was written, and what was left out for which reason."""

    folder: Path
    files: int = 0
    objects: int = 0
    names: dict[int, str] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        missing = ", ".join(f"{n} {reason}" for reason, n in self.left_out.most_common())
        text = f"{self.files} label files with {self.objects} objects in '{self.folder}'"
        return f"{text}; left out: {missing}." if missing else f"{text}; nothing was left out."


class Writer:
    """Writes label files into a staging folder and counts them."""

    def __init__(self, stage: Path, result: Converted) -> None:
        self.stage, self.result = stage, result

    def write(self, name: str | Path, rows: Sequence[str]) -> None:
        """Write the rows of one image; repeated rows are written once, as training counts them."""
        unique = list(dict.fromkeys(rows))
        if len(unique) < len(rows):
            self.result.left_out["duplicates"] += len(rows) - len(unique)
        file = safe_join(self.stage, str(name))
        if file == self.stage or not file.name.strip(". "):
            raise DataError(f"An image without a name, '{name}', can have no label file. Give it one.")
        file = file.with_suffix(".txt")
        if os.path.exists(file):
            raise DataError(f"Two images want the label file '{name}'. Give them different names.")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{row}\n" for row in unique), encoding="utf-8")
        except (OSError, ValueError) as e:
            if isinstance(e, OSError) and e.errno != errno.ENAMETOOLONG:  # the disk's fault
                raise
            raise DataError(f"'{str(name)[:100]}' cannot be the name of a label file ({e}). Give another.") from None
        self.result.files += 1
        self.result.objects += len(unique)


@contextmanager
def staged(folder: str | Path, exist_ok: bool = False) -> Iterator[Writer]:
    """Yield a writer whose files are moved into `folder` when the block ends without an error.

    Raises:
        DataError: a file exists already, and `exist_ok` is False.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        writer = Writer(stage, Converted(folder))
        yield writer
        if not exist_ok:
            refuse_existing(stage, folder)
        move_into(stage, folder, exist_ok=True)
        LOGGER.info(f"Wrote {writer.result}")
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def refuse_existing(stage: Path, folder: Path) -> None:
    """Raise DataError if a file of `stage` exists in `folder` already."""
    clash = [p for p in (folder / f.relative_to(stage) for f in stage.rglob("*") if f.is_file()) if p.exists()]
    if clash:
        raise DataError(
            f"{len(clash)} files are in '{folder}' already, such as '{min(clash)}', and nothing was written. "
            "Choose another folder, or pass exist_ok=True to replace them."
        )


def row_of(cls: int, values: Iterable[float]) -> str:
    """Format one line of a label file."""
    return " ".join([str(int(cls)), *(f"{float(v):.6g}" for v in values)])


def box_row(cls: int, xyxy: Sequence[float], w: float, h: float) -> str | None:
    """Format the line of a box, clipped at the image's border; None if nothing of it remains.

    Args:
        cls: class.
        xyxy: pixels.
        w: width of the image.
        h: height of the image.
    """
    box = np.asarray(xyxy, np.float64) / (w, h, w, h)
    if not np.isfinite(box).all():
        return None
    x1, y1, x2, y2 = box.clip(0, 1)
    if x2 <= x1 or y2 <= y1:
        return None
    return row_of(cls, ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))


def polygon_row(cls: int, points: np.ndarray, w: float, h: float, whole: bool = False) -> str | None:
    """Format the line of an outline (n, 2) in pixels, clipped at the border; None if it encloses nothing there.

    With `whole`, for rotated boxes, corners stay where they are, and the line is also None if one lies further outside
    than label files allow.
    """
    points = np.asarray(points, np.float64).reshape(-1, 2) / (w, h)
    if len(points) < 3 or not np.isfinite(points).all():
        return None
    inside = clip_polygon(points, np.zeros(2), np.ones(2))
    if not len(inside) or not (np.ptp(inside, axis=0) > 0).all():
        return None
    if whole and (np.abs(points - 0.5) > 0.5 + REACH).any():
        return None
    return row_of(cls, (points if whole else inside.clip(0, 1)).ravel())
