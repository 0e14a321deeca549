"""Caches of datasets of one's own, hashes of files, and smaller copies of images, under the names of 8.3.0."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, MissingFileError
from ultralytics.utils.files import atomic_write, open_regular
from ultralytics.utils.hostile.archives import check_zip

Old = TypeVar("Old")


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
    """
    x["version"] = version
    try:
        with atomic_write(path) as f:
            torch.save(_mapped(x, np.ndarray, torch.from_numpy), f)
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
        with open_regular(path) as f:
            kept = torch.load(f, map_location="cpu", weights_only=True)
        return cast("dict", _mapped(kept, torch.Tensor, torch.Tensor.numpy))
    except MissingFileError:
        raise
    except Exception as e:  # damaged in one of many ways, or a pickle
        raise MissingFileError(
            f"'{path}' is not a cache that this package kept ({type(e).__name__}). Delete it; it is made again."
        ) from None


def _mapped(value: object, kind: type[Old], change: Callable[[Old], object]) -> object:
    """Change the values of a kind in dicts, lists and tuples."""
    if isinstance(value, dict):
        return {key: _mapped(v, kind, change) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(v, kind, change) for v in value)
    return change(value) if isinstance(value, kind) else value


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
