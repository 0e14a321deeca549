"""BoT-SORT: ByteTrack with width in the filter's state, camera motion compensation and, with an encoder, looks.

Aharon et al., BoT-SORT: Robust Associations Multi-Pedestrian Tracking, arXiv 2206.14651. No encoder of looks is part of
this package: set `tracker.encoder` to an object of your own whose `inference(img, dets)` returns features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol, cast

import numpy as np

from ultralytics.trackers.byte_tracker import BYTETracker, STrack
from ultralytics.trackers.utils.gmc import GMC
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYWH
from ultralytics.trackers.utils.matching import embedding_distance, fuse_score, iou_distance


class Encoder(Protocol):
    """Describes the looks of detections by vectors that are near each other for one object."""

    def inference(self, img: np.ndarray | None, dets: np.ndarray) -> Sequence[np.ndarray]: ...


class BOTrack(STrack):
    """A track whose filter follows width and height.

    Args:
        tlwh: x, y, w, h in pixels[, angle in radians], and the index of the detection in its image.
        score: 0 to 1.
        cls: class.
        feat: vector that describes its looks.
        feat_history: how many of them are kept.

    Attributes:
        curr_feat: the latest vector, of length 1.
        smooth_feat: their moving average, of length 1.
    """

    shared_kalman = KalmanFilterXYWH()
    alpha = 0.9  # share of the old average that is kept

    def __init__(
        self,
        tlwh: Sequence[float],
        score: float,
        cls: float,
        feat: np.ndarray | None = None,
        feat_history: int = 50,
    ):
        super().__init__(tlwh, score, cls)
        self.curr_feat: np.ndarray | None = None
        self.smooth_feat: np.ndarray | None = None
        self.features: deque[np.ndarray] = deque(maxlen=feat_history)
        if feat is not None:
            self.update_features(feat)

    def update_features(self, feat: np.ndarray) -> None:
        """Take another vector into the average."""
        feat = np.asarray(feat, float) / np.linalg.norm(feat)
        old = self.smooth_feat
        mean = feat if old is None else self.alpha * old + (1 - self.alpha) * feat
        self.curr_feat, self.smooth_feat = feat, mean / np.linalg.norm(mean)
        self.features.append(feat)

    @staticmethod
    def tlwh_to_xywh(tlwh: np.ndarray) -> np.ndarray:
        """Turn top left corner and size into centre and size."""
        x, y, w, h = tlwh
        return np.array([x + w / 2, y + h / 2, w, h])

    def convert_coords(self, tlwh: np.ndarray) -> np.ndarray:
        return self.tlwh_to_xywh(tlwh)

    @property
    def tlwh(self) -> np.ndarray:
        if self.mean is None:
            return self._tlwh.copy()
        x, y, w, h = self.mean[:4]
        return np.array([x - w / 2, y - h / 2, w, h])

    def at_steady_size(self) -> np.ndarray:
        return np.r_[self.mean[:6], 0, 0]

    @staticmethod
    def zoomed_sizes(zoom: float) -> np.ndarray:
        """Return the matrix (2, 2) that scales width and height by a zoom."""
        return np.diag([zoom, zoom])

    def _follow(self, seen: STrack, frame_id: int) -> None:
        super()._follow(seen, frame_id)
        if isinstance(seen, BOTrack) and seen.curr_feat is not None:
            self.update_features(seen.curr_feat)


class BOTSORT(BYTETracker):
    """Tracks the objects of one video, also when the camera moves; see BYTETracker.

    Attributes:
        encoder: describes looks, which are compared with `with_reid`; None here.
    """

    track = BOTrack

    def __init__(self, args: SimpleNamespace, frame_rate: float = 30):
        self.gmc = GMC(method=args.gmc_method)
        super().__init__(args, frame_rate)
        self.proximity_thresh, self.appearance_thresh = args.proximity_thresh, args.appearance_thresh
        self.encoder: Encoder | None = None

    def reset(self) -> None:
        super().reset()
        self.gmc.reset_params()

    def init_track(
        self, dets: np.ndarray, scores: np.ndarray, cls: np.ndarray, img: np.ndarray | None = None
    ) -> list[STrack]:
        """Turn detections into tracks, with their looks where there is an encoder."""
        if not self._compares_looks() or not len(dets):
            return super().init_track(dets, scores, cls, img)
        assert self.encoder is not None
        features = self.encoder.inference(img, dets)
        return [self.track(*each) for each in zip(dets, scores, cls, features)]

    def get_dists(self, tracks: Sequence[STrack], detections: Sequence[STrack]) -> np.ndarray:
        """Return the distances (n, m), 0 to 1: of the boxes or, where these are near enough, of the looks if less."""
        boxes = iou_distance(tracks, detections)
        distances = fuse_score(boxes, detections) if self.args.fuse_score else boxes
        if not self._compares_looks() or not distances.size:
            return distances
        looks = embedding_distance(cast("list[BOTrack]", tracks), cast("list[BOTrack]", detections)) / 2
        looks[(looks > self.appearance_thresh) | (boxes > self.proximity_thresh)] = 1
        return np.minimum(distances, looks)

    def _compares_looks(self) -> bool:
        return self.args.with_reid and self.encoder is not None

    def compensate(self, img: np.ndarray | None, tracks: Sequence[STrack], detections: Sequence[STrack]) -> None:
        """Move tracks as the camera moved since the previous frame."""
        if img is not None:
            warp = self.gmc.apply(img, np.array([d.xyxy for d in detections]).reshape(-1, 4))
            self.track.multi_gmc(tracks, warp)
