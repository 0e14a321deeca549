"""Reading, writing and showing of images at any path, and of tensors without running code, under the names of 8.3.0."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import torch

from ultralytics.utils.files import atomic_write

_torch_save = torch.save


def imread(filename: str | Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Read an image as `cv2.imread` does, also from a path that is not ASCII; None if it cannot be read."""
    try:
        return cv2.imdecode(np.fromfile(filename, np.uint8), flags)
    except (OSError, cv2.error):
        return None


def imwrite(filename: str | Path, img: np.ndarray, params: list[int] | None = None) -> bool:
    """Write an image as `cv2.imwrite` does, also to a path that is not ASCII; return whether that went well."""
    try:
        done, data = cv2.imencode(Path(filename).suffix, img, params or [])
        with atomic_write(filename, sync=False) as f:
            f.write(data)
        return done
    except (OSError, cv2.error):
        return False


def imshow(winname: str, mat: np.ndarray) -> None:
    """Show an image in a window, whose name may be in any script."""
    cv2.imshow(winname.encode("unicode_escape").decode(), mat)


def torch_load(f: str | Path | IO[bytes], *args, **kwargs) -> object:
    """Read a file as `torch.load` does, with `weights_only=True` unless told otherwise: no code in it runs."""
    return torch.load(f, *args, **{"weights_only": True, **kwargs})


def torch_save(obj: object, f: str | Path | IO[bytes], *args, **kwargs) -> None:
    """Write a file as `torch.save` does; a path is replaced only by a whole file.

    A disk or network share may refuse a write for a moment, which PyTorch raises as a RuntimeError: a path is tried
    four times in 3.5 seconds before the error is raised.
    """
    if not isinstance(f, (str, Path)):
        _torch_save(obj, f, *args, **kwargs)
        return
    for pause in (0.5, 1.0, 2.0, None):
        try:
            with atomic_write(f) as file:
                return _torch_save(obj, file, *args, **kwargs)
        except RuntimeError:
            if pause is None:
                raise
            time.sleep(pause)
