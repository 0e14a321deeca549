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
        xywh: x, y, w, h in pixels[, angle in radians], and the index of the detection in its image.
        score: 0 to 1.
        cls: class.

    Attributes:
        mean, covariance: of the filter; None before the track is activated.
        kalman_filter: that of the tracker, once it is.
    """

    shared_kalman = KalmanFilterXYAH()

    def __init__(self, xywh: Sequence[float], score: float, cls: float):
        super().__init__()
        x, y, w, h = (float(v) for v in xywh[:4])
        self._tlwh = np.array([x - w / 2, y - h / 2, w, h])
        self.angle: float | None = float(xywh[4]) if len(xywh) == 6 else None
        self.idx = int(xywh[-1])
        self.score, self.cls = float(score), cls
        self.kalman_filter = self.shared_kalman
        self.mean: np.ndarray = None  # type: ignore[assignment]  # None until it is activated, as in 8.3.0
        self.covariance: np.ndarray = None  # type: ignore[assignment]

    @staticmethod
    def tlwh_to_xyah(tlwh: np.ndarray) -> np.ndarray:
        """Turn top left corner and size into centre, aspect ratio (w / h) and height."""
        x, y, w, h = tlwh
        return np.array([x + w / 2, y + h / 2, w / h, h])

    def convert_coords(self, tlwh: np.ndarray) -> np.ndarray:
        """Turn top left corner and size into what the filter measures."""
        return self.tlwh_to_xyah(tlwh)

    @property
    def tlwh(self) -> np.ndarray:
        """(4,) top left corner and size, pixels."""
        if self.mean is None:
            return self._tlwh.copy()
        x, y, a, h = self.mean[:4]
        return np.array([x - a * h / 2, y - h / 2, a * h, h])

    @property
    def xyxy(self) -> np.ndarray:
        """(4,) corners, pixels."""
        x, y, w, h = self.tlwh
        return np.array([x, y, x + w, y + h])

    @property
    def xywh(self) -> np.ndarray:
        """(4,) centre and size, pixels."""
        x, y, w, h = self.tlwh
        return np.array([x + w / 2, y + h / 2, w, h])

    @property
    def xywha(self) -> np.ndarray:
        """(5,) centre, size and angle."""
        return np.r_[self.xywh, 0.0 if self.angle is None else self.angle]

    @property
    def result(self) -> list[float]:
        """Corners, or xywh and angle; then track id, score, class, index of the detection."""
        box = self.xyxy if self.angle is None else self.xywha
        return [*box.tolist(), self.track_id, self.score, self.cls, self.idx]

    def at_steady_size(self) -> np.ndarray:
        """Return the state without change of size, so that a lost track does not keep growing or shrinking."""
        return np.r_[self.mean[:7], 0]

    def predict(self) -> None:
        """Predict the track one frame ahead."""
        self.multi_predict([self])

    @classmethod
    def multi_predict(cls, stracks: Sequence[STrack]) -> None:
        """Predict all tracks one frame ahead."""
        if not stracks:
            return
        means = np.stack([t.mean if t.state == TrackState.Tracked else t.at_steady_size() for t in stracks])
        covariances = np.stack([t.covariance for t in stracks])
        means, covariances = stracks[0].kalman_filter.multi_predict(means, covariances)
        for track, mean, covariance in zip(stracks, means, covariances):
            track.mean, track.covariance = mean, covariance

    @classmethod
    def multi_gmc(cls, stracks: Sequence[STrack], H: np.ndarray = np.eye(2, 3)) -> None:  # noqa: B008  never changed
        """Transform tracks by a matrix (2, 3).

        Positions and their velocities are rotated and scaled; sizes are only scaled, since boxes stay upright.
        (BoT-SORT rotates sizes too, which turns part of a tall box's height into width.)
        """
        turn, shift = H[:, :2], H[:, 2]
        sizes = cls.zoomed_sizes(float(np.sqrt(abs(np.linalg.det(turn)))))
        whole = np.zeros((8, 8))
        for k, part in enumerate((turn, sizes, turn, sizes)):
            whole[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = part
        for track in stracks:
            track.mean = whole @ track.mean
            track.mean[:2] += shift
            track.covariance = whole @ track.covariance @ whole.T
            if track.angle is not None:
                track.angle += float(np.arctan2(turn[1, 0], turn[0, 0]))

    @staticmethod
    def zoomed_sizes(zoom: float) -> np.ndarray:
        """Return the matrix (2, 2) that scales aspect ratio and height by a zoom."""
        return np.diag([1.0, zoom])

    def activate(self, kalman_filter: KalmanFilterXYAH, frame_id: int) -> None:  # type: ignore[override]
        """Start a track; unless that is in the first frame, it counts only when it is seen again."""
        self.kalman_filter = kalman_filter
        self.track_id = self.track_id or self.next_id()  # trackers have given it one of their own count
        self.mean, self.covariance = kalman_filter.initiate(self.convert_coords(self._tlwh))
        self.state, self.is_activated = TrackState.Tracked, frame_id == 1
        self.frame_id = self.start_frame = frame_id

    def re_activate(self, new_track: STrack, frame_id: int, new_id: bool = False) -> None:
        """Continue a lost track with a detection."""
        self._follow(new_track, frame_id)
        self.tracklet_len = 0
        if new_id:
            self.track_id = self.next_id()

    def update(self, new_track: STrack, frame_id: int) -> None:  # type: ignore[override]
        """Continue the track with a detection."""
        self._follow(new_track, frame_id)
        self.tracklet_len += 1

    def _follow(self, seen: STrack, frame_id: int) -> None:
        """Correct the filter by a detection, and take over what is known of it."""
        measurement = self.convert_coords(seen.tlwh)
        self.mean, self.covariance = self.kalman_filter.update(self.mean, self.covariance, measurement)
        self.state, self.is_activated, self.frame_id = TrackState.Tracked, True, frame_id
        self.score, self.cls, self.angle, self.idx = seen.score, seen.cls, seen.angle, seen.idx


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

    track: type[STrack] = STrack

    def __init__(self, args: SimpleNamespace, frame_rate: float = 30):
        self.args = args
        self.max_time_lost = int(frame_rate / 30 * args.track_buffer)
        self.kalman_filter = self.get_kalmanfilter()
        self.sequence: str | None = None
        self.reset()

    def reset(self) -> None:
        """Forget all tracks; the next track id is 1."""
        self.tracked_stracks: list[STrack] = []
        self.lost_stracks: list[STrack] = []
        self.removed_stracks: list[STrack] = []
        self.frame_id = 0
        self._ids = count(1)
        self.reset_id()

    @staticmethod
    def reset_id() -> None:
        """Let `STrack.next_id` begin at 1 again, for tracks of one's own that draw from it."""
        STrack.reset_id()

    def get_kalmanfilter(self) -> KalmanFilterXYAH:
        """Return the filter of the tracks."""
        return self.track.shared_kalman

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
        high, low, width = self._detections(results, img)
        confirmed = [t for t in self.tracked_stracks if t.is_activated]
        unconfirmed = [t for t in self.tracked_stracks if not t.is_activated]
        pool = self.joint_stracks(confirmed, self.lost_stracks)
        self.multi_predict(pool + unconfirmed)
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

    def _detections(self, results: Detections, img: np.ndarray | None) -> tuple[list[STrack], list[STrack], int]:
        """Return high- and low-scoring detections as tracks, and the number of columns of `update`."""
        boxes = np.asarray(results.xywhr if hasattr(results, "xywhr") else results.xywh, float)
        scores, classes = np.asarray(results.conf, float), np.asarray(results.cls)
        usable = np.isfinite(boxes).all(1) & np.isfinite(scores) & (boxes[:, 2:4] > 0).all(1)
        rows = np.c_[boxes, np.arange(len(boxes))]
        high = usable & (scores >= self.args.track_high_thresh)
        low = usable & ~high & (scores > self.args.track_low_thresh)
        first, second = (self.init_track(rows[m], scores[m], classes[m], img) for m in (high, low))
        return first, second, boxes.shape[1] + 4

    def init_track(
        self, dets: np.ndarray, scores: np.ndarray, cls: np.ndarray, img: np.ndarray | None = None
    ) -> list[STrack]:
        """Turn detections into tracks, which are not activated yet.

        Args:
            dets: (n, 5) x, y, w, h and index in the image; (n, 6) with an angle before the index.
            scores: (n,).
            cls: (n,).
            img: (h, w, 3) the frame.
        """
        return [self.track(*each) for each in zip(dets, scores, cls)]

    def multi_predict(self, tracks: Sequence[STrack]) -> None:
        """Predict all tracks one frame ahead."""
        self.track.multi_predict(tracks)

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
            if tracks[i].state == TrackState.Tracked:
                tracks[i].update(seen[j], self.frame_id)
            else:
                tracks[i].re_activate(seen[j], self.frame_id, new_id=False)
        return [tracks[i] for i in left], [seen[j] for j in unseen]

    def _start(self, detections: Iterable[STrack]) -> list[STrack]:
        """Start tracks from detections whose score is high enough."""
        new = [d for d in detections if d.score >= self.args.new_track_thresh]
        for track in new:
            track.track_id = next(self._ids)
            track.activate(self.kalman_filter, self.frame_id)
        return new

    def _sort(self, tracks: Sequence[STrack]) -> None:
        """Sort tracks into the lists by state and age."""
        self.removed_stracks = [t for t in tracks if t.state == TrackState.Removed]
        tracked = [t for t in tracks if t.state == TrackState.Tracked]
        lost = [t for t in tracks if t.state == TrackState.Lost]
        old = [t for t in lost if self.frame_id - t.end_frame > self.max_time_lost]
        recent = self.sub_stracks(lost, old)
        self.tracked_stracks, self.lost_stracks = self.remove_duplicate_stracks(tracked, recent)
        kept = {id(t) for t in self.tracked_stracks + self.lost_stracks}
        gone = old + [t for t in tracked + recent if id(t) not in kept]
        for track in gone:
            track.mark_removed()
        self.removed_stracks += gone

    @staticmethod
    def joint_stracks(tlista: list[STrack], tlistb: list[STrack]) -> list[STrack]:
        """Return the tracks of two lists, each id once."""
        known = {t.track_id for t in tlista}
        return tlista + [t for t in tlistb if t.track_id not in known]

    @staticmethod
    def sub_stracks(tlista: list[STrack], tlistb: list[STrack]) -> list[STrack]:
        """Return the tracks of a list whose ids are not in another."""
        known = {t.track_id for t in tlistb}
        return [t for t in tlista if t.track_id not in known]

    @staticmethod
    def remove_duplicate_stracks(stracksa: list[STrack], stracksb: list[STrack]) -> tuple[list[STrack], list[STrack]]:
        """Of a tracked and a lost track in one place, keep the longer one; return the lists without the others."""
        duplicates = set()
        for i, j in np.argwhere(iou_distance(stracksa, stracksb) < _SAME_THRESH):
            a, b = stracksa[i], stracksb[j]
            duplicates.add(id(b if a.frame_id - a.start_frame > b.frame_id - b.start_frame else a))
        return [t for t in stracksa if id(t) not in duplicates], [t for t in stracksb if id(t) not in duplicates]
