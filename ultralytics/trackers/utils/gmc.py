"""Global motion compensation: the camera's motion between two frames, as a 2 x 3 matrix."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ultralytics.utils.errors import ConfigError

METHODS = ("sparseOptFlow", "orb", "sift", "ecc", "none")
_LEAST_SIDE = 96  # pixels; frames are not scaled below this
_LEAST_POINTS = 6  # points that must agree on a motion
_MAX_ZOOM = 1.5  # from one frame to the next; more is a failure


class GMC:
    """Estimates the camera's motion from the background: boxes of objects are masked out.

    Args:
        method: one of METHODS, or None for 'none'. sparseOptFlow: corners tracked by optical flow (Lucas and Kanade);
            orb, sift: features matched; ecc: brightness aligned (Evangelidis and Psarakis 2008).
        downscale: factor by which the frames are reduced.
    """

    def __init__(self, method: str | None = "sparseOptFlow", downscale: int = 2):
        self.method = (method or "none").lower()
        if self.method not in {m.lower() for m in METHODS}:
            raise ConfigError(f"method='{method}' finds no movement of a camera; give one of {', '.join(METHODS)}.")
        self.downscale = max(1, int(downscale))
        self._detector: cv2.Feature2D | None = None
        self._matcher: cv2.BFMatcher | None = None
        self.reset_params()

    def reset_params(self) -> None:
        """Forget the previous frame."""
        self._gray: np.ndarray | None = None
        self._corners: np.ndarray | None = None  # of the previous frame
        self._features: tuple[np.ndarray, np.ndarray | None] | None = None  # its points and their descriptors

    def apply(self, raw_frame: np.ndarray, detections: np.ndarray | None = None) -> np.ndarray:
        """Return the matrix (2, 3) from pixels of the previous frame to this one; the identity for the first frame.

        Args:
            raw_frame: (h, w, 3) uint8 BGR, or (h, w).
            detections: (n, 4) xyxy boxes of objects that may move by themselves, in pixels.
        """
        if self.method == "none":
            return np.eye(2, 3)
        if self.method == "sparseoptflow":
            return self.applySparseOptFlow(raw_frame, detections)
        return (self.applyEcc if self.method == "ecc" else self.applyFeatures)(raw_frame, detections)

    def applySparseOptFlow(self, raw_frame: np.ndarray, detections: np.ndarray | None = None) -> np.ndarray:
        """Estimate by corners that are tracked by optical flow; see `apply`."""
        return self._run(self._by_flow, raw_frame, detections)

    def applyFeatures(self, raw_frame: np.ndarray, detections: np.ndarray | None = None) -> np.ndarray:
        """Estimate by features that are matched; see `apply`."""
        return self._run(self._by_features, raw_frame, detections)

    def applyEcc(self, raw_frame: np.ndarray, detections: np.ndarray | None = None) -> np.ndarray:
        """Estimate by brightness that is aligned; see `apply`."""
        return self._run(self._by_ecc, raw_frame, detections)

    def _run(
        self,
        estimate: Callable[[np.ndarray, np.ndarray], np.ndarray | None],
        raw_frame: np.ndarray,
        detections: np.ndarray | None,
    ) -> np.ndarray:
        """Estimate on the reduced frame, and turn what is found into pixels of the whole one."""
        gray = cv2.cvtColor(raw_frame, cv2.COLOR_BGR2GRAY) if raw_frame.ndim == 3 else raw_frame
        scale = min(self.downscale, max(1, min(gray.shape) // _LEAST_SIDE))
        if scale > 1:
            gray = cv2.resize(gray, (gray.shape[1] // scale, gray.shape[0] // scale), interpolation=cv2.INTER_AREA)
        if self._gray is not None and self._gray.shape != gray.shape:
            self.reset_params()
        warp = estimate(gray, self._background(gray.shape, detections, scale))
        self._gray = gray
        if warp is None or not np.isfinite(warp).all() or not _is_plausible(warp):
            return np.eye(2, 3)
        warp = np.array(warp, float)
        warp[:, 2] *= scale
        return warp

    @staticmethod
    def _background(shape: tuple[int, ...], detections: np.ndarray | None, scale: int) -> np.ndarray:
        """Return a mask (h, w) uint8 that is 255 outside all objects."""
        mask = np.full(shape, 255, np.uint8)
        for x1, y1, x2, y2 in np.asarray(() if detections is None else detections).reshape(-1, 4) / scale:
            mask[max(0, int(y1)) : max(0, int(np.ceil(y2))), max(0, int(x1)) : max(0, int(np.ceil(x2)))] = 0
        return mask

    def _by_flow(self, gray: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """Track corners of the previous frame."""
        before, warp = self._corners, None
        if self._gray is not None and before is not None and len(before):
            now, status, _ = cv2.calcOpticalFlowPyrLK(self._gray, gray, before, None)  # type: ignore[call-overload]
            found = status.ravel() == 1  # the stub above lacks the None that lets OpenCV allocate the result
            warp = _fit(before[found], now[found])
        self._corners = cv2.goodFeaturesToTrack(gray, maxCorners=1000, qualityLevel=0.01, minDistance=3, mask=mask)
        return warp

    def _by_features(self, gray: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """Match features with those of the previous frame."""
        if self._detector is None or self._matcher is None:
            sift = self.method == "sift"
            self._detector = (cv2.SIFT if sift else cv2.ORB).create(nfeatures=1000)
            self._matcher = cv2.BFMatcher(cv2.NORM_L2 if sift else cv2.NORM_HAMMING)
        keypoints, descriptors = self._detector.detectAndCompute(gray, mask)
        points = np.asarray(cv2.KeyPoint.convert(keypoints))
        before, self._features = self._features, (points, descriptors)
        if before is None or before[1] is None or descriptors is None:
            return None
        pairs = [p for p in self._matcher.knnMatch(before[1], descriptors, k=2) if len(p) == 2]
        good = [best for best, second in pairs if best.distance < 0.8 * second.distance]
        return _fit(before[0][[m.queryIdx for m in good]], points[[m.trainIdx for m in good]]) if good else None

    def _by_ecc(self, gray: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
        """Rotate and shift the previous frame until its brightness fits, at first by the phase correlation's shift."""
        if self._gray is None:
            return None
        window = cv2.createHanningWindow(gray.shape[::-1], cv2.CV_32F)
        shift, _ = cv2.phaseCorrelate(np.float32(self._gray), np.float32(gray), window)
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)
        best, warp = -1.0, None
        for dx, dy in (shift, (0.0, 0.0)):
            guess = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            try:
                fit, found = cv2.findTransformECC(self._gray, gray, guess, cv2.MOTION_EUCLIDEAN, criteria, mask, 5)
            except cv2.error:  # frames without any pattern, or nothing in common
                continue
            if fit > best:
                best, warp = fit, np.asarray(found)
            if best > 0.9:
                break
        return warp


def _fit(before: np.ndarray, now: np.ndarray) -> np.ndarray | None:
    """Fit the rotation, scale and shift on which most points agree, or return None if too few do."""
    if len(before) < _LEAST_POINTS:
        return None
    warp, inliers = cv2.estimateAffinePartial2D(before, now, method=cv2.RANSAC, ransacReprojThreshold=3)
    return warp if warp is not None and inliers.sum() >= max(_LEAST_POINTS, 0.3 * len(before)) else None


def _is_plausible(warp: np.ndarray) -> bool:
    zoom = np.sqrt(abs(np.linalg.det(warp[:, :2])))
    return 1 / _MAX_ZOOM < zoom < _MAX_ZOOM
