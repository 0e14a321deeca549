"""Label files: found beside their images, verified, and kept in a cache that notices every change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ultralytics.data.image_files import verify_image
from ultralytics.data.instances import clip_polygon
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import atomic_write, decode, open_regular
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.archives import check_zip
from ultralytics.utils.hostile.pickles import pickle_in

CACHE_VERSION = 4  # raise it when the cache's layout or the rules of verification change
THREADS = min(8, max(1, (os.cpu_count() or 2)))
NO_LABELS = np.zeros((0, 5), np.float32)
_SHOWN = 5  # names listed in a warning
_SLACK = 0.01  # of the image: what rounding puts beyond its border is moved there, in boxes and keypoints
REACH = 0.5  # of the image: an object that the border cuts has corners up to here outside


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


@dataclass
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


def img2label_paths(img_paths: Iterable[str | Path]) -> list[str]:
    """Return each image's label file: the last `images` folder of its path replaced by `labels`, ending in `.txt`."""
    return [_label_path(str(p)) for p in img_paths]


def _label_path(image: str) -> str:
    folder, name = os.path.split(image)
    parts = folder.replace("\\", "/").split("/") if os.sep == "\\" else folder.split("/")
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return os.sep.join([*parts, os.path.splitext(name)[0] + ".txt"] if folder else [os.path.splitext(name)[0] + ".txt"])


def read_label(file: str | Path, nc: int, single_cls: bool = False) -> tuple[np.ndarray, int]:
    """Read the boxes of one label file like `read_objects`; return (n, 5) rows and the number of duplicates."""
    entry = Entry("")
    read_objects(entry, file, nc, single_cls)
    return entry.rows, entry.duplicates


def read_objects(entry: Entry, file: str | Path, nc: int, single_cls: bool = False, layout: Layout = DETECT) -> None:
    """Read one label file into an entry.

    Args:
        entry: gets `rows`, `duplicates`, and `segments` or `keypoints` where the layout has them.
        file: one object per line.
        nc: number of classes; a row's class must be below it.
        single_cls: every class counts as 0.
        layout: what a row holds.

    Raises:
        DataError: `KIND: DETAIL` with the line at fault.
    """
    with open_regular(file) as f:
        data = f.read(limits.LABEL_BYTES + 1)
    if len(data) > limits.LABEL_BYTES:
        raise DataError(f"large label: the file has more than {limits.LABEL_BYTES} bytes")
    text = decode(data, file, errors="replace")
    lines = [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        return
    full = [_row(i, words, layout) for i, words in lines]
    cls, limit = np.array([row[0] for row in full]), 1 if single_cls else nc
    if single_cls:
        cls[:] = 0
    bad = (cls != np.floor(cls)) | (cls < 0) | (cls >= limit)
    if bad.any():
        i, value = lines[int(bad.argmax())][0], cls[bad.argmax()]
        raise DataError(f"wrong class: line {i} has class {value:g}; allowed are the whole numbers 0 to {limit - 1}")
    objects = [_object(c, row, layout) for c, row in zip(cls, full)]
    first: dict[tuple, tuple] = {}
    for found in objects:
        first.setdefault(tuple(part.tobytes() for part in found if part is not None), found)
    unique = list(first.values())
    entry.rows, entry.duplicates = np.stack([box for box, _, _ in unique]), len(objects) - len(unique)
    if layout.keeps_polygons:
        entry.segments = [polygon for _, polygon, _ in unique]
    if layout.kpt_shape:
        entry.keypoints = np.stack([points for _, _, points in unique])


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


def _object(cls: float, row: np.ndarray, layout: Layout) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Turn a row into class with box xywh (5,), polygon (m, 2) and keypoints (k, 3), the latter None unless kept.

    Polygons are clipped at the image's border. Rotated boxes are not: what is left of one would be another rectangle.
    """
    if layout.kpt_shape:
        points = row[5:].reshape(*layout.kpt_shape)
        if points.shape[1] == 2:  # without visibility, 0 0 marks an absent point
            points = np.concatenate([points, 2.0 * points.any(1, keepdims=True)], 1).astype(np.float32)
        return np.array([cls, *row[1:5]], np.float32), None, points
    if len(row) == 5:
        return np.array([cls, *row[1:]], np.float32), None, None
    polygon = row[1:].reshape(-1, 2)
    polygon = polygon if layout.rotated else _inside(polygon)
    low, high = polygon.min(0), polygon.max(0)
    box = np.array([cls, *((low + high) / 2), *(high - low)], np.float32)
    return box, polygon if layout.keeps_polygons else None, None


def verify_image_label(im_file: str, lb_file: str, nc: int, single_cls: bool = False, layout: Layout = DETECT) -> Entry:
    """Check one image and its label file; the entry's `fault` says what is wrong with them."""
    entry = Entry(im_file)
    if layout.keeps_polygons:
        entry.segments = []
    if layout.kpt_shape:
        entry.keypoints = np.zeros((0, layout.kpt_shape[0], 3), np.float32)
    try:
        entry.shape = verify_image(im_file)
        # `classes.txt` is a list of class names, even where the labels of a `classes.jpg` would be
        if os.path.basename(lb_file).lower() != "classes.txt" and os.path.isfile(lb_file):
            entry.found = True
            read_objects(entry, lb_file, nc, single_cls, layout)
    except (DataError, OSError) as e:
        entry.fault = str(e) if isinstance(e, DataError) else f"unreadable label: {e.strerror or e}"
    return entry


def load_labels(
    im_files: Sequence[str],
    nc: int,
    single_cls: bool = False,
    prefix: str = "",
    layout: Layout = DETECT,
    source: object = "",
) -> list[Entry]:
    """Return the valid images with their labels; the others are named in the log and left out.

    Args:
        im_files: paths of images.
        nc: number of classes.
        single_cls: every class counts as 0.
        prefix: start of each log line, as `train: `.
        layout: what a row of the task's label files holds.
        source: where the list of images comes from; several lists of one folder have a cache each.

    Raises:
        DataError: no image is valid.
    """
    lb_files = img2label_paths(im_files)
    folder = Path(lb_files[0]).parent
    rules = (nc, single_cls, layout)
    cache, key = cache_path(folder, source, *rules), fingerprint(im_files, lb_files, *rules)
    entries = _read_cache(cache, key, im_files, 1 if single_cls else nc, layout)
    if entries is None:
        desc = f"{prefix}Scanning {folder}"
        entries = list(
            parallel(lambda im, lb: verify_image_label(im, lb, nc, single_cls, layout), im_files, lb_files, desc=desc)
        )
        if fingerprint(im_files, lb_files, *rules) == key:  # else something was changed while it was read
            write_arrays(cache, prefix, key=np.array(key), **_arrays(entries, layout))
    return _report(entries, folder, prefix, layout)


def progress(iterable: Iterable, total: int, desc: str) -> Iterable:
    """Draw a progress bar over `iterable`."""
    from ultralytics.utils import TQDM

    return TQDM(iterable, total=total, desc=desc)


def parallel(function: Callable, *arguments: Sequence, desc: str) -> Generator:
    """Map a function over its arguments in threads, in order, with a progress bar."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from progress(pool.map(function, *arguments), len(arguments[0]), desc)


def _report(entries: list[Entry], folder: Path, prefix: str, layout: Layout) -> list[Entry]:
    """Log what was found, and return the entries without fault."""
    sound = [e for e in entries if not e.fault]
    faulty = [e for e in entries if e.fault]
    background = sum(not len(e.rows) for e in sound)
    duplicates = sum(e.duplicates for e in sound)
    kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(e.fault.partition(":")[0] for e in faulty).items())
    LOGGER.info(
        f"{prefix}{folder}: {len(sound)} images, {background} backgrounds, {len(faulty)} left out"
        + (f" ({kinds})" if kinds else "")
        + (f", {duplicates} duplicate labels removed" if duplicates else "")
    )
    if beside := labels_beside(sound):
        LOGGER.warning(f"WARNING ⚠️ {prefix}{beside_text(beside)}")
    for e in faulty[:_SHOWN]:
        LOGGER.warning(f"WARNING ⚠️ {prefix}left out '{e.im_file}': {e.fault}")
    if len(faulty) > _SHOWN:
        LOGGER.warning(f"WARNING ⚠️ {prefix}left out {len(faulty) - _SHOWN} more")
    if not sound:
        raise DataError(
            f"None of the {len(entries)} images with labels in '{folder}' can be used; "
            f"the first is '{faulty[0].im_file}' ({faulty[0].fault}). Fix the images or their labels."
        )
    if background == len(sound):
        LOGGER.warning(
            f"WARNING ⚠️ {prefix}no labels found in '{folder}'; all {len(sound)} images count as "
            f"background, so nothing can be learned or measured. Put one .txt file per image there, each row with "
            f"{layout.wanted} columns, coordinates 0 to 1."
        )
    return sound


def labels_beside(entries: Iterable[Entry]) -> list[str]:
    """Return the label files that lie beside their images, where they are not read: labels are expected elsewhere."""
    unlabelled = [e.im_file for e in entries if not e.found]
    beside = [os.path.splitext(file)[0] + ".txt" for file in unlabelled]
    return [own for own, read in zip(beside, img2label_paths(unlabelled)) if own != read and os.path.isfile(own)]


def beside_text(files: Sequence[str]) -> str:
    """Word the warning of label files that are not read."""
    return (
        f"{len(files)} label files lie beside their images and are not read, such as '{files[0]}'. Labels of images "
        f"below a folder 'images' are looked for below 'labels', as '{img2label_paths(files[:1])[0]}': move them there."
    )


def refuse_read_only(folder: str | Path) -> None:
    """Raise PermissionError for a folder without any write bit, in which root could write against its owner's wish."""
    if os.name == "posix" and not os.stat(folder).st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the folder is marked read-only", str(folder))


def cache_path(folder: Path, *rules: object) -> Path:
    """Return the cache file beside a folder; runs with other rules get one of their own."""
    rule = hashlib.sha256(str(rules).encode("utf-8", "surrogateescape")).hexdigest()
    return folder.with_name(f"{folder.name or 'labels'}-{rule[:8]}.cache.npz")


def fingerprint(images: Iterable[str], labels: Iterable[str] = (), *rules: object) -> str:
    """Hash all paths, size and modification time of the images, every byte of the labels, and the rules.

    Labels are read, as an edit may leave size and time unchanged; that takes a hundredth of a scan's time.
    """
    digest = hashlib.sha256(f"{CACHE_VERSION} {rules}".encode("utf-8", "surrogateescape"))
    for look, files in ((_size_and_time, images), (_content, labels)):
        for file in files:
            try:
                found = look(file)
            except OSError:
                found = None
            size = -1 if found is None else len(found)
            digest.update(f"{file}\0{size}\0".encode("utf-8", "surrogateescape") + (found or b""))
    return digest.hexdigest()


def _size_and_time(file: str) -> bytes:
    stat = os.stat(file)
    return f"{stat.st_size} {stat.st_mtime_ns}".encode()


def _content(file: str) -> bytes | None:
    if not os.path.isfile(file):  # a link to a device may never end
        return None
    with open(file, "rb", buffering=0) as f:
        return f.read(limits.LABEL_BYTES + 1)  # a larger one is refused


def read_arrays(cache: Path, key: str) -> dict[str, np.ndarray] | None:
    """Return the arrays stored under `key`, or None if the file is missing, damaged or outdated."""
    try:
        with open_regular(cache) as f, zipfile.ZipFile(f) as archive:
            check_zip(archive)
        with open_regular(cache) as f, np.load(f, allow_pickle=False) as z:
            return dict(z) if str(z["key"]) == key else None
    except Exception:  # missing, truncated, foreign
        if wanted := pickle_in(cache):
            LOGGER.warning(f"WARNING ⚠️ '{cache}' is not a cache but a pickle that asks for {wanted}; it was not run.")
        return None


def stored_faults(arrays: dict[str, np.ndarray], n: int) -> dict[int, str] | None:
    """Return the faults of `n` images by index from a cache, or None if it holds something else."""
    try:
        faults = {int(i): fault for i, fault in json.loads(arrays["faults"].tobytes()).items()}
    except (KeyError, ValueError, AttributeError, RecursionError):
        return None
    return faults if all(0 <= i < n and isinstance(fault, str) and fault for i, fault in faults.items()) else None


def _fits(z: dict[str, np.ndarray], n: int, nc: int, layout: Layout) -> bool:
    """Check that arrays from a cache are what `_arrays` makes of `n` verified images."""
    m = len(z["rows"])  # objects
    shapes = {"shapes": (n, 2), "counts": (n,), "found": (n,), "duplicates": (n,), "rows": (m, 5)}
    polygons = m if layout.keeps_polygons else 0
    shapes |= {"lengths": (polygons,), "corners": (int(z["lengths"].sum()), 2)}
    if layout.kpt_shape:
        shapes["keypoints"] = (m, layout.kpt_shape[0], 3)
    kinds = {"found": np.bool_, "rows": np.float32, "corners": np.float32, "keypoints": np.float32}
    if any(z[k].shape != v or not np.issubdtype(z[k].dtype, kinds.get(k, np.integer)) for k, v in shapes.items()):
        return False
    reach = REACH if layout.rotated else 0.0
    places = [z["rows"][:, 1:] / (1 + reach), z["corners"], *([z["keypoints"][..., :2]] if layout.kpt_shape else [])]
    cls = z["rows"][:, 0]
    return bool(
        all((z[k] >= 0).all() for k in ("shapes", "counts", "lengths", "duplicates"))
        and z["counts"].sum() == m
        and all(((p >= -reach) & (p <= 1 + reach)).all() for p in places)
        and ((cls >= 0) & (cls < nc) & (cls == np.floor(cls))).all()
        and (not layout.kpt_shape or np.isin(z["keypoints"][..., 2], (0, 1, 2)).all())
    )


def _read_cache(cache: Path, key: str, im_files: Sequence[str], nc: int, layout: Layout) -> list[Entry] | None:
    """Return the entries stored under `key`, or None if the labels must be read again."""
    z = read_arrays(cache, key)
    if z is None or (faults := stored_faults(z, len(im_files))) is None:
        return None
    try:
        if not _fits(z, len(im_files), nc, layout):
            return None
        stops = np.cumsum(z["counts"])[:-1]
        table = zip(im_files, z["shapes"].tolist(), np.split(z["rows"], stops), z["found"].tolist())
        entries = [Entry(f, tuple(shape), rows, found=found) for f, shape, rows, found in table]
        polygons = np.split(z["corners"], np.cumsum(z["lengths"])[:-1]) if len(z["lengths"]) else []
        points = np.split(z["keypoints"], stops) if layout.kpt_shape else [None] * len(entries)
        for i, (entry, stop) in enumerate(zip(entries, np.cumsum(z["counts"]).tolist())):
            entry.duplicates, entry.fault = int(z["duplicates"][i]), faults.get(i, "")
            entry.keypoints = points[i]
            entry.segments = polygons[stop - len(entry.rows) : stop] if layout.keeps_polygons else None
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, OverflowError):
        return None
    return entries


