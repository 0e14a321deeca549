"""What is written and shown of results: names that are free, videos, and windows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import writing
from ultralytics.utils.hostile.names import for_opencv, shortened


class OutputNames:
    """Gives each source file a stem of its own for what is saved of it: files of one name get numbers.

    Args:
        files: of the user, such as sources and labels, of which none may be written over.
        folders: into which is written. A stem that one of those files has there is never given.
    """

    def __init__(self, files: Iterable[str | Path], folders: Iterable[Path]):
        self.holders: dict[str, Path] = {}  # of stems, in small letters
        self.said = False
        folders = [folder for folder in folders if folder.is_dir()]
        theirs = {_identity(file) for file in files} - {None} if folders else ()
        self.spared = {f.stem.lower() for folder in folders for f in folder.iterdir() if _identity(f) in theirs}

    def __call__(self, p: Path, name: str = "") -> str:
        """Return the stem for a file, the same each time; `name` is the one to be had if it is free."""
        name = shortened(name or p.stem)
        for stem in chain([name], (f"{name}_{n}" for n in count(2))):
            if stem.lower() not in self.spared and self.holders.setdefault(stem.lower(), p) == p:
                break
        if name.lower() in self.spared and not self.said:
            self.said = True
            LOGGER.warning(
                f"WARNING: the run folder is where '{p}' or its label lies, so what is saved of it is called '{stem}', "
                "and the like with others. Another project= or name= keeps sources and results apart."
            )
        return stem


def _identity(file: str | Path) -> tuple[int, int] | None:
    """Return by what the system knows a file, whatever path or link leads to it; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(file)
        return found.st_dev, found.st_ino
    return None


class VideoSaver:
    """Writes the drawn frames of one video or stream; as .mp4, or .avi where OpenCV cannot write that."""

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        size = (shape[1], shape[0])
        for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.path = path.with_suffix(suffix)
            self.writer = cv2.VideoWriter(for_opencv(self.path), cv2.VideoWriter_fourcc(*codec), fps, size)
            if self.writer.isOpened():
                return
        raise ConfigError(f"'{path}' cannot be written as .mp4 or .avi: check the folder, or use save_frames=True.")

    def write(self, frame: np.ndarray) -> None:
        self.writer.write(frame)

    def close(self) -> None:
        self.writer.release()
