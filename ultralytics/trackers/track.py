"""Tracking as a part of prediction: callbacks of a predictor that give its results track IDs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from ultralytics.data.loaders import Frame
from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.trackers.settings import read_tracker
from ultralytics.utils.errors import ConfigError

if TYPE_CHECKING:
    from ultralytics.engine.model import Model
    from ultralytics.engine.predictor import BasePredictor
    from ultralytics.engine.results import Results

TRACKER_MAP: dict[str, type[BYTETracker]] = {"bytetrack": BYTETracker, "botsort": BOTSORT}


class Trackers(list[BYTETracker]):
    """The trackers of one call, one per stream; with `persist` those of the previous call, if they fit."""

    def __init__(self, trackers: Iterable[BYTETracker] = (), persist: bool = False):
        super().__init__(trackers)
        self.persist = persist


def register_tracker(model: Model | BasePredictor, persist: bool = False) -> None:
    """Let a model give the objects of its predictions IDs.

    Args:
        model: a YOLO, whose predictions are tracked from now on; or a predictor, whose next call of mode 'track' is.
        persist: continue the tracks of the previous call, and do not reset them for another video.
    """
    if not hasattr(model, "trackers"):  # a model
        model.add_callback("on_predict_start", partial(on_predict_start, persist=persist))
        model.add_callback("on_predict_postprocess_end", partial(on_predict_postprocess_end, persist=persist))
        return
    predictor = cast("BasePredictor", model)
    kept = predictor.trackers if persist else None
    predictor.trackers = Trackers(kept or (), persist)
    for event, hook in HOOKS.items():
        if hook not in predictor.callbacks[event]:
            predictor.add_callback(event, hook)


def on_predict_start(predictor: BasePredictor, persist: bool = False) -> None:
    """Create the trackers of a call: one per stream, or one for all files; with `persist` the previous ones go on."""
    if predictor.args.task == "classify":
        raise ConfigError("A model of the task 'classify' finds no objects that could be tracked: use mode predict.")
    settings = read_tracker(predictor.args.tracker)
    kept = (predictor.trackers or Trackers()) if persist else Trackers()
    n = predictor.dataset.bs if predictor.source_type.stream else 1
    if len(kept) != n or any(t.args != settings for t in kept):
        kept = Trackers(TRACKER_MAP[settings.tracker_type](settings) for _ in range(n))
    kept.persist = persist
    predictor.trackers = kept


def on_predict_postprocess_end(predictor: BasePredictor, persist: bool = False) -> None:
    """Give the objects of a batch their track IDs.

    Results keep the detections without IDs while no track is confirmed; else they hold the tracks, at their smoothed
    positions. With `persist` another video does not reset them.
    """
    for i, frame in enumerate(predictor.run.frames):
        tracker = predictor.trackers[frame.index if frame.kind == "stream" else 0]
        sequence = _sequence(frame)
        if tracker.sequence != sequence:
            if tracker.frame_id and not persist:
                tracker.reset()
            tracker.sequence = sequence
        predictor.results[i] = tracked(tracker, predictor.results[i])


def tracked(tracker: BYTETracker, result: Results) -> Results:
    """Return the tracked objects of a result with their IDs; the result itself if there are none."""
    part = "boxes" if result.obb is None else "obb"
    found = getattr(result, part)
    rows = tracker.update(found.cpu().numpy(), result.orig_img)
    if not len(rows):
        return result
    result = result[rows[:, -1].astype(int).tolist()]
    result.update(**{part: torch.as_tensor(rows[:, :-1], dtype=torch.float32, device=found.data.device)})
    return result


def _sequence(frame: Frame) -> str:
    """Return the sequence of a frame: its stream, its video, or for images their folder."""
    return str(frame.path) if frame.kind in {"stream", "video"} else str(Path(frame.path).parent)


def _start_in_mode_track(predictor: BasePredictor) -> None:
    """Call `on_predict_start` in mode 'track'."""
    if predictor.args.mode == "track":
        on_predict_start(predictor, predictor.trackers.persist)


def _track_in_mode_track(predictor: BasePredictor) -> None:
    """Call `on_predict_postprocess_end` in mode 'track'."""
    if predictor.args.mode == "track":
        on_predict_postprocess_end(predictor, predictor.trackers.persist)


HOOKS = {"on_predict_start": _start_in_mode_track, "on_predict_postprocess_end": _track_in_mode_track}
