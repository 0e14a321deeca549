"""Kalman filters that track a box at constant velocity: SORT's state (arXiv 1703.07402) and BoT-SORT's.

The state holds the four coordinates of a box and their velocities; the unit of time is one frame. All noise grows with
the size of the box, as distant objects move by fewer pixels than near ones.
"""

from __future__ import annotations

import numpy as np

from ultralytics.utils.errors import ConfigError

_POSITION, _VELOCITY = 1 / 20, 1 / 160  # standard deviations per frame, as fractions of the size of the box
_LEAST_SIZE = 1e-3  # pixels; keeps a box that shrinks by its velocity from turning inside out


class KalmanFilterXYAH:
    """Tracks centre, aspect ratio (width / height) and height."""

    _motion = np.eye(8) + np.eye(8, k=4)
    _first_position, _first_velocity = 2 * _POSITION, 10 * _VELOCITY

    def _deviations(self, box: np.ndarray, position: float, velocity: float) -> np.ndarray:
        """Return standard deviations (..., 8) of a state for noise of these fractions of a box (..., 4)."""
        h = box[..., 3]
        one = np.ones_like(h)  # the aspect ratio changes little, whatever the size
        return np.stack(
            (position * h, position * h, 1e-2 * one, position * h)
            + (velocity * h, velocity * h, 1e-5 * one, velocity * h),
            -1,
        )

    def _measured(self, box: np.ndarray) -> np.ndarray:
        """Return standard deviations (4,) of a detector's box."""
        return np.array([1, 1, 0, 1]) * _POSITION * box[3] + [0, 0, 1e-1, 0]

    def initiate(self, measurement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start with a box (4,) at rest; return mean (8,) and covariance (8, 8)."""
        box = np.asarray(measurement, float)
        deviations = self._deviations(box, self._first_position, self._first_velocity)
        return np.r_[box, np.zeros(4)], np.diag(deviations**2)

    def predict(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict one frame ahead; mean (..., 8) and covariance (..., 8, 8) of one track or of many."""
        noise = self._deviations(mean[..., :4], _POSITION, _VELOCITY) ** 2
        mean = mean @ self._motion.T
        mean[..., 2:4] = np.maximum(mean[..., 2:4], _LEAST_SIZE)
        return mean, self._motion @ covariance @ self._motion.T + noise[..., None] * np.eye(8)

    multi_predict = predict

    def project(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean (4,) and covariance (4, 4) of the box that a detector would find."""
        return mean[:4], covariance[:4, :4] + np.diag(self._measured(mean[:4]) ** 2)

    def update(
        self, mean: np.ndarray, covariance: np.ndarray, measurement: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Correct a state by a detected box (4,)."""
        expected, spread = self.project(mean, covariance)
        gain = np.linalg.solve(spread, covariance[:4]).T
        mean = mean + gain @ (np.asarray(measurement, float) - expected)
        mean[2:4] = np.maximum(mean[2:4], _LEAST_SIZE)
        covariance = covariance - gain @ spread @ gain.T
        return mean, (covariance + covariance.T) / 2

    def gating_distance(
        self,
        mean: np.ndarray,
        covariance: np.ndarray,
        measurements: np.ndarray,
        only_position: bool = False,
        metric: str = "maha",
    ) -> np.ndarray:
        """Return how far detected boxes (n, 4) are from a state, (n,) squared.

        Args:
            mean: (8,).
            covariance: (8, 8).
            measurements: boxes in the coordinates of the filter.
            only_position: compare the centres alone.
            metric: maha (of Mahalanobis, in standard deviations) or gaussian (in the units of the coordinates).
        """
        if metric not in {"maha", "gaussian"}:
            raise ConfigError(f"metric='{metric}' is not a distance of boxes; give maha or gaussian.")
        expected, spread = self.project(mean, covariance)
        k = 2 if only_position else 4
        away = np.asarray(measurements, float)[:, :k] - expected[:k]
        if metric == "gaussian":
            return (away**2).sum(1)
        return (away * np.linalg.solve(spread[:k, :k], away.T).T).sum(1)


class KalmanFilterXYWH(KalmanFilterXYAH):
    """Tracks centre, width and height (BoT-SORT, arXiv 2206.14651, section 3.1)."""

    def _deviations(self, box: np.ndarray, position: float, velocity: float) -> np.ndarray:
        sizes = box[..., [2, 3, 2, 3]]
        return np.concatenate((position * sizes, velocity * sizes), -1)

    def _measured(self, box: np.ndarray) -> np.ndarray:
        return _POSITION * box[[2, 3, 2, 3]]
