"""ByteTrack: sure detections are matched first, then what is left of the tracks with the unsure ones.

Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, arXiv 2110.06864.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

import numpy as np

from ultralytics.trackers.basetrack import BaseTrack, TrackState
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH
from ultralytics.trackers.utils.matching import fuse_score, iou_distance, linear_assignment

_SECOND_THRESH = 0.5  # greatest distance of a match with an unsure detection
_NEW_THRESH = 0.7  # of a match of a track that has been seen once
_SAME_THRESH = 0.15  # tracks that are nearer follow one object


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
        self.mean: np.ndarray | None = None
        self.covariance: np.ndarray | None = None

    @staticmethod
    def to_measurement(box: np.ndarray) -> np.ndarray:
        """Return what the filter follows of a box xywh."""
        x, y, w, h = box
        return np.array([x, y, w / h, h])

    @staticmethod
    def from_state(state: np.ndarray) -> np.ndarray:
        """Return the box xywh of a state."""
        x, y, a, h = state[:4]
        return np.array([x, y, a * h, h])

    @classmethod
    def multi_predict(cls, tracks: Sequence[STrack]) -> None:
        """Take tracks one frame on, at once."""
        if not tracks:
            return
        means = np.stack([t.mean if t.state == TrackState.Tracked else t.at_steady_size() for t in tracks])
        means, covariances = cls.kalman.multi_predict(means, np.stack([t.covariance for t in tracks]))
        for track, mean, covariance in zip(tracks, means, covariances):
            track.mean, track.covariance = mean, covariance

    def at_steady_size(self) -> np.ndarray:
        """Return the state without growth: one that is not seen must not grow or shrink for long."""
        return np.r_[self.mean[:7], 0]

    def activate(self, track_id: int, frame_id: int, sure: bool) -> None:
        """Begin a track; it counts at once if `sure`, else when it is seen again."""
        self.mean, self.covariance = self.kalman.initiate(self.to_measurement(self._box))
        self.track_id, self.state, self.is_activated = track_id, TrackState.Tracked, sure
        self.frame_id = self.start_frame = frame_id

    def update(self, seen: STrack, frame_id: int) -> None:
        """Go on with a detection, also after having been lost."""
        measurement = self.to_measurement(seen._box)
        self.mean, self.covariance = self.kalman.update(self.mean, self.covariance, measurement)
        self.tracklet_len = self.tracklet_len + 1 if self.state == TrackState.Tracked else 0
        self.state, self.is_activated, self.frame_id = TrackState.Tracked, True, frame_id
        self.score, self.cls, self.angle, self.idx = seen.score, seen.cls, seen.angle, seen.idx

    @property
    def xywh(self) -> np.ndarray:
        """(4,) centre and size, pixels."""
        return self._box.copy() if self.mean is None else self.from_state(self.mean)

    @property
    def xyxy(self) -> np.ndarray:
        """(4,) corners, pixels."""
        x, y, w, h = self.xywh
        return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    @property
    def tlwh(self) -> np.ndarray:
        """(4,) left top corner and size, pixels."""
        return np.r_[self.xyxy[:2], self.xywh[2:]]

    @property
    def xywha(self) -> np.ndarray:
        """(5,) centre, size and angle."""
        return np.r_[self.xywh, self.angle]

    @property
    def result(self) -> list[float]:
        """Corners, or xywh and angle; then number, score, class, index of the detection."""
        box = self.xyxy if self.angle is None else self.xywha
        return [*box.tolist(), self.track_id, self.score, self.cls, self.idx]


class BYTETracker:
    """Follows the objects of one video: `update` takes the detections of each frame in turn.

    Args:
        args: settings, see `trackers.settings`.
        frame_rate: of the video; `track_buffer` counts frames at 30 a second.

    Attributes:
        tracked_stracks: seen in the last frame.
        lost_stracks: not seen, but not given up.
        removed_stracks: given up in the last frame.
        sequence: the video or folder that is being followed, set by whoever feeds the tracker.
    """

    track = STrack

    def __init__(self, args: Any, frame_rate: float = 30):
        self.args = args
        self.max_time_lost = int(frame_rate / 30 * args.track_buffer)
        self.sequence: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget everything; the next number is 1."""
        self.tracked_stracks: list[STrack] = []
        self.lost_stracks: list[STrack] = []
        self.removed_stracks: list[STrack] = []
        self.frame_id = 0
        self._ids = count(1)

    def update(self, results: Any, img: np.ndarray | None = None) -> np.ndarray:
        """Go one frame on.

        Args:
            results: boxes with `conf`, `cls` and `xywh`, or `xywhr` if rotated, as arrays.
            img: (h, w, 3) the frame, for trackers that look at it.

        Returns:
            (n, 8) x1, y1, x2, y2, number, score, class, index of the detection; for rotated boxes (n, 9) with x, y, w,
            h, angle in front.
        """
        self.frame_id += 1
        sure, unsure, width = self.init_track(results)
        confirmed = [t for t in self.tracked_stracks if t.is_activated]
        unconfirmed = [t for t in self.tracked_stracks if not t.is_activated]
        pool = confirmed + self.lost_stracks
        self.track.multi_predict(pool + unconfirmed)
        self.compensate(img, pool + unconfirmed, sure + unsure)

        left, sure = self._match(pool, sure, self.get_dists, self.args.match_thresh)
        left = [t for t in left if t.state == TrackState.Tracked]
        left, _ = self._match(left, unsure, iou_distance, _SECOND_THRESH)
        for track in left:
            track.mark_lost()
        left, sure = self._match(unconfirmed, sure, self.get_dists, _NEW_THRESH)
        for track in left:
            track.mark_removed()
        self._sort(pool + unconfirmed + self._begin(sure))
        rows = [t.result for t in self.tracked_stracks if t.is_activated]
        return np.asarray(rows, np.float64).reshape(-1, width)

    def init_track(self, results: Any) -> tuple[list[STrack], list[STrack], int]:
        """Return sure and unsure detections as tracks, and the number of columns of `update`'s rows."""
        rotated = hasattr(results, "xywhr")
        boxes = np.asarray(results.xywhr if rotated else results.xywh, float)
        scores, classes = np.asarray(results.conf, float), np.asarray(results.cls)
        usable = np.isfinite(boxes).all(1) & np.isfinite(scores) & (boxes[:, 2:4] > 0).all(1)
        rows = np.c_[boxes, np.arange(len(boxes))]
        sure = usable & (scores >= self.args.track_high_thresh)
        unsure = usable & ~sure & (scores > self.args.track_low_thresh)
        made = ([self.track(*each) for each in zip(rows[m], scores[m], classes[m])] for m in (sure, unsure))
        return *made, boxes.shape[1] + 4

    def compensate(self, img: np.ndarray | None, tracks: Sequence[STrack], detections: Sequence[STrack]) -> None:
        """Move tracks as the camera moved; here it stands still."""

    def get_dists(self, tracks: Sequence[STrack], detections: Sequence[STrack]) -> np.ndarray:
        """Return distances (n, m) from 0 to 1 of tracks and sure detections."""
        distances = iou_distance(tracks, detections)
        return fuse_score(distances, detections) if self.args.fuse_score else distances

    def _match(self, tracks: Sequence[STrack], seen: Sequence[STrack], distance: Any, thresh: float) -> tuple:
        """Let tracks go on with the detections that fit best; return the tracks and detections that are left."""
        pairs, left, unseen = linear_assignment(distance(tracks, seen), thresh)
        for i, j in pairs:
            tracks[i].update(seen[j], self.frame_id)
        return [tracks[i] for i in left], [seen[j] for j in unseen]

    def _begin(self, detections: Iterable[STrack]) -> list[STrack]:
        """Begin tracks where a detection is sure enough."""
        new = [d for d in detections if d.score >= self.args.new_track_thresh]
        for track in new:
            track.activate(next(self._ids), self.frame_id, sure=self.frame_id == 1)
        return new

    def _sort(self, tracks: Sequence[STrack]) -> None:
        """Put each track where it belongs by its state and age."""
        self.removed_stracks = [t for t in tracks if t.state == TrackState.Removed]
        tracked = [t for t in tracks if t.state == TrackState.Tracked]
        lost = [t for t in tracks if t.state == TrackState.Lost]
        old = [t for t in lost if self.frame_id - t.end_frame > self.max_time_lost]
        tracked, kept, doubles = without_doubles(tracked, [t for t in lost if t not in old])
        for track in old + doubles:
            track.mark_removed()
        self.tracked_stracks, self.lost_stracks = tracked, kept
        self.removed_stracks += old + doubles


def without_doubles(tracked: list[STrack], lost: list[STrack]) -> tuple[list[STrack], list[STrack], list[STrack]]:
    """Of a seen and a lost track in one place keep the one that lasted longer; return seen, lost and the others."""
    doubles = []
    for i, j in np.argwhere(iou_distance(tracked, lost) < _SAME_THRESH):
        a, b = tracked[i], lost[j]
        doubles.append(b if a.frame_id - a.start_frame > b.frame_id - b.start_frame else a)
    return [t for t in tracked if t not in doubles], [t for t in lost if t not in doubles], doubles
