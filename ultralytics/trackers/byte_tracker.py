"""ByteTrack: high-scoring detections are matched first, then low-scoring ones with the tracks that are left.

Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, arXiv 2110.06864.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from ultralytics.trackers.basetrack import BaseTrack, TrackState
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH
from ultralytics.trackers.utils.matching import fuse_score, iou_distance, linear_assignment

_SECOND_THRESH = 0.5  # largest distance of a match with a low-scoring detection
_NEW_THRESH = 0.7  # largest distance of a match with a track that has been seen once
_SAME_THRESH = 0.15  # tracks closer than this follow the same object


class Detections(Protocol):
    """The detections of a frame, such as `Boxes` as arrays; rotated ones have `xywhr` too."""

    @property
    def conf(self) -> ArrayLike: ...
    @property
    def cls(self) -> ArrayLike: ...
    @property
    def xywh(self) -> ArrayLike: ...


class STrack(BaseTrack):
    """A track, or a detection that may become one: a box that a Kalman filter follows.

    Args:
        box: x, y, w, h in pixels[, angle in radians], and the index of the detection in its image.
        score: 0 to 1.
        cls: class.
    """

    kalman = KalmanFilterXYAH()

    def __init__(self, box: Sequence[float], score: float, cls: float):
        self._box = np.asarray(box[:4], float)
        self.angle: float | None = float(box[4]) if len(box) == 6 else None
        self.idx = int(box[-1])
        self.score, self.cls = float(score), cls
        self.mean = self.covariance = np.empty(0)  # of the filter, once the track is activated

    @staticmethod
    def to_measurement(box: np.ndarray) -> np.ndarray:
        """Turn a box xywh into the filter's measurement."""
        x, y, w, h = box
        return np.array([x, y, w / h, h])

    @staticmethod
    def from_state(state: np.ndarray) -> np.ndarray:
        """Turn a state of the filter into a box xywh."""
        x, y, a, h = state[:4]
        return np.array([x, y, a * h, h])

    @classmethod
    def multi_predict(cls, tracks: Sequence[STrack]) -> None:
        """Predict all tracks one frame ahead."""
        if not tracks:
            return
        means = np.stack([t.mean if t.state == TrackState.Tracked else t.at_steady_size() for t in tracks])
        means, covariances = cls.kalman.multi_predict(means, np.stack([t.covariance for t in tracks]))
        for track, mean, covariance in zip(tracks, means, covariances):
            track.mean, track.covariance = mean, covariance

    def at_steady_size(self) -> np.ndarray:
        """Return the state without change of size, so that a lost track does not keep growing or shrinking."""
        return np.r_[self.mean[:7], 0]

    def activate(self, track_id: int, frame_id: int, confirmed: bool) -> None:
        """Start a track; unless it is `confirmed` now, it counts only when it is seen again."""
        self.mean, self.covariance = self.kalman.initiate(self.to_measurement(self._box))
        self.track_id, self.state, self.is_activated = track_id, TrackState.Tracked, confirmed
        self.frame_id = self.start_frame = frame_id

    def update(self, seen: STrack, frame_id: int) -> None:
        """Continue the track with a detection, also after it was lost."""
        measurement = self.to_measurement(seen._box)
        self.mean, self.covariance = self.kalman.update(self.mean, self.covariance, measurement)
        self.tracklet_len = self.tracklet_len + 1 if self.state == TrackState.Tracked else 0
        self.state, self.is_activated, self.frame_id = TrackState.Tracked, True, frame_id
        self.score, self.cls, self.angle, self.idx = seen.score, seen.cls, seen.angle, seen.idx

    @property
    def xywh(self) -> np.ndarray:
        """(4,) centre and size, pixels."""
        return self.from_state(self.mean) if len(self.mean) else self._box.copy()

    @property
    def xyxy(self) -> np.ndarray:
        """(4,) corners, pixels."""
        x, y, w, h = self.xywh
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    @property
    def tlwh(self) -> np.ndarray:
        """(4,) top left corner and size, pixels."""
        return np.r_[self.xyxy[:2], self.xywh[2:]]

    @property
    def xywha(self) -> np.ndarray:
        """(5,) centre, size and angle."""
        return np.r_[self.xywh, 0.0 if self.angle is None else self.angle]

    @property
    def result(self) -> list[float]:
        """Corners, or xywh and angle; then track id, score, class, index of the detection."""
        box = self.xyxy if self.angle is None else self.xywha
        return [*box.tolist(), self.track_id, self.score, self.cls, self.idx]


