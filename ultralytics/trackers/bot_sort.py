"""BoT-SORT without re-identification: ByteTrack with width in the filter's state and camera motion compensation.

Aharon et al., BoT-SORT: Robust Associations Multi-Pedestrian Tracking, arXiv 2206.14651.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from ultralytics.trackers.byte_tracker import BYTETracker, STrack
from ultralytics.trackers.utils.gmc import GMC
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYWH


class BOTrack(STrack):
    """A track whose filter follows width and height."""

    kalman = KalmanFilterXYWH()

    @staticmethod
    def to_measurement(box: np.ndarray) -> np.ndarray:
        return np.array(box)

    @staticmethod
    def from_state(state: np.ndarray) -> np.ndarray:
        return state[:4].copy()

    def at_steady_size(self) -> np.ndarray:
        return np.r_[self.mean[:6], 0, 0]

    @staticmethod
    def multi_gmc(tracks: Sequence[STrack], warp: np.ndarray) -> None:
        """Transform tracks by a matrix (2, 3).

        Positions and their velocities are rotated and scaled; sizes are only scaled, since boxes stay upright. (The
        paper rotates sizes too, which turns part of a tall box's height into width.)
        """
        turn, shift = warp[:, :2], warp[:, 2]
        zoom = np.sqrt(abs(np.linalg.det(turn))) * np.eye(2)
        whole = np.zeros((8, 8))
        for k, part in enumerate((turn, zoom, turn, zoom)):
            whole[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = part
        for track in tracks:
            track.mean = whole @ track.mean
            track.mean[:2] += shift
            track.covariance = whole @ track.covariance @ whole.T
            if track.angle is not None:
                track.angle += float(np.arctan2(turn[1, 0], turn[0, 0]))


class BOTSORT(BYTETracker):
    """Tracks the objects of one video, also when the camera moves; see BYTETracker."""

    track = BOTrack

    def __init__(self, args: SimpleNamespace, frame_rate: float = 30):
        self.gmc = GMC(method=args.gmc_method)
        super().__init__(args, frame_rate)

    def reset(self) -> None:
        super().reset()
        self.gmc.reset_params()

    def compensate(self, img: np.ndarray | None, tracks: Sequence[STrack], detections: Sequence[STrack]) -> None:
        """Move tracks as the camera moved since the previous frame."""
        if img is not None:
            warp = self.gmc.apply(img, np.array([d.xyxy for d in detections]).reshape(-1, 4))
            BOTrack.multi_gmc(tracks, warp)
