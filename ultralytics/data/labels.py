"""Label files: found beside their pictures, verified, and kept in a cache that notices every change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ultralytics.data.images import verify_image
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError

CACHE_VERSION = 1  # raise it when the cache's layout or the rules of verification change
THREADS = min(8, max(1, (os.cpu_count() or 2)))
NO_LABELS = np.zeros((0, 5), np.float32)
_SHOWN = 5  # names listed in a warning


@dataclass
class Entry:
    """What is known of one picture and its labels: `rows` (n, 5) are class and box xywh, normalised to 0..1."""

    im_file: str
    shape: tuple[int, int] = (0, 0)  # height, width
    rows: np.ndarray = field(default_factory=lambda: NO_LABELS)
    found: bool = False  # there is a label file
    duplicates: int = 0  # rows removed because they stood twice
    fault: str = ""  # `KIND: DETAIL` if the picture must be left out


def img2label_paths(img_paths: Iterable[str | Path]) -> list[str]:
    """Return each picture's label file: the last `images` folder of its path swapped for `labels`, ending `.txt`."""
    return [_label_path(str(p)) for p in img_paths]


def _label_path(image: str) -> str:
    folder, name = os.path.split(image)
    parts = folder.replace("\\", "/").split("/") if os.sep == "\\" else folder.split("/")
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return os.sep.join([*parts, os.path.splitext(name)[0] + ".txt"] if folder else [os.path.splitext(name)[0] + ".txt"])


