"""What belongs to one call of a predictor and not to the predictor, so that many calls may be under way at once."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import torch

from ultralytics.engine.outputs import OutputNames, VideoSaver
from ultralytics.utils.files import RunFolder


class Call:
    """One call of a predictor: its settings, its source, and what it has found and written so far.

    Attributes:
        args: the settings.
        begun: whether its source was handed over; before that, settings may still be added.
        stream: whether results are returned one by one.
        model, device, trackers: those of this call once it runs; None before.
        dataset, source_type, batch: the source, its kind, and its present batch: paths, images, log texts.
        imgsz: (height, width) of the model's input.
        results, seen: what was found in that batch, and the number of images so far.
        frames: how many frames each stream gave.
        plotted_img: the image that was drawn last.
        vid_writer: the videos that are being written.
        windows: titles of the windows that were opened.
        folder: of the run, once it was asked for.
        names: those under which things are saved, once the folder was made.
        fresh: files and folders that were written.
        shape: of the batch that the model was given last.
    """

    def __init__(self, args: Any):
        self.args = args
        self.begun, self.stream = False, True
        self.model: Any = None
        self.device: torch.device | None = None
        self.trackers: list | None = None
        self.dataset: Any = None
        self.source_type: Any = None
        self.batch: tuple | None = None
        self.imgsz: list[int] | tuple[int, int] | None = None
        self.results: list = []
        self.seen = 0
        self.frames: Counter[str] = Counter()
        self.plotted_img: Any = None
        self.vid_writer: dict[Path, VideoSaver] = {}
        self.windows: set[str] = set()
        self.folder: RunFolder | None = None
        self.names: OutputNames | None = None
        self.fresh: set[Path] = set()
        self.shape: tuple[int, ...] = ()


def of_call(name: str, kept: bool = False) -> property:
    """Return an attribute of a predictor that is one of its call.

    Args:
        name: of the attribute.
        kept: a call that has none of its own takes what was set last.
    """

    def get(self: Calls) -> Any:
        value = getattr(self._call, name)
        return self._kept.get(name) if kept and value is None else value

    def put(self: Calls, value: Any) -> None:
        setattr(self._call, name, value)
        if kept:
            self._kept[name] = value

    return property(get, put)


class Calls:
    """A mixin for what is called from several threads, or while the iterator of an earlier call is still being read.

    What belongs to a call is an attribute of its `Call`, and the predictor shows it under the same name: within a call
    its own, else that of the latest call. So hooks and callbacks, which are given the predictor, see what is theirs.
    """

    def __init__(self, args: Any):
        self._begin_calls()
        self._latest = Call(args)

    def _begin_calls(self) -> None:
        self._lock = threading.RLock()  # lets one batch through at a time, as hooks may use the predictor's attributes
        self._working: dict[int, Call] = {}  # by thread
        self._kept: dict[str, Any] = {}
        self._folders: dict[tuple, RunFolder] = {}

    @property
    def _call(self) -> Call:
        """The call that this thread works on, or else the latest."""
        return self._working.get(threading.get_ident()) or self._latest

    @property
    def args(self) -> Any:
        """The settings: within a call its own, else those with which the next begins."""
        return self._call.args

    @args.setter
    def args(self, args: Any) -> None:
        working = self._working.get(threading.get_ident())
        if working:
            working.args = args
        else:  # the calls that are under way keep theirs
            self._latest = Call(args)

    @contextlib.contextmanager
    def new_call(self, args: Any = None) -> Iterator[Call]:
        """Let this thread work on a new call, with these settings or those of the latest; or on one not begun yet."""
        call = self._working.get(threading.get_ident())
        if call is None or call.begun:
            call = self._latest = Call(copy(self.args) if args is None else args)
        with self._at_work(call):
            yield call

    @contextlib.contextmanager
    def _at_work(self, call: Call) -> Iterator[None]:
        """Let this thread work on a call, and then again on what it did before."""
        me = threading.get_ident()
        before = self._working.get(me)
        self._working[me] = call
        try:
            yield
        finally:
            if before is None:
                del self._working[me]
            else:
                self._working[me] = before

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is of this process: locks, calls that are under way, and the runtime, to be opened anew."""
        own = {"_lock", "_working", "_kept", "_folders", "_latest"}
        return {**{k: v for k, v in self.__dict__.items() if k not in own}, "args": copy(self.args)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin_calls()
        for name, value in state.items():
            setattr(self, name, value)
