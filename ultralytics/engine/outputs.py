"""Output of results: free file names, label files, images, videos and windows."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

import cv2
import numpy as np

from ultralytics.data.image_files import VID_FORMATS, suffix
from ultralytics.data.loaders import Frame
from ultralytics.engine.results import Results
from ultralytics.utils import LOGGER, IterableSimpleNamespace
from ultralytics.utils.checks import check_imshow
from ultralytics.utils.drawing.annotator import imwrite
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import RunFolder, writing
from ultralytics.utils.hostile.names import for_opencv, shortened
from ultralytics.utils.ops import clean_str


class OutputNames:
    """Gives each source file a stem of its own for its output: files of one name get numbers.

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
    """Return device and inode of a file, the same by whatever path or link; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = os.stat(file)
        return found.st_dev, found.st_ino
    return None


class VideoSaver:
    """Writes the annotated frames of one video or stream; as .mp4, or .avi where OpenCV cannot write that."""

    def __init__(self, path: Path, fps: float, shape: tuple[int, ...]):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        size = (shape[1], shape[0])
        for ending, codec in ((".mp4", "mp4v"), (".avi", "MJPG")):
            self.path = path.with_suffix(ending)
            code = cv2.VideoWriter_fourcc(*codec)  # type: ignore[attr-defined]
            self.writer = cv2.VideoWriter(for_opencv(self.path), code, fps, size)
            if self.writer.isOpened():
                return
        raise ConfigError(f"'{path}' cannot be written as .mp4 or .avi: check the folder, or use save_frames=True.")

    def write(self, frame: np.ndarray) -> None:
        self.writer.write(frame)

    def close(self) -> None:
        self.writer.release()


class ResultSaver:
    """Saves the results of one prediction run: label files, annotated images, crops and videos.

    Args:
        folder: of the run, made now if it is not there.
        files: of the user, such as sources and labels, of which none is written over.

    Attributes:
        written: files and folders.
        videos: those that are being written, by the paths that were wanted.
    """

    def __init__(self, folder: RunFolder, files: Iterable[str | Path]):
        self.folder, path = folder, folder.make()
        self.names = OutputNames(files, (path, path / "labels"))
        self.written: set[Path] = set()
        self.videos: dict[Path, VideoSaver] = {}

    def name(self, p: Path, stream: bool = False) -> Path:
        """Return the file name under which an image, video or stream is saved; an address becomes one.

        Of images with one name, from several folders, all but the first get a number.
        """
        if not stream:
            return Path(self.names(p) + p.suffix)
        name = p.with_suffix("") if suffix(str(p)) in VID_FORMATS else p
        return Path(self.names(p, re.sub(r"[\\/:.\s]+", "_", clean_str(str(name)))))

    def save_found(self, result: Results, frame: Frame, p: Path, args: IterableSimpleNamespace) -> None:
        """Save what was found, where the settings ask for it: label file and crops.

        Args:
            result: of the image.
            frame: where the image comes from.
            p: of the image or video in its source.
            args: the settings.
        """
        folder, name = self.folder.path, self.name(p, frame.kind == "stream")
        stem = name.stem if frame.number is None else f"{name.stem}_{frame.number}"
        if args.save_txt:
            self._save_labels(result, folder / "labels" / f"{stem}.txt", args.save_conf)
        if args.save_crop:
            result.save_crop(folder / "crops", file_name=stem)
            self.written.add(folder)

    def save_drawn(
        self, drawn: np.ndarray, out: Path, number: int | None, fps: float, args: IterableSimpleNamespace
    ) -> None:
        """Save an annotated image, or add it to its video.

        Args:
            drawn: (h, w, 3) BGR.
            out: file of the image or video.
            number: of the frame in its video or stream; None for an image.
            fps: frames a second of the video or stream; 0 if they are not known.
            args: the settings.
        """
        if number is None:
            imwrite(out if out.suffix else out.with_suffix(".jpg"), drawn)
        elif args.save:
            if out not in self.videos:
                self.videos[out] = VideoSaver(out, max((fps or 30) / args.vid_stride, 1.0), drawn.shape)
            self.videos[out].write(drawn)
        if args.save_frames and number is not None:
            imwrite(out.with_name(f"{out.stem}_frames") / f"{number}.jpg", drawn)
        self.written.add(out)

    def _save_labels(self, result: Results, file: Path, conf: bool) -> None:
        """Append to a label file; one of an older run in the same folder is replaced."""
        if file not in self.written:
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.unlink(missing_ok=True)
        result.save_txt(file, save_conf=conf)
        self.written.add(file)

    def close(self) -> None:
        """Close the videos; remove the folder if nothing was written into it."""
        for video in self.videos.values():
            video.close()
        if not self.written:
            with contextlib.suppress(OSError):
                (self.folder.path / "labels").rmdir()
            self.folder.remove_if_empty()


class Windows:
    """The windows of one prediction run.

    Attributes:
        titles: of those that were opened.
        can_open: whether there is a screen, as far as is known.
    """

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.can_open = True

    def show(self, title: str, drawn: np.ndarray, moving: bool) -> None:
        """Show an image (h, w, 3) BGR for half a second, or for one frame; warn where that is not possible."""
        self.can_open = check_imshow(warn=True)
        if not self.can_open:
            return
        try:
            if title not in self.titles:
                cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
                cv2.resizeWindow(title, drawn.shape[1], drawn.shape[0])
                self.titles.append(title)
            cv2.imshow(title, drawn)
            cv2.waitKey(1 if moving else 500)
        except cv2.error:
            self.can_open = False
            LOGGER.warning("WARNING: show=True needs a screen and an OpenCV that opens windows; use save=True instead.")

    def close(self) -> None:
        for title in self.titles:
            with contextlib.suppress(cv2.error):
                cv2.destroyWindow(title)
