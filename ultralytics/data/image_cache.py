"""The images of a dataset, decoded and scaled, from disk or from one of the caches."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import struct
from collections import OrderedDict
from collections.abc import Sequence
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ultralytics.data.image_files import header_size, read_image, resize_long_side, scaled_shape
from ultralytics.data.labels import parallel, refuse_read_only
from ultralytics.data.shared_images import Item, SharedImages
from ultralytics.utils import LOCAL_RANK, LOGGER
from ultralytics.utils.errors import ConfigError, DataError
from ultralytics.utils.files import atomic_write, open_regular
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.pickles import pickle_in
from ultralytics.utils.system.memory import available_memory

if TYPE_CHECKING:
    from multiprocessing.synchronize import Lock


RECENT_BYTES = 256 * 2**20  # images that a process keeps decoded, for the mosaics to come
NAMED = 20  # images that warnings name, so that a vanished disk does not fill the log
_SHARE = 0.8  # of the free memory that a cache may take: training needs some too
_MODES = {"": "", "false": "", "none": "", "true": "ram", "ram": "ram", "disk": "disk"}


class ImageCache:
    """Decode images by index, the longer side scaled to `imgsz`, as read-only arrays.

    A file whose size has changed since this was made is another image, which its labels do not fit.

    Args:
        files: paths.
        imgsz: pixels of the longer side; 0 leaves each image as it is.
        cache: 'ram' or True keeps all in memory, scaled; 'disk' keeps them decoded in `.npy` files beside the images.
        prefix: start of each log line.
        recent: keep the latest images; worth its memory where they are asked for again soon, or all fit.
        shapes: (height, width) of each, where known, to estimate what a cache needs.
    """

    def __init__(
        self,
        files: Sequence[str],
        imgsz: int,
        cache: bool | str | None = None,
        prefix: str = "",
        recent: bool = True,
        shapes: Sequence[tuple[int, int]] | None = None,
    ):
        self.files, self.imgsz, self.prefix, self.shapes = list(files), imgsz, prefix, shapes
        self.sizes = np.array([_stamp(f)[0] for f in self.files], np.int64)
        self.skipped = torch.zeros(len(self.files), dtype=torch.uint8)  # 1: could not be used, and was named
        self.lock: Lock | None = None  # of `skipped`, which this process and its workers share
        with contextlib.suppress(RuntimeError, OSError, ImportError):  # without shared memory, there are none
            self.skipped.share_memory_()
            self.lock = multiprocessing.Lock()
        self.kept: list[Item | None] = []
        self.keep_recent = recent or len(self.files) <= self.reach
        self.recent: OrderedDict[int, Item] = OrderedDict()
        self.recent_bytes = 0
        self.shared: SharedImages | None = None  # takes the place of `recent` in a process that has workers
        mode = str(cache or "").lower()
        if mode not in _MODES:
            raise ConfigError(f"cache={cache} is not allowed; give ram (or True), disk or False.")
        self.mode = _MODES[mode]
        if self.mode == "ram" and not self._fill_memory():
            self.mode = "disk"
        if self.mode == "disk":
            self._fill_disk()

    def __len__(self) -> int:
        return len(self.files)

    def __getstate__(self) -> dict:
        lock = self.lock if get_spawning_popen() else None  # it can only be handed to a new process
        return self.__dict__ | {"recent": OrderedDict(), "recent_bytes": 0, "lock": lock, "shared": None}

    def __getitem__(self, i: int) -> Item:
        """Return the scaled image (h, w, 3) BGR uint8, read-only, and the (height, width) it has in its file.

        Raises:
            MissingFileError: the file is gone.
            DataError: it cannot be read, or was replaced.
        """
        if self.kept and (kept := self.kept[i]) is not None:
            return kept
        if i in self.recent:
            self.recent.move_to_end(i)
            return self.recent[i]
        if self.shared is not None and (found := self.shared.get(i)) is not None:
            return found
        item = self._load(i)
        if self.shared is not None:
            self.shared.put(i, item)
        elif self.keep_recent:
            self._remember(i, item)
        return item

    def _remember(self, i: int, item: Item) -> None:
        """Keep an image in this process, and drop the oldest ones that take too much memory together with it."""
        self.recent[i] = item
        self.recent_bytes += item[0].nbytes
        while self.recent_bytes > RECENT_BYTES:
            self.recent_bytes -= self.recent.popitem(last=False)[1][0].nbytes

    def share(self, workers: int) -> None:
        """Keep the latest images where processes forked from now on find them, too, as each of them would for itself.

        Otherwise, each worker decodes the images that a mosaic takes from the batches of the others: two or three times
        as many as there are samples.
        """
        if not self.keep_recent or self.kept or not self.files or not self.imgsz:
            return
        if self.shared is not None:
            self.shared.renew()
            return
        sizes = [scaled_shape(shape, self.imgsz) for shape in self.shapes or [(1, 1)]]
        limit = RECENT_BYTES * (workers + 1)
        if room := available_memory():
            limit = min(limit, room.free // (4 * int(os.getenv("LOCAL_WORLD_SIZE", 1))))
        with contextlib.suppress(OSError, ValueError, ImportError):  # without shared memory or forks, each has its own
            self.shared = SharedImages(len(self.files), 3 * max(h * w for h, w in sizes), limit)
            self.recent, self.recent_bytes = OrderedDict(), 0

    @property
    def reach(self) -> int:
        """Number of images that stay decoded even without a cache, so that a cache does not change mosaics."""
        return max(1, RECENT_BYTES // (3 * self.imgsz**2)) if self.imgsz else 1

    def name_once(self, i: int, error: Exception, consequence: str) -> None:
        """Warn of an image that cannot be used, the first time that any process meets it."""
        lock = self.lock
        held = lock is not None and lock.acquire(timeout=5)  # a worker that was killed may hold it forever
        known, self.skipped[i] = bool(self.skipped[i]), 1
        count = int(self.skipped.sum())
        if held and lock is not None:
            lock.release()
        if known:
            return
        if count <= NAMED:
            LOGGER.warning(f"WARNING ⚠️ {self.prefix}{error} {consequence}")
        elif count == NAMED + 1:
            LOGGER.warning(f"WARNING ⚠️ {self.prefix}More images cannot be used; they are counted, but not named.")

    def _load(self, i: int) -> Item:
        file = self.files[i]
        size = _stamp(file)[0]
        if size != self.sizes[i] and min(size, self.sizes[i]) >= 0:
            raise DataError(
                f"The image '{file}' was changed: it had {self.sizes[i]} bytes when its labels were read, and has "
                f"{size} now. Restart to use it."
            )
        image = self._read_stored(file) if self.mode == "disk" else None
        image = read_image(file) if image is None else image
        scaled = resize_long_side(image, self.imgsz) if self.imgsz else image
        scaled.flags.writeable = False
        return scaled, image.shape[:2]

    def _load_if_sound(self, i: int) -> Item | None:
        try:
            return self._load(i)
        except (DataError, OSError):  # reported when it is asked for
            return None

    def _bytes(self, imgsz: int) -> int:
        """Return the bytes of all images, scaled to `imgsz` if it is not 0; an estimate where sizes are unknown."""
        shapes = self.shapes
        if shapes is None:
            some = self.files[:: max(1, len(self.files) // 100)]
            shapes = [shape for shape in map(header_size, some) if shape] or [(0, 0)]
        if imgsz:
            shapes = [scaled_shape(shape, imgsz) for shape in shapes]
        page = 4096  # arrays lie in pages of their own
        return int(sum(3 * h * w + page for h, w in shapes) / len(shapes) * len(self.files))

    def _fill_memory(self) -> bool:
        """Decode every image, if there is room for all; return whether there was."""
        n, need = len(self.files), self._bytes(self.imgsz)
        copies = max(1, int(os.getenv("LOCAL_WORLD_SIZE", 1)) - (LOCAL_RANK > 0))  # rank 0 fills its own before others
        loaded = parallel(self._load_if_sound, range(n), desc=f"{self.prefix}Caching images (ram)")
        with contextlib.closing(loaded):
            for i in range(n):
                room = available_memory() if i % max(1, n // 20) == 0 else None  # others may take it meanwhile
                if room and need * (1 - i / n) * copies > _SHARE * room.free:
                    LOGGER.warning(
                        f"WARNING ⚠️ {self.prefix}cache=ram needs {need / 2**30:.2f} GB for {n} images"
                        + (f" in each of {copies} processes" if copies > 1 else "")
                        + (f", of which {i / n:.0%} are done" if i else "")
                        + f", and may take {_SHARE:.0%} of the {room}; they are kept on disk instead (cache=disk)."
                    )
                    self.kept = []
                    return False
                self.kept.append(next(loaded))
        return True

    def _fill_disk(self) -> None:
        """Store every image decoded beside its file; where that fails, go on without a cache."""
        try:
            total = shutil.disk_usage(os.path.dirname(self.files[0]) or ".")
            need = self._bytes(0)
            if need > 0.9 * total.free and not all(os.path.exists(stored_path(f)) for f in self.files):
                raise OSError(f"it needs {need / 2**30:.1f} GB and {total.free / 2**30:.1f} GB are free")
            self._store(self.files[0])  # a folder that cannot be written shows at the first file
            for _ in parallel(self._store, self.files[1:], desc=f"{self.prefix}Caching images (disk)"):
                pass
        except OSError as e:
            LOGGER.warning(
                f"WARNING ⚠️ {self.prefix}cache=disk is off: {e.strerror or e} ({e.filename or self.files[0]})."
            )
            self.mode = ""

    def _store(self, file: str) -> None:
        stamp = _stamp(file)
        if self._read_stored(file) is not None:
            return
        try:
            image = read_image(file)
        except (DataError, OSError):  # reported when it is asked for
            return
        target = stored_path(file)
        refuse_read_only(os.path.dirname(target) or ".")
        with atomic_write(target) as f:
            np.save(f, image, allow_pickle=False)
            f.write(struct.pack("<2q", *stamp))

    @staticmethod
    def _read_stored(file: str) -> np.ndarray | None:
        """Return the stored array, or None if it is missing, damaged or of another image."""
        target = stored_path(file)
        try:
            if os.path.getsize(target) > 3 * limits.IMAGE_BYTES:
                return None
            with open_regular(target) as f:
                image = np.load(f, allow_pickle=False)
                if f.read(17) != struct.pack("<2q", *_stamp(file)):
                    return None
        except Exception:  # missing, or damaged in one of many ways
            if wanted := pickle_in(target):
                LOGGER.warning(f"WARNING ⚠️ '{target}' holds a pickle that asks for {wanted}; it was not run.")
            return None
        fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        return image if fits and image.size else None


def stored_path(file: str | Path) -> str:
    """Return where an image is stored decoded; it keeps its extension, so that `a.jpg` and `a.png` do not clash."""
    return f"{file}.npy"


def _stamp(file: str) -> tuple[int, int]:
    """Return size in bytes and modification time (ns) of a file, (-1, 0) if it is missing."""
    try:
        stat = os.stat(file)
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns
