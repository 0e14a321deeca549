"""Sources of predictions: files, folders, videos, cameras, streams and arrays.

Each loader yields batches (paths, images, texts), as those of ultralytics 8.3.0 do, and what is known of each image is
in `batch.frames`: images are uint8 (h, w, 3) BGR arrays, texts begin log lines.
"""

from __future__ import annotations

import glob
import math
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeGuard

import cv2
import numpy as np
import torch

from ultralytics.data.frames import Batch, Frame, Images, Kind, Loader, SourceTypes  # noqa: F401  public names here
from ultralytics.data.image_files import FORMATS_HELP, VID_FORMATS, is_image, read_image, suffix
from ultralytics.data.screen import LoadScreenshots
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DataError, MissingFileError
from ultralytics.utils.files import read_text, walk
from ultralytics.utils.hostile import limits
from ultralytics.utils.hostile.names import for_opencv

if TYPE_CHECKING:
    from PIL.Image import Image

_STREAMS = ("rtsp://", "rtmp://", "http://", "https://", "tcp://")
_BUFFERED = 30  # frames of a stream kept where none may be lost


def load_inference_source(source: object = None, batch: int = 1, vid_stride: int = 1, buffer: bool = False) -> Loader:
    """Return the loader of a source; its `source_type` is the kind of source.

    Args:
        source: path, glob, folder, text file of paths, video, camera number, stream address, `.streams` file, array,
            PIL image, tensor, or a list of arrays, images or paths; a loader of this module stays what it is.
        batch: images at a time.
        vid_stride: every how many frames of a video one is taken.
        buffer: keep all frames of a stream instead of the newest.
    """
    if isinstance(source, LOADERS):
        return source
    loader: Loader
    if isinstance(source, torch.Tensor):
        loader, kind = LoadTensor(source), SourceTypes(tensor=True)
    elif isinstance(source, (str, Path, int)) and not isinstance(source, bool):
        loader, kind = _open_named(str(source), batch, vid_stride, buffer)
    elif isinstance(source, (list, tuple)) and len(source) and all(isinstance(s, (str, Path)) for s in source):
        loader, kind = LoadImagesAndVideos(source, batch, vid_stride), SourceTypes()
    elif isinstance(source, (list, tuple)):
        loader, kind = LoadPilAndNumpy(autocast_list(source)), SourceTypes(from_img=True)
    elif isinstance(source, np.ndarray) or _is_pillow(source):
        loader, kind = LoadPilAndNumpy(source), SourceTypes(from_img=True)
    else:
        raise DataError(
            f"A source of type {type(source).__name__} cannot be read. Give a path, folder, glob, address, "
            "camera number, array, PIL image, tensor or a list of them."
        )
    loader.source_type = kind
    return loader


def _open_named(source: str, batch: int, vid_stride: int, buffer: bool) -> tuple[Loader, SourceTypes]:
    """Open the source that a text names."""
    lower = source.lower()
    if _is_screen(lower):
        return LoadScreenshots(source), SourceTypes(screenshot=True)
    if _is_webcam(lower):
        return LoadStreams(source, vid_stride, buffer), SourceTypes(stream=True)
    return LoadImagesAndVideos(source, batch, vid_stride), SourceTypes()


def check_source(source: object) -> tuple[object, bool, bool, bool, bool, bool]:
    """Tell the kind of a source; it is not opened.

    Returns:
        The source, with a path or a number as text and the paths of a list opened; then whether it is a camera or
        stream, the screen, given as arrays or PIL images, a loader of this module, or a tensor.
    """
    if isinstance(source, (list, tuple)):
        return autocast_list(source), False, False, True, False, False
    named = isinstance(source, (str, Path, int)) and not isinstance(source, bool)
    source = str(source) if named else source
    lower = source.lower() if isinstance(source, str) else ""
    kinds = (
        _is_webcam(lower),
        _is_screen(lower),
        isinstance(source, np.ndarray) or _is_pillow(source),
        isinstance(source, LOADERS),
        isinstance(source, torch.Tensor),
    )
    if not named and not any(kinds):
        raise DataError(f"A source of type {type(source).__name__} cannot be read. Give a path, an array or a tensor.")
    return source, *kinds


