"""Tracking as a part of prediction: functions that hang on a predictor's events and give its results numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ultralytics.data.image_files import VID_FORMATS, suffix
from ultralytics.trackers.bot_sort import BOTSORT
from ultralytics.trackers.byte_tracker import BYTETracker
from ultralytics.trackers.settings import read_tracker
from ultralytics.utils.errors import ConfigError

TRACKER_MAP: dict[str, type[BYTETracker]] = {"bytetrack": BYTETracker, "botsort": BOTSORT}


class Trackers(list):
    """The trackers of one call, one a stream; with `persist` those of the call before, if they fit."""

    def __init__(self, trackers: Iterable[BYTETracker] = (), persist: bool = False):
        super().__init__(trackers)
        self.persist = persist


def register_tracker(predictor: Any, persist: bool = False) -> None:
    """Let a predictor track in its next call of mode 'track'.

    Args:
        predictor: a BasePredictor.
        persist: go on with the tracks of the call before, and do not begin anew with another video.
    """
    kept = predictor.trackers if persist else None
    predictor.trackers = Trackers(kept or (), persist)
    for event, hook in HOOKS.items():
        if hook not in predictor.callbacks[event]:
            predictor.add_callback(event, hook)


def on_predict_start(predictor: Any) -> None:
    """Make the trackers of a call: one for each stream, or one for all files."""
    if predictor.args.mode != "track":
        return
    if predictor.args.task == "classify":
        raise ConfigError("A model of the task 'classify' finds no objects that could be tracked: use mode predict.")
    settings = read_tracker(predictor.args.tracker)
    kept = predictor.trackers
    n = predictor.dataset.bs if predictor.source_type.stream else 1
    if len(kept) != n or any(t.args != settings for t in kept):
        new = [TRACKER_MAP[settings.tracker_type](settings) for _ in range(n)]
        predictor.trackers = Trackers(new, kept.persist)


def on_predict_postprocess_end(predictor: Any) -> None:
    """Give the objects of a batch their numbers.

    Results keep what was detected without numbers while no track is confirmed; else they hold the tracks, in their
    smoothed places.
    """
    if predictor.args.mode != "track":
        return
    for i, (path, text) in enumerate(zip(predictor.batch[0], predictor.batch[2])):
        stream = int(text.partition(":")[0]) if predictor.source_type.stream else 0
        tracker, sequence = predictor.trackers[stream], _sequence(predictor, path)
        if tracker.sequence != sequence:
            if tracker.frame_id and not predictor.trackers.persist:
                tracker.reset()
            tracker.sequence = sequence
        predictor.results[i] = tracked(tracker, predictor.results[i])


def tracked(tracker: BYTETracker, result: Any) -> Any:
    """Return the objects of a result that the tracker knows, with their numbers; the result itself if there is none."""
    part = "boxes" if result.obb is None else "obb"
    found = getattr(result, part)
    rows = tracker.update(found.cpu().numpy(), result.orig_img)
    if not len(rows):
        return result
    result = result[rows[:, -1].astype(int).tolist()]
    result.update(**{part: torch.as_tensor(rows[:, :-1], dtype=torch.float32, device=found.data.device)})
    return result


def _sequence(predictor: Any, path: str) -> str:
    """Return what a frame belongs to: its stream, its video, or for images their folder."""
    alone = predictor.source_type.stream or suffix(str(path)) in VID_FORMATS
    return str(path) if alone else str(Path(path).parent)


HOOKS = {"on_predict_start": on_predict_start, "on_predict_postprocess_end": on_predict_postprocess_end}
