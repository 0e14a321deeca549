"""Label files: found beside their images, verified, and kept in a cache that notices every change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path

import numpy as np

from ultralytics.data.image_files import verify_image
from ultralytics.data.image_headers import read_at_once
from ultralytics.data.label_text import (
    DETECT,
    LAYOUTS,
    NO_LABELS,
    REACH,
    Entry,
    Layout,
    layout_of,
    parse_objects,
    read_label,
    read_objects,
)
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DataError
from ultralytics.utils.files import atomic_write, open_regular
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.archives import check_zip
from ultralytics.utils.hostile.pickles import pickle_in

__all__ = (
    "DETECT",
    "LAYOUTS",
    "NO_LABELS",
    "REACH",
    "Entry",
    "Layout",
    "layout_of",
    "load_labels",
    "read_label",
    "read_objects",
    "verify_image_label",
)

CACHE_VERSION = 5  # raise it when the cache's layout or the rules of verification change
THREADS = min(8, max(1, (os.cpu_count() or 2)))
CHUNK = 64  # files that a thread takes at a time, where each takes microseconds
_SHOWN = 5  # names listed in a warning
_UNREADABLE = "unreadable label"


def img2label_paths(img_paths: Iterable[str | Path]) -> list[str]:
    """Return each image's label file: the last `images` folder of its path replaced by `labels`, ending in `.txt`."""
    return [_label_path(str(p)) for p in img_paths]


def _label_path(image: str) -> str:
    start = image.rfind("/") + 1 if os.sep == "/" else len(image) - len(os.path.basename(image))
    name = image[start:]
    stem = os.path.splitext(name)[0] if name.startswith(".") else name.rpartition(".")[0] or name
    return f"{_label_folder(image[:start])}{stem}.txt"


@lru_cache(maxsize=4096)
def _label_folder(folder: str) -> str:
    """Return the folder of the labels of the images in another, both with a separator at their end."""
    parts = os.path.dirname(folder).replace(os.sep, "/").split("/")
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return os.sep.join([*parts, ""]) if folder else ""


def verify_image_label(
    im_file: str, lb_file: str, nc: int, single_cls: bool = False, layout: Layout = DETECT, deep: bool = False
) -> Entry:
    """Check one image, which is decoded if `deep`, and its labels; the entry's `fault` says what is wrong with them."""
    entry, found, (data, label) = Entry(im_file), _stat(im_file), _content(lb_file)
    entry.stamps = _image_stamp(found), label
    if layout.keeps_polygons:
        entry.segments = []
    if layout.kpt_shape:
        entry.keypoints = np.zeros((0, layout.kpt_shape[0], 3), np.float32)
    try:
        entry.shape = verify_image(im_file, deep, found)
        # `classes.txt` is a list of class names, even where the labels of a `classes.jpg` would be
        entry.found = bool(label) and os.path.basename(lb_file).lower() != "classes.txt"
        if entry.found and label.startswith(_UNREADABLE):
            raise DataError(label)
        if entry.found:
            parse_objects(entry, data, lb_file, nc, single_cls, layout)
    except DataError as e:
        entry.fault = str(e)
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
    cache, entries = cache_path(folder, source, *rules), None
    if cache.exists():
        key = fingerprint(im_files, lb_files, *rules)
        entries = _read_cache(cache, key, im_files, 1 if single_cls else nc, layout)
    if entries is None:
        desc = f"{prefix}Scanning {folder}"
        verify = lambda im, lb: verify_image_label(im, lb, nc, single_cls, layout)  # noqa: E731
        entries = list(parallel(verify, im_files, lb_files, desc=desc, chunk=CHUNK))
        read = chain(((e.im_file, e.stamps[0]) for e in entries), zip(lb_files, (e.stamps[1] for e in entries)))
        write_arrays(cache, prefix, key=np.array(_hash(read, rules)), **_arrays(entries, layout))
    return _report(entries, folder, prefix, layout)


def progress(iterable: Iterable, total: int, desc: str) -> Iterable:
    """Draw a progress bar over `iterable`."""
    from ultralytics.utils import TQDM

    return TQDM(iterable, total=total, desc=desc)


def parallel(function: Callable, *arguments: Sequence, desc: str, chunk: int = 1) -> Generator:
    """Map a function over its arguments in threads, in order, with a progress bar; see `in_threads`."""
    yield from progress(in_threads(function, *arguments, chunk=chunk), len(arguments[0]), desc)


def in_threads(function: Callable, *arguments: Iterable, chunk: int = CHUNK) -> Generator:
    """Map a function over its arguments in threads, in order and not far ahead of who takes the results.

    Args:
        function: called with one value of each of the arguments.
        arguments: of the same length.
        chunk: calls that a thread makes before the next one, which costs as much as opening a file, is handed out.
    """
    calls, waiting = zip(*arguments), deque[Future[list]]()
    pool = ThreadPoolExecutor(THREADS)
    try:
        while part := list(islice(calls, chunk)):
            waiting.append(pool.submit(lambda part: [function(*values) for values in part], part))
            if len(waiting) > 4 * THREADS:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


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

    Labels are read, as an edit may leave size and time unchanged.
    """
    seen = ((file, _image_stamp(_stat(file))) for file in images)
    return _hash(chain(seen, ((file, _content(file)[1]) for file in labels)), rules)


def _hash(files: Iterable[tuple[str, str]], rules: tuple[object, ...]) -> str:
    """Hash paths with their stamps, and the rules."""
    digest = hashlib.sha256(f"{CACHE_VERSION} {rules}".encode("utf-8", "surrogateescape"))
    for file, stamp in files:
        digest.update(f"{file}\0{stamp}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _stat(file: str) -> os.stat_result | None:
    """Return what is known of a file without opening it, None if it is missing."""
    try:
        return os.stat(file)
    except (OSError, ValueError):  # the latter for a name with a NUL in it
        return None


def _image_stamp(found: os.stat_result | None) -> str:
    return f"{found.st_size} {found.st_mtime_ns}" if found else ""


def _content(file: str) -> tuple[bytes, str]:
    """Return the content of a label file, of a far too large one its beginning, and a hash of it.

    Of what is no file, both are empty; of a file that cannot be read, the hash is a sentence.
    """
    found = _stat(file)
    if found is None or not stat.S_ISREG(found.st_mode):  # a link to a device may never end
        return b"", ""
    try:
        data = read_at_once(file, min(found.st_size, limits.LABEL_BYTES) + 1)
    except OSError as e:
        return b"", f"{_UNREADABLE}: {e.strerror or e}"
    return data, hashlib.sha256(data).hexdigest()


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
        corners, rows, points = z["corners"], z["rows"], z.get("keypoints")
        polygons = [corners[a:b] for a, b in pairwise([0, *np.cumsum(z["lengths"]).tolist()])]
        places = pairwise([0, *np.cumsum(z["counts"]).tolist()])
        table = zip(im_files, z["shapes"].tolist(), places, z["found"].tolist(), z["duplicates"].tolist())
        entries = [
            Entry(
                file,
                tuple(shape),
                rows[a:b],
                polygons[a:b] if layout.keeps_polygons else None,
                points[a:b] if layout.kpt_shape and points is not None else None,
                found,
                duplicates,
                faults.get(i, ""),
            )
            for i, (file, shape, (a, b), found, duplicates) in enumerate(table)
        ]
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
            np.savez(f, **arrays)  # type: ignore[arg-type]  # the stub takes them for its `allow_pickle`
    except OSError as e:
        LOGGER.info(f"{prefix}label cache not saved, '{cache.parent}' cannot be written ({e.strerror or e})")