def get_best_youtube_url(url: str, method: str = "pytube") -> str:
    """Say how to watch a video of YouTube, which nothing here fetches.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"'{url}' is not looked up here. `yt-dlp -g -f mp4 {url}` prints an address: give that.")


def _is_webcam(source: str) -> bool:
    return source.isnumeric() or source.endswith(".streams") or _is_stream(source)


def _is_screen(source: str) -> bool:
    return source.split()[:1] == ["screen"]


def _is_stream(address: str) -> bool:
    return address.startswith(_STREAMS)


def _checked_address(address: str) -> str:
    """Return a camera number, the address of a stream or the path of a video.

    Raises:
        MissingFileError: it is something else: OpenCV with GStreamer would take it for a pipeline and run that.
    """
    plain = address.isprintable() and not any(c.isspace() for c in address)
    if (address.isdecimal() and len(address) < 7) or (_is_stream(address.lower()) and plain) or os.path.isfile(address):
        return address
    raise MissingFileError(
        f"The stream or camera '{address[:200]}' gives no image: it is neither a camera number, nor a video that is "
        f"there, nor an address without blanks that begins with {', '.join(_STREAMS)}."
    )


def _is_pillow(source: object) -> TypeGuard[Image]:
    return type(source).__module__.startswith("PIL.") and hasattr(source, "convert")


def autocast_list(source: list | tuple) -> list:
    """Open the paths in a list of images; arrays and PIL images stay as they are."""
    return [_open_image(s) if isinstance(s, (str, Path)) else s for s in source]


def _open_image(path: str | Path) -> Image:
    from PIL.Image import fromarray

    image = fromarray(np.ascontiguousarray(read_image(path)[..., ::-1]))
    image.filename = str(path)  # type: ignore[attr-defined]  # as an image has that Pillow read from a file
    return image


class LoadImagesAndVideos:
    """Images and videos from files, folders, globs, or text files of paths.

    Args:
        path: one of those, or a list of them.
        batch: images or frames at a time.
        vid_stride: every how many frames one is taken.
    """

    def __init__(self, path: str | Path | Sequence[str | Path], batch: int = 1, vid_stride: int = 1):
        _check_stride(vid_stride)
        self.files = [f for p in (path if isinstance(path, (list, tuple)) else [path]) for f in _expand(str(p))]
        self.bs, self.vid_stride, self.mode = max(1, int(batch)), int(vid_stride), "image"
        self.video_flag = [suffix(f) in VID_FORMATS for f in self.files]
        self.nf, self.ni = len(self.files), len(self.files) - sum(self.video_flag)
        self.cap: cv2.VideoCapture | None = None
        self.frame = self.frames = 0
        self.fps = 0.0
        self.source_type = SourceTypes()
        if not self.files:
            raise MissingFileError(f"There are no images or videos in '{path}'. {FORMATS_HELP}")

    def __len__(self) -> int:
        """Number of batches if every file were an image."""
        return math.ceil(self.nf / self.bs)

    def __iter__(self) -> Iterator[Batch]:
        frames: list[Frame] = []
        for i, file in enumerate(self.files):
            for frame in self._frames(i, file) if self.video_flag[i] else self._image(i, file):
                frames.append(frame)
                if len(frames) == self.bs:
                    yield Batch(frames)
                    frames = []
        if frames:
            yield Batch(frames)

    def _image(self, i: int, file: str) -> Iterator[Frame]:
        self.mode = "image"
        try:
            yield Frame(read_image(file), file, "image", i, self.nf)
        except DataError as e:
            if self.nf == 1:
                raise
            LOGGER.warning(f"WARNING ⚠️ left out: {e}")

    def _frames(self, i: int, file: str) -> Iterator[Frame]:
        self.mode, self.frame = "video", 0
        # FFmpeg would take a file called `http:x.mp4` or `concat:x.mp4` for an address or a list; `/x/...` is a file
        self.cap = cap = cv2.VideoCapture(for_opencv(os.path.abspath(file)))
        try:
            pixels = cap.get(cv2.CAP_PROP_FRAME_WIDTH) * cap.get(cv2.CAP_PROP_FRAME_HEIGHT)
            if not cap.isOpened() or not pixels <= limits.PIXELS:
                raise DataError(f"The video '{file}' cannot be opened. Does it play elsewhere? Else convert it to mp4.")
            self.fps = _finite(cap.get(cv2.CAP_PROP_FPS))
            self.frames = int(_finite(cap.get(cv2.CAP_PROP_FRAME_COUNT)) / self.vid_stride)
            while True:
                for _ in range(self.vid_stride):
                    if not cap.grab():
                        return
                ok, image = cap.retrieve()
                if not ok:
                    return
                self.frame += 1
                yield Frame(_as_bgr(image), file, "video", i, self.nf, self.frame, self.frames, self.fps)
        except cv2.error as e:
            raise DataError(f"The video '{file}' is damaged after {self.frame} frames ({_reason(e)}).") from None
        finally:
            cap.release()


def _finite(number: float) -> float:
    """Return a number from a file's header, or 0 where it is not finite."""
    return number if math.isfinite(number) else 0.0


