"""The pictures of a dataset, decoded and scaled, from disk or from one of the caches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ultralytics.data.images import read_image, resize_long_side
from ultralytics.data.labels import parallel, refuse_read_only
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError

RECENT_BYTES = 256 * 2**20  # pictures that a process keeps decoded, for the mosaics to come
_MODES = {"": "", "false": "", "none": "", "true": "ram", "ram": "ram", "disk": "disk"}


class Pictures:
    """Decode pictures by index, the longer side scaled to `imgsz`; nobody may change the arrays in place.

    Args:
        files: paths.
        imgsz: pixels of the longer side.
        cache: 'ram' or True keeps all in memory, scaled; 'disk' keeps them decoded in `.npy` files beside the pictures.
        prefix: start of each log line.
        recent: keep what was read last; worth its memory where pictures are asked for again soon, or all fit.
    """

    def __init__(
        self, files: Sequence[str], imgsz: int, cache: bool | str | None = None, prefix: str = "", recent: bool = True
    ):
        self.files, self.imgsz, self.prefix = list(files), imgsz, prefix
        self.kept: list[tuple[np.ndarray, tuple[int, int]]] = []
        self.keep_recent = recent or len(self.files) <= self.reach
        self.recent: OrderedDict[int, tuple[np.ndarray, tuple[int, int]]] = OrderedDict()
        self.recent_bytes = 0
        mode = str(cache or "").lower()
        if mode not in _MODES:
            raise ConfigError(f"cache={cache} is not allowed; give ram (or True), disk or False.")
        self.mode = _MODES[mode]
        if self.mode == "ram":
            self._fill_memory()
        elif self.mode == "disk":
            self._fill_disk()

    def __len__(self) -> int:
        return len(self.files)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"recent": OrderedDict(), "recent_bytes": 0}

    def __getitem__(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the scaled picture (h, w, 3) BGR uint8, read-only, and the (height, width) it has in its file."""
        if self.kept:
            return self.kept[i]
        if i in self.recent:
            self.recent.move_to_end(i)
            return self.recent[i]
        item = self._load(i)
        if not self.keep_recent:
            return item
        self.recent[i] = item
        self.recent_bytes += item[0].nbytes
        while self.recent_bytes > RECENT_BYTES:
            self.recent_bytes -= self.recent.popitem(last=False)[1][0].nbytes
        return item

    @property
    def reach(self) -> int:
        """How many pictures are sure to stay decoded."""
        return len(self.files) if self.kept else max(1, RECENT_BYTES // (3 * self.imgsz**2))

    def _load(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        file = self.files[i]
        image = self._read_stored(file) if self.mode == "disk" else None
        image = read_image(file) if image is None else image
        scaled = self._scaled(image)
        scaled.flags.writeable = False
        return scaled, image.shape[:2]

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        return resize_long_side(image, self.imgsz)

    def _fill_memory(self) -> None:
        """Decode every picture, if there is room for all."""
        sample = range(0, len(self.files), max(1, len(self.files) // 20))
        need = 1.2 * len(self.files) * max(self._load(i)[0].nbytes for i in sample)
        free = available_memory()
        if free is not None and need > 0.8 * free:
            LOGGER.warning(
                f"WARNING ⚠️ {self.prefix}cache=ram needs {need / 2**30:.1f} GB and {free / 2**30:.1f} GB are free; "
                "pictures are read from disk instead. Try cache=disk."
            )
            return
        self.kept = list(parallel(self._load, range(len(self.files)), desc=f"{self.prefix}Caching pictures (ram)"))

    def _fill_disk(self) -> None:
        """Store every picture decoded beside its file; where that cannot be, reading goes on without."""
        try:
            total = shutil.disk_usage(os.path.dirname(self.files[0]) or ".")
            need = sum(read_image(f).nbytes for f in self.files[:8]) / len(self.files[:8]) * len(self.files)
            if need > 0.9 * total.free and not all(os.path.exists(stored_path(f)) for f in self.files):
                raise OSError(f"it needs {need / 2**30:.1f} GB and {total.free / 2**30:.1f} GB are free")
            self._store(self.files[0])  # a folder that cannot be written shows at the first file
            for _ in parallel(self._store, self.files[1:], desc=f"{self.prefix}Caching pictures (disk)"):
                pass
        except OSError as e:
            LOGGER.warning(
                f"WARNING ⚠️ {self.prefix}cache=disk is off: {e.strerror or e} ({e.filename or self.files[0]})."
            )
            self.mode = ""

    def _store(self, file: str) -> None:
        if self._read_stored(file) is not None:
            return
        target = stored_path(file)
        refuse_read_only(os.path.dirname(target) or ".")
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(target) or ".", suffix=".tmp", delete=False) as f:
            try:
                np.save(f, read_image(file), allow_pickle=False)
            except BaseException:
                os.unlink(f.name)
                raise
        os.replace(f.name, target)

    @staticmethod
    def _read_stored(file: str) -> np.ndarray | None:
        """Return the stored array, or None where there is none, it is older than its picture, or it is damaged."""
        target = stored_path(file)
        try:
            if os.path.getmtime(target) < os.path.getmtime(file):
                return None
            image = np.load(target, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return image if image.ndim == 3 and image.dtype == np.uint8 else None


def stored_path(file: str | Path) -> str:
    """Return where a picture is kept decoded; the extension stays, so that `a.jpg` and `a.png` do not meet."""
    return f"{file}.npy"


def available_memory() -> int | None:
    """Return the bytes that can be taken without swapping, or None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pass
    try:
        import psutil

        return psutil.virtual_memory().available
    except ImportError:
        return None