def _arrays(entries: list[Entry], layout: Layout) -> dict[str, np.ndarray]:
    """Return the entries as arrays to store."""
    polygons = [s for e in entries for s in e.segments or ()]
    faults = json.dumps({i: e.fault for i, e in enumerate(entries) if e.fault}).encode()
    arrays: dict[str, np.ndarray] = {
        "faults": np.frombuffer(faults, np.uint8),
        "shapes": np.array([e.shape for e in entries], np.int32),
        "counts": np.array([len(e.rows) for e in entries], np.int64),
        "rows": np.concatenate([e.rows for e in entries]),
        "found": np.array([e.found for e in entries]),
        "duplicates": np.array([e.duplicates for e in entries], np.int32),
        "lengths": np.array([len(s) for s in polygons], np.int64),
        "corners": np.concatenate([np.zeros((0, 2), np.float32), *polygons]),
    }
    if layout.kpt_shape:
        arrays["keypoints"] = np.concatenate([e.keypoints for e in entries if e.keypoints is not None])
    return arrays


def write_arrays(cache: Path, prefix: str, **arrays: np.ndarray) -> None:
    """Store arrays atomically, without pickle; a folder that cannot be written is only logged."""
    try:
        refuse_read_only(cache.parent)
        with atomic_write(cache) as f:
            np.savez_compressed(f, **arrays)  # type: ignore[arg-type]  # the stub takes them for its `allow_pickle`
    except OSError as e:
        LOGGER.info(f"{prefix}label cache not saved, '{cache.parent}' cannot be written ({e.strerror or e})")