def _reason(e: Exception) -> str:
    """Return a short form of OpenCV's errors, which come with files and lines of its source."""
    return " ".join(str(getattr(e, "err", None) or e).split())[:100]


def _expand(path: str, listed: bool = False) -> list[str]:
    """Return the images and videos of a path; `listed`: the path is from a text file."""
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        names = sorted(os.path.join(path, n) for n in os.listdir(path))
        return [n for n in names if _readable(n) and os.path.isfile(n)]
    if os.path.isfile(path):
        if suffix(path) in {"txt", "csv"}:
            if listed:  # it might be the one in which it stands
                raise DataError(f"A list of sources may not hold another list, but holds '{path}'. Join them.")
            return _from_list(path)
        if not _readable(path):
            raise DataError(f"'{path}' is neither an image nor a video that can be read. {FORMATS_HELP}")
        return [path]
    if any(c in path for c in "*?[") and "\0" not in path:
        found = [f for f in sorted(_glob(_pattern(path))) if _readable(f) and os.path.isfile(f)]
        if found:
            return found
    raise MissingFileError(
        f"The source '{os.path.abspath(path)}' does not exist. Give a file, folder, glob, address or camera number."
    )


def _pattern(path: str) -> str:
    """Return a glob whose leading folders, as far as they exist by that name, stand for themselves: `a [1]/*.jpg`."""
    parts = Path(path).parts
    known = next(n for n in range(len(parts), -1, -1) if os.path.isdir(os.path.join("", *parts[:n]) or "."))
    return os.path.join(glob.escape(os.path.join("", *parts[:known])), *parts[known:])


def _glob(pattern: str) -> set[str]:
    """Return the matches of a pattern; with `**`, links never lead to a folder twice."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return {*glob.glob(pattern)}
    i = parts.index("**")
    tops = [top for top in glob.glob(os.path.join("", *parts[:i]) or ".") if os.path.isdir(top)]
    rest = parts[i + 1 :] or ("*",)
    folders = (os.path.normpath(folder) for top in tops for folder, _ in walk(top))
    return {file for folder in folders for file in _glob(os.path.join(glob.escape(folder), *rest))}


def _from_list(path: str) -> list[str]:
    """Return the files named in a text file, one a line, relative to it or to the working folder."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    files = []
    for line in lines:
        beside = os.path.join(os.path.dirname(os.path.abspath(path)), line)
        files += _expand(beside if os.path.exists(beside) else line, listed=True)
    return files


def _readable(path: str) -> bool:
    return is_image(path) or suffix(path) in VID_FORMATS