class BYTETracker:
    """Tracks the objects of one video: `update` takes the detections of each frame in turn.

    Args:
        args: settings, see `trackers.settings`.
        frame_rate: of the video; `track_buffer` counts frames at 30 a second.

    Attributes:
        tracked_stracks: seen in the last frame.
        lost_stracks: not seen, but not given up yet.
        removed_stracks: given up in the last frame.
        sequence: the video or folder that is being tracked, set by the tracker's user.
    """

    track = STrack

    def __init__(self, args: SimpleNamespace, frame_rate: float = 30):
        self.args = args
        self.max_time_lost = int(frame_rate / 30 * args.track_buffer)
        self.sequence: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; the next track id is 1."""
        self.tracked_stracks: list[STrack] = []
        self.lost_stracks: list[STrack] = []
        self.removed_stracks: list[STrack] = []
        self.frame_id = 0
        self._ids = count(1)

    def update(self, results: Detections, img: np.ndarray | None = None) -> np.ndarray:
        """Track the objects in the next frame.

        Args:
            results: boxes with `conf`, `cls` and `xywh`, or `xywhr` if rotated, as arrays.
            img: (h, w, 3) the frame, for trackers that use it.

        Returns:
            (n, 8) x1, y1, x2, y2, track id, score, class, index of the detection; for rotated boxes (n, 9) that start
            with x, y, w, h, angle.
        """
        self.frame_id += 1
        high, low, width = self.init_track(results)
        confirmed = [t for t in self.tracked_stracks if t.is_activated]
        unconfirmed = [t for t in self.tracked_stracks if not t.is_activated]
        pool = confirmed + self.lost_stracks
        self.track.multi_predict(pool + unconfirmed)
        self.compensate(img, pool + unconfirmed, high + low)

        left, high = self._match(pool, high, self.get_dists, self.args.match_thresh)
        left = [t for t in left if t.state == TrackState.Tracked]
        left, _ = self._match(left, low, iou_distance, _SECOND_THRESH)
        for track in left:
            track.mark_lost()
        left, high = self._match(unconfirmed, high, self.get_dists, _NEW_THRESH)
        for track in left:
            track.mark_removed()
        self._sort(pool + unconfirmed + self._start(high))
        rows = [t.result for t in self.tracked_stracks if t.is_activated]
        return np.asarray(rows, np.float64).reshape(-1, width)

    def init_track(self, results: Detections) -> tuple[list[STrack], list[STrack], int]:
        """Turn high- and low-scoring detections into tracks; return them and the number of columns of `update`."""
        boxes = np.asarray(results.xywhr if hasattr(results, "xywhr") else results.xywh, float)
        scores, classes = np.asarray(results.conf, float), np.asarray(results.cls)
        usable = np.isfinite(boxes).all(1) & np.isfinite(scores) & (boxes[:, 2:4] > 0).all(1)
        rows = np.c_[boxes, np.arange(len(boxes))]
        high = usable & (scores >= self.args.track_high_thresh)
        low = usable & ~high & (scores > self.args.track_low_thresh)
        first, second = ([self.track(*each) for each in zip(rows[m], scores[m], classes[m])] for m in (high, low))
        return first, second, boxes.shape[1] + 4

    def compensate(self, img: np.ndarray | None, tracks: Sequence[STrack], detections: Sequence[STrack]) -> None:
        """Move tracks as the camera moved; here it does not move."""

    def get_dists(self, tracks: Sequence[STrack], detections: Sequence[STrack]) -> np.ndarray:
        """Return the distances (n, m), 0 to 1, between tracks and high-scoring detections."""
        distances = iou_distance(tracks, detections)
        return fuse_score(distances, detections) if self.args.fuse_score else distances

    def _match(
        self,
        tracks: Sequence[STrack],
        seen: Sequence[STrack],
        distance: Callable[[Sequence[STrack], Sequence[STrack]], np.ndarray],
        thresh: float,
    ) -> tuple[list[STrack], list[STrack]]:
        """Continue tracks with the detections that match best; return the unmatched tracks and detections."""
        pairs, left, unseen = linear_assignment(distance(tracks, seen), thresh)
        for i, j in pairs:
            tracks[i].update(seen[j], self.frame_id)
        return [tracks[i] for i in left], [seen[j] for j in unseen]

    def _start(self, detections: Iterable[STrack]) -> list[STrack]:
        """Start tracks from detections whose score is high enough."""
        new = [d for d in detections if d.score >= self.args.new_track_thresh]
        for track in new:
            track.activate(next(self._ids), self.frame_id, confirmed=self.frame_id == 1)
        return new

    def _sort(self, tracks: Sequence[STrack]) -> None:
        """Sort tracks into the lists by state and age."""
        self.removed_stracks = [t for t in tracks if t.state == TrackState.Removed]
        tracked = [t for t in tracks if t.state == TrackState.Tracked]
        lost = [t for t in tracks if t.state == TrackState.Lost]
        old = [t for t in lost if self.frame_id - t.end_frame > self.max_time_lost]
        tracked, kept, duplicates = without_duplicates(tracked, [t for t in lost if t not in old])
        for track in old + duplicates:
            track.mark_removed()
        self.tracked_stracks, self.lost_stracks = tracked, kept
        self.removed_stracks += old + duplicates


def without_duplicates(tracked: list[STrack], lost: list[STrack]) -> tuple[list[STrack], list[STrack], list[STrack]]:
    """Of a tracked and a lost track in one place, keep the longer one; return tracked, lost and removed tracks."""
    duplicates = []
    for i, j in np.argwhere(iou_distance(tracked, lost) < _SAME_THRESH):
        a, b = tracked[i], lost[j]
        duplicates.append(b if a.frame_id - a.start_frame > b.frame_id - b.start_frame else a)
    return [t for t in tracked if t not in duplicates], [t for t in lost if t not in duplicates], duplicates
