"""Caches of datasets of one's own, hashes of files, and smaller copies of images, under the names of 8.3.0."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.files import atomic_write, open_regular
from ultralytics.utils.hostile.archives import check_zip

_KINDS = "biuf"  # of arrays in a cache: truth, whole and real numbers


def get_hash(paths: Sequence[str]) -> str:
    """Hash the paths of files and folders, and the sum of their sizes; those that do not exist count 0."""
    size = sum(os.path.getsize(p) for p in paths if os.path.exists(p))
    digest = hashlib.sha256(str(size).encode())
    digest.update("".join(paths).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def save_dataset_cache_file(prefix: str, path: str | Path, x: dict, version: str) -> None:
    """Keep a dataset's labels: dicts, lists, texts, numbers and arrays; a folder that cannot be written is only logged.

    Args:
        prefix: start of the log line.
        path: of the file.
        x: what to keep; gets `version`.
        version: of what is in it.

    Raises:
        DataError: there is something else in it.
    """
    x["version"] = version
    blob = bytearray()  # the bytes of all arrays; in the JSON stands where each begins
    text = json.dumps(_packed(x, blob)).encode()
    try:
        with atomic_write(path) as f:
            np.savez(f, text=np.frombuffer(text, np.uint8), blob=np.frombuffer(bytes(blob), np.uint8))
    except OSError as e:
        LOGGER.warning(f"WARNING ⚠️ {prefix}the cache '{path}' is not saved: {e.strerror or e}.")
        return
    LOGGER.info(f"{prefix}New cache created: {path}")


def load_dataset_cache_file(path: str | Path) -> dict:
    """Read what `save_dataset_cache_file` kept; no code in a file runs.

    Raises:
        MissingFileError: there is no such file, or it is another's: 8.3.0 kept a pickle, which is not opened.
    """
    try:
        with open_regular(path) as f, zipfile.ZipFile(f) as archive:
            check_zip(archive)
        with open_regular(path) as f, np.load(f, allow_pickle=False) as kept:
            blob, found = kept["blob"].tobytes(), json.loads(kept["text"].tobytes())
        return cast("dict", _unpacked(found, blob))
    except MissingFileError:
        raise
    except Exception as e:  # damaged in one of many ways, or a pickle
        raise MissingFileError(
            f"'{path}' is not a cache that this package kept ({type(e).__name__}). Delete it; it is made again."
        ) from None


def _packed(value: object, blob: bytearray) -> object:
    """Return a value as JSON can hold it: lists and plain values as they are, others as {kind: content}."""
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        start = len(blob)
        blob += value.tobytes()
        return {"array": [value.dtype.str, list(value.shape), start]}
    if isinstance(value, dict):
        return {"dict": [[_packed(k, blob), _packed(v, blob)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [_packed(v, blob) for v in value]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, (np.generic, Path)):
        return value.item() if isinstance(value, np.generic) else str(value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise DataError(f"A {type(value).__name__} cannot be kept in a cache; dicts, lists, texts, numbers and arrays can.")


def _unpacked(value: object, blob: bytes) -> object:
    """Return what `_packed` was given."""
    if isinstance(value, list):
        return [_unpacked(v, blob) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        kept, shape, start = np.dtype(content[0]), content[1], content[2]
        if kept.kind not in _KINDS:
            raise DataError(f"An array of {kept} is none that was kept.")
        count = math.prod(shape)
        return np.frombuffer(blob, kept, count, start).reshape(shape).copy() if count else np.zeros(shape, kept)
    items = [_unpacked(v, blob) for v in content]
    return tuple(items) if kind == "tuple" else dict(cast("list[list]", items))


def compress_one_image(f: str | Path, f_new: str | Path | None = None, max_dim: int = 1920, quality: int = 50) -> None:
    """Write an image as a smaller JPEG.

    Args:
        f: the image.
        f_new: the new file; the image itself if None.
        max_dim: pixels of the longer side, if it has more.
        quality: of the JPEG, 1 to 95.
    """
    from PIL import Image

    with open_regular(f) as file, Image.open(file) as opened:
        image = opened.convert("RGB")
    gain = max_dim / max(image.size)
    if gain < 1:
        image = image.resize((max(round(image.width * gain), 1), max(round(image.height * gain), 1)))
    with atomic_write(f_new or f) as out:
        image.save(out, "JPEG", quality=quality, optimize=True)


class HUBDatasetStats:
    """Packs a dataset for a service of the vendor's, which is not part of this package.

    Raises:
        ConfigError: always.
    """

    def __init__(self, path: str | Path = "coco8.yaml", task: str = "detect", autodownload: bool = False):
        raise ConfigError(
            f"HUBDatasetStats packs '{path}' for the vendor's HUB, which is not part of this package. "
            f"`yolo data check data={path}` counts its images, objects and classes."
        )