def _check_stride(vid_stride: int) -> None:
    if int(vid_stride) < 1:
        raise ConfigError(f"vid_stride={vid_stride} is not allowed; give a whole number of at least 1.")


def _as_bgr(image: np.ndarray) -> np.ndarray:
    """Return an image or frame as contiguous uint8 (h, w, 3), whatever its depth and channels."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in {1, 3, 4} or 0 in image.shape:
        raise DataError(f"An array of shape {image.shape} is no image; wanted is (height, width, 3), BGR, 0 to 255.")
    if image.dtype == np.uint16:
        image = image >> 8
    elif image.dtype.kind == "f" and image.size and image.max() <= 1:
        image = image * 255
    elif image.dtype == bool:
        image = image * np.uint8(255)
    if image.dtype != np.uint8:
        image = np.nan_to_num(image).clip(0, 255).astype(np.uint8)
    image = np.repeat(image, 3, 2) if image.shape[2] == 1 else image[..., :3]
    return np.ascontiguousarray(image)


class LoadPilAndNumpy:
    """Images in memory: arrays (h, w, 3) BGR, or PIL images of any mode."""

    def __init__(self, im0: np.ndarray | Image | list[np.ndarray | Image] | tuple[np.ndarray | Image, ...]):
        images = list(im0) if isinstance(im0, (list, tuple)) else [im0]
        if not images:
            raise DataError("The source is an empty list. Give at least one image.")
        self.im0 = [self._single_check(p) for p in images]
        self.paths = [getattr(p, "filename", "") or f"image{i}.jpg" for i, p in enumerate(images)]
        self.mode, self.bs, self.source_type = "image", len(images), SourceTypes(from_img=True)

    @staticmethod
    def _single_check(image: np.ndarray | Image) -> np.ndarray:
        if _is_pillow(image):
            if image.mode.startswith("I;16") or image.mode == "I":
                return _as_bgr(np.asarray(image).astype(np.uint16))
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
        if isinstance(image, np.ndarray):
            return _as_bgr(image)
        raise DataError(f"A {type(image).__name__} is no image. Give arrays, PIL images or paths.")

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield Batch([Frame(im, p, "array", i, self.bs) for i, (im, p) in enumerate(zip(self.im0, self.paths))])


class LoadTensor:
    """A batch that is ready for the model: (b, 3, h, w) or (3, h, w) RGB in 0..1, sides multiples of the stride."""

    def __init__(self, im0: torch.Tensor, stride: int = 32):
        if im0.ndim == 3:
            im0 = im0[None]
        if im0.ndim != 4 or im0.shape[1] != 3 or 0 in im0.shape:
            raise DataError(
                f"A tensor of shape {tuple(im0.shape)} is no batch; wanted is (batch, 3, height, width), RGB, 0 to 1."
            )
        if im0.shape[2] % stride or im0.shape[3] % stride:
            raise DataError(
                f"A tensor of {im0.shape[2]}x{im0.shape[3]} pixels does not fit the model; "
                f"both sides must be multiples of {stride}."
            )
        if not im0.is_floating_point() or im0.max() > 1 + torch.finfo(im0.dtype).eps:
            if im0.is_floating_point():
                LOGGER.warning("WARNING ⚠️ the tensor's values go above 1; they are divided by 255.")
            im0 = im0.float() / 255
        self.im0, self.bs, self.mode = im0, im0.shape[0], "image"
        self.paths = [f"image{i}.jpg" for i in range(self.bs)]
        self.source_type = SourceTypes(tensor=True)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        frames = [Frame(im, p, "array", i, self.bs) for i, (im, p) in enumerate(zip(self.im0, self.paths))]
        yield Batch(frames, self.im0)


class LoadStreams:
    """Cameras and network streams, each read by a thread of its own.

    Args:
        sources: camera number, address, or a `.streams` text file with one of them a line.
        vid_stride: every how many frames one is taken.
        buffer: keep up to 30 frames of each; else only the newest.
    """

    def __init__(self, sources: str = "file.streams", vid_stride: int = 1, buffer: bool = False):
        _check_stride(vid_stride)
        self.sources = self._read_sources(sources)
        self.mode, self.bs, self.vid_stride, self.buffer = "stream", len(self.sources), int(vid_stride), buffer
        self.source_type, self.running = SourceTypes(stream=True), True
        self.frames: list[deque[np.ndarray]] = [deque(maxlen=_BUFFERED if buffer else 1) for _ in self.sources]
        self.caps: list[cv2.VideoCapture] = []
        self.fps: list[float] = []
        self.threads: list[Thread] = []
        self._arrived = Event()
        try:
            for i, source in enumerate(self.sources):
                self._open(i, source)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _read_sources(sources: str) -> list[str]:
        if not str(sources).lower().endswith(".streams"):
            return [_checked_address(str(sources))]
        if not os.path.isfile(sources):
            raise MissingFileError(f"The list of streams '{sources}' does not exist.")
        lines = [line.strip() for line in read_text(sources, limits.LABEL_BYTES).splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        if not lines:
            raise DataError(f"The list of streams '{sources}' is empty. Write one address or camera number a line.")
        return [_checked_address(line) for line in lines]

    def _open(self, i: int, source: str) -> None:
        """Open a source, wait for its first frame and start its thread."""
        is_file = os.path.isfile(source) and not _is_stream(source.lower())
        cap = cv2.VideoCapture(
            int(source) if source.isnumeric() else for_opencv(os.path.abspath(source) if is_file else source)
        )
        self.caps.append(cap)
        ok, image = cap.read() if cap.isOpened() else (False, None)
        if not ok or image is None:
            raise MissingFileError(
                f"The stream or camera '{source}' gives no image. Check the address, the network, or the number."
            )
        fps = cap.get(cv2.CAP_PROP_FPS)
        self.fps.append(fps if math.isfinite(fps) and fps > 0 else 30)
        self.frames[i].append(_as_bgr(image))
        thread = Thread(target=self._read, args=(i,), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _read(self, i: int) -> None:
        """Keep reading one source until it ends or the loader is closed."""
        cap, frames, n = self.caps[i], self.frames[i], 0
        while self.running and cap.grab():
            n += 1
            if n % self.vid_stride:
                continue
            ok, image = cap.retrieve()
            if not ok:
                break
            while self.buffer and self.running and len(frames) >= _BUFFERED:
                time.sleep(0.01)
            try:
                frames.append(_as_bgr(image))
            except DataError as e:
                LOGGER.warning(f"WARNING ⚠️ '{self.sources[i]}' ends: {e}")
                break
            self._arrived.set()
        self._arrived.set()

    def __len__(self) -> int:
        return len(self.sources)

    def __iter__(self) -> Iterator[Batch]:
        given = [0] * self.bs  # frames, by stream
        try:
            while self.running:
                ready = [i for i, frames in enumerate(self.frames) if frames]
                alive = any(t.is_alive() for t in self.threads)
                if len(ready) < self.bs and alive:  # wait for the slowest, unless it has ended
                    waiting = [i for i, t in enumerate(self.threads) if t.is_alive() and not self.frames[i]]
                    if waiting:
                        self._arrived.wait(0.05)
                        self._arrived.clear()
                        continue
                if not ready:
                    if any(self.frames):
                        continue
                    return
                for i in ready:
                    given[i] += 1
                yield Batch([self._frame(i, given[i]) for i in ready])
        finally:
            self.close()

    def _frame(self, i: int, number: int) -> Frame:
        """Take the oldest frame that is kept of a stream."""
        return Frame(self.frames[i].popleft(), self.sources[i], "stream", i, self.bs, number, fps=self.fps[i])

    def close(self) -> None:
        """Stop the threads and release the cameras."""
        self.running = False
        for thread in self.threads:
            thread.join(timeout=5)
        for cap in self.caps:
            cap.release()


LOADERS = (LoadImagesAndVideos, LoadStreams, LoadPilAndNumpy, LoadTensor, LoadScreenshots)
