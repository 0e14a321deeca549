"""A prediction run: the state of one call of a predictor, so that many calls may be under way at once."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from ultralytics.data.image_files import VID_FORMATS, suffix
from ultralytics.data.loaders import Frame, Images, Kind, Loader, SourceTypes
from ultralytics.engine.outputs import ResultSaver, VideoSaver, Windows
from ultralytics.engine.results import Results
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.files import RunFolder
from ultralytics.utils.wrappers import held_by

if TYPE_CHECKING:
    from ultralytics.trackers.track import Trackers


@dataclass
class PredictionRun:
    """One call of a predictor: its settings, its source, and its results and output so far.

    Attributes:
        args: the settings.
        stream: whether results are returned one by one.
        begun: whether the source was handed over; before that, settings may still be added.
        model, device, trackers: those of this run; None before it has its own.
        dataset, source_type: the source, and its kind.
        imgsz: (height, width) of the model's input.
        batch: paths, images and texts of the current batch.
        frames: where the images of the current batch come from.
        frame: where the image comes from that is being saved and shown.
        results: those of the current batch.
        seen: number of images so far.
        shape: of the batch that the model was given last.
        plotted_img: the image that was drawn last, (h, w, 3) BGR.
        folder: of the run, once it was asked for.
        saver: once something is saved.
        windows: those that were opened.
    """

    args: IterableSimpleNamespace
    stream: bool = True
    begun: bool = False
    model: AutoBackend | None = None
    device: torch.device | None = None
    trackers: Trackers | None = None
    dataset: Loader | None = None
    source_type: SourceTypes | None = None
    imgsz: Sequence[int] | None = None
    batch: tuple[list[str], Images, list[str]] | None = None
    frames: Sequence[Frame] = ()
    frame: Frame | None = None
    results: list[Results] = field(default_factory=list)
    seen: int = 0
    shape: tuple[int, ...] = ()
    plotted_img: np.ndarray | None = None
    folder: RunFolder | None = None
    saver: ResultSaver | None = None
    windows: Windows = field(default_factory=Windows)
    _counts: Counter[str] = field(default_factory=Counter, init=False)

    def take(self, batch: tuple[list[str], Images, list[str]]) -> None:
        """Make a batch the current one; where a custom loader gives no frames, they are made from its paths."""
        self.batch = batch
        self.frames = getattr(batch, "frames", None) or self._frames(batch[0], batch[1])

    def _frames(self, paths: list[str], images: Images) -> list[Frame]:
        """Return the images of a batch as frames, counted in each stream and video."""
        stream = self.source_type is not None and self.source_type.stream
        frames = []
        for i, (path, image) in enumerate(zip(paths, images)):
            kind: Kind = "stream" if stream else "video" if suffix(str(path)) in VID_FORMATS else "image"
            self._counts[path] += 1
            number = None if kind == "image" else self._counts[path]
            fps = getattr(self.dataset, "fps", 0)
            fps = fps[i] if isinstance(fps, (list, tuple)) else fps
            frames.append(Frame(image, path, kind, i, len(paths), number, fps=float(fps or 0)))
        return frames

    def close(self) -> None:
        """Release the source, and close videos and windows."""
        close = getattr(self.dataset, "close", None)
        if close:
            close()
        if self.saver:
            self.saver.close()
        self.windows.close()


class Runs:
    """The runs of a predictor, and the state of the current one under the names of 8.3.0.

    A predictor may be called from several threads, and while the iterator of an earlier call is still being read. The
    current run is the one that this thread works on, or else the latest; so hooks and callbacks, which are given the
    predictor, find the state of their own run.

    Args:
        args: the settings of the first run.
    """

    # Attributes of 8.3.0, those of the current run; None before `setup_source`, or before the first batch
    dataset: Loader = held_by("run")
    source_type: SourceTypes = held_by("run")
    imgsz: Sequence[int] = held_by("run")  # (height, width) of the model's input
    batch: tuple[list[str], Images, list[str]] = held_by("run")  # paths, images and texts
    results: list[Results] = held_by("run")  # of the current batch
    seen: int = held_by("run")  # images so far
    plotted_img: np.ndarray | None = held_by("run")

    def __init__(self, args: IterableSimpleNamespace):
        self._lock = threading.RLock()  # lets one batch through at a time, as hooks may use the predictor's attributes
        self._working: dict[int, PredictionRun] = {}  # by thread
        self._latest = PredictionRun(args)
        self._folders: dict[tuple, RunFolder] = {}  # by the settings that name one
        self._model: AutoBackend | None = None  # the latest, as are device and trackers
        self._device: torch.device | None = None
        self._trackers: Trackers | None = None

    @property
    def run(self) -> PredictionRun:
        """The run that this thread works on, or else the latest."""
        return self._working.get(threading.get_ident(), self._latest)

    @contextlib.contextmanager
    def new_run(self, args: IterableSimpleNamespace | None = None) -> Iterator[PredictionRun]:
        """Let this thread work on a new run, with these settings or those of the latest; or on one not begun yet."""
        run = self._working.get(threading.get_ident())
        if run is None or run.begun:
            run = self._latest = PredictionRun(copy(self.args) if args is None else args)
        with self._at_work(run):
            yield run

    @contextlib.contextmanager
    def _at_work(self, run: PredictionRun) -> Iterator[None]:
        """Let this thread work on a run in the block, and on its earlier one afterwards."""
        me = threading.get_ident()
        before = self._working.get(me)
        self._working[me] = run
        try:
            yield
        finally:
            if before is None:
                del self._working[me]
            else:
                self._working[me] = before

    def __getstate__(self) -> dict[str, object]:
        """Leave out what belongs to this process: locks, runs under way, and the model, which is opened anew."""
        born_with = vars(Runs(self.args))
        return {**{k: v for k, v in vars(self).items() if k not in born_with}, "args": copy(self.args)}

    def __setstate__(self, state: dict[str, object]) -> None:
        Runs.__init__(self, cast(IterableSimpleNamespace, state["args"]))
        self.__dict__.update({name: value for name, value in state.items() if name != "args"})

    # Settings, models, devices and trackers of one run go on into the next --------------------------------------------
    @property
    def args(self) -> IterableSimpleNamespace:
        """The settings: within a run its own, else those of the next one."""
        return self.run.args

    @args.setter
    def args(self, args: IterableSimpleNamespace) -> None:
        working = self._working.get(threading.get_ident())
        if working:
            working.args = args
        else:  # runs that are under way keep theirs
            self._latest = PredictionRun(args)

    @property
    def model(self) -> AutoBackend:
        """The model; None before `setup_model`."""
        return cast(AutoBackend, self._model if self.run.model is None else self.run.model)

    @model.setter
    def model(self, model: AutoBackend) -> None:
        self.run.model = self._model = model

    @property
    def device(self) -> torch.device:
        """Device of the model; None before `setup_model`."""
        return cast(torch.device, self._device if self.run.device is None else self.run.device)

    @device.setter
    def device(self, device: torch.device) -> None:
        self.run.device = self._device = device

    @property
    def trackers(self) -> Trackers:
        """Trackers of the latest run of mode 'track', one per stream; None before."""
        return cast("Trackers", self._trackers if self.run.trackers is None else self.run.trackers)

    @trackers.setter
    def trackers(self, trackers: Trackers) -> None:
        self.run.trackers = self._trackers = trackers

    @property
    def vid_writer(self) -> dict[Path, VideoSaver]:
        """The videos that are being written."""
        return self.run.saver.videos if self.run.saver else {}

    @property
    def windows(self) -> list[str]:
        """Titles of the open windows."""
        return self.run.windows.titles