def read_label(file: str | Path, nc: int, single_cls: bool = False) -> tuple[np.ndarray, int]:
    """Read one label file.

    Args:
        file: rows of `class x y w h`, or of `class x1 y1 x2 y2 x3 y3 ...` (a polygon, which becomes its box).
        nc: number of classes; a row's class must be below it.
        single_cls: every class counts as 0.

    Returns:
        (n, 5) float32 rows of class and normalised xywh, and how many duplicates were removed.

    Raises:
        DataError: `KIND: DETAIL` with the line at fault.
    """
    text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    lines = [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        return NO_LABELS, 0
    rows = np.stack([_row(i, words) for i, words in lines])
    cls, limit = rows[:, 0], 1 if single_cls else nc
    if single_cls:
        cls[:] = 0
    bad = (cls != np.floor(cls)) | (cls < 0) | (cls >= limit)
    if bad.any():
        i, value = lines[int(bad.argmax())][0], cls[bad.argmax()]
        raise DataError(f"wrong class: line {i} has class {value:g}; allowed are the whole numbers 0 to {limit - 1}")
    first = np.unique(rows, axis=0, return_index=True)[1]
    return rows[np.sort(first)], len(rows) - len(first)


def _row(i: int, words: list[str]) -> np.ndarray:
    """Turn the words of line `i` into class and normalised xywh."""
    n = len(words)
    if n != 5 and (n < 7 or n % 2 == 0):
        raise DataError(
            f"wrong columns: line {i} has {n} columns; wanted are 5 (class x y w h), or 7, 9, ... of a polygon"
        )
    try:
        row = np.array([float(w) for w in words], np.float32)
    except ValueError:
        raise DataError(f"not a number: line {i} reads '{' '.join(words)[:60]}'") from None
    if not np.isfinite(row).all():
        raise DataError(f"not a number: line {i} holds NaN or infinity")
    if (row[1:] < 0).any() or (row[1:] > 1).any():
        worst = row[1:][np.abs(row[1:] - 0.5).argmax()]
        raise DataError(f"out of range: line {i} holds {worst:g}; coordinates are fractions of the picture, 0 to 1")
    if n == 5:
        return row
    points = row[1:].reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return np.concatenate([row[:1], (low + high) / 2, high - low])


def verify_image_label(im_file: str, lb_file: str, nc: int, single_cls: bool = False) -> Entry:
    """Check one picture and its label file; what is wrong with them stands in the entry's `fault`."""
    entry = Entry(im_file)
    try:
        entry.shape = verify_image(im_file)
        # a list of class names that happens to stand where the labels of `classes.jpg` would be is no label
        if os.path.basename(lb_file).lower() != "classes.txt" and os.path.isfile(lb_file):
            entry.found = True
            entry.rows, entry.duplicates = read_label(lb_file, nc, single_cls)
    except (DataError, OSError) as e:
        entry.fault = str(e) if isinstance(e, DataError) else f"unreadable label: {e.strerror or e}"
    return entry


def load_labels(im_files: Sequence[str], nc: int, single_cls: bool = False, prefix: str = "") -> list[Entry]:
    """Return the sound pictures with their labels; what is at fault is named in the log and left out.

    Args:
        im_files: paths of pictures.
        nc: number of classes.
        single_cls: every class counts as 0.
        prefix: start of each log line, as `train: `.

    Raises:
        DataError: no picture is sound.
    """
    lb_files = img2label_paths(im_files)
    folder = Path(lb_files[0]).parent
    cache = folder.with_name(f"{folder.name or 'labels'}.cache.npz")
    key = _fingerprint(im_files, lb_files, nc, single_cls)
    entries = _read_cache(cache, key, im_files)
    if entries is None:
        entries = list(_scan(im_files, lb_files, nc, single_cls, f"{prefix}Scanning {folder}"))
        _write_cache(cache, key, entries, prefix)
    return _report(entries, folder, prefix)


def progress(iterable: Iterable, total: int, desc: str) -> Iterable:
    """Draw a progress bar over `iterable`."""
    from ultralytics.utils import TQDM

    return TQDM(iterable, total=total, desc=desc)


def parallel(function: Callable, *arguments: Sequence, desc: str) -> Iterable:
    """Map a function over its arguments in threads, in order, with a progress bar."""
    with ThreadPoolExecutor(THREADS) as pool:
        yield from progress(pool.map(function, *arguments), len(arguments[0]), desc)


def _scan(im_files: Sequence[str], lb_files: Sequence[str], nc: int, single_cls: bool, desc: str) -> Iterable[Entry]:
    return parallel(lambda im, lb: verify_image_label(im, lb, nc, single_cls), im_files, lb_files, desc=desc)


def _report(entries: list[Entry], folder: Path, prefix: str) -> list[Entry]:
    """Say what was found, and return the entries without fault."""
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
    for e in faulty[:_SHOWN]:
        LOGGER.warning(f"WARNING ⚠️ {prefix}left out '{e.im_file}': {e.fault}")
    if len(faulty) > _SHOWN:
        LOGGER.warning(f"WARNING ⚠️ {prefix}left out {len(faulty) - _SHOWN} more")
    if not sound:
        raise DataError(
            f"None of the {len(entries)} pictures with labels in '{folder}' can be used; "
            f"the first is '{faulty[0].im_file}' ({faulty[0].fault}). Mend the pictures or their labels."
        )
    if background == len(sound):
        LOGGER.warning(
            f"WARNING ⚠️ {prefix}no labels found in '{folder}'; all {len(sound)} pictures count as "
            "background, so nothing can be learned or measured. Put one .txt file per picture there, with rows of "
            "class x y w h, each 0 to 1."
        )
    return sound


def refuse_read_only(folder: str | Path) -> None:
    """Raise PermissionError for a folder without any write bit: root could write there, its owner did not wish it."""
    if os.name == "posix" and not os.stat(folder).st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the folder is marked read-only", str(folder))


def _fingerprint(im_files: Sequence[str], lb_files: Sequence[str], nc: int, single_cls: bool) -> str:
    """Return a hash that changes with any path, size or time of change, and with the rules of verification."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {nc} {single_cls}".encode())
    for file in (f for pair in zip(im_files, lb_files) for f in pair):
        try:
            stat = os.stat(file)
            digest.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            digest.update(f"{file}\0-\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _read_cache(cache: Path, key: str, im_files: Sequence[str]) -> list[Entry] | None:
    """Return the entries stored under `key`, or None if there are none, or the file is damaged or of another time."""
    try:
        with np.load(cache, allow_pickle=False) as z:
            if str(z["key"]) != key:
                return None
            faults = json.loads(z["faults"].tobytes())
            rows = np.split(z["rows"], np.cumsum(z["counts"])[:-1])
            table = zip(im_files, z["shapes"].tolist(), rows, z["found"].tolist(), z["duplicates"].tolist())
            return [Entry(f, tuple(s), r, o, d, faults.get(str(i), "")) for i, (f, s, r, o, d) in enumerate(table)]
    except Exception:  # missing, truncated, foreign: the labels are then read anew
        return None


def _write_cache(cache: Path, key: str, entries: list[Entry], prefix: str) -> None:
    """Store the entries in arrays and JSON, without pickle; a folder that cannot be written costs a log line."""
    faults = json.dumps({i: e.fault for i, e in enumerate(entries) if e.fault}).encode()
    temporary = None
    try:
        refuse_read_only(cache.parent)
        with tempfile.NamedTemporaryFile(dir=cache.parent, prefix=cache.name, suffix=".tmp", delete=False) as f:
            temporary = f.name
            np.savez_compressed(
                f,
                key=np.array(key),
                faults=np.frombuffer(faults, np.uint8),
                shapes=np.array([e.shape for e in entries], np.int32),
                counts=np.array([len(e.rows) for e in entries], np.int64),
                rows=np.concatenate([e.rows for e in entries]),
                found=np.array([e.found for e in entries]),
                duplicates=np.array([e.duplicates for e in entries], np.int32),
            )
        os.replace(temporary, cache)
    except OSError as e:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        LOGGER.info(f"{prefix}label cache not saved, '{cache.parent}' cannot be written ({e.strerror or e})")
