"""The Kalman filters, the assignment and the camera's movement, each against what is known of it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ultralytics.trackers.byte_tracker import STrack
from ultralytics.trackers.utils.gmc import GMC, METHODS
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH, KalmanFilterXYWH
from ultralytics.trackers.utils.matching import embedding_distance, fuse_score, iou_distance, linear_assignment
from ultralytics.utils.errors import ConfigError

REFERENCE = [[1.8032, 14.01, 0.5877, 10.0], [119.4343, 14.01, 119.067, 10.0]]  # of XYAH and XYWH


# Kalman filters -------------------------------------------------------------------------------------------------------
def by_hand(x: float, p: float, v: float, seen: float) -> tuple[float, float, float]:
    """Return place, velocity and variance of the place after one step of one coordinate, written out.

    Begins at `x` at rest with variances (2 p)^2 and (10 v)^2; noise p^2 and v^2; measured with p^2.
    """
    place, speed = 4 * p**2, 100 * v**2
    a, b = place + speed + p**2, speed  # after prediction: variance, and covariance with the velocity
    gain, gain_speed = a / (a + p**2), b / (a + p**2)
    return x + gain * (seen - x), gain_speed * (seen - x), a - gain * a


@pytest.mark.parametrize(("kind", "size"), [(KalmanFilterXYAH, 80.0), (KalmanFilterXYWH, 40.0)])
def test_a_step_of_the_filter_equals_the_hand_computation(kind, size):
    kalman = kind()
    second = 0.5 if kind is KalmanFilterXYAH else 40.0
    mean, covariance = kalman.initiate(np.array([100.0, 50.0, second, 80.0]))
    mean, covariance = kalman.predict(mean, covariance)
    np.testing.assert_allclose(mean, [100, 50, second, 80, 0, 0, 0, 0])
    mean, covariance = kalman.update(mean, covariance, np.array([104.0, 50.0, second, 80.0]))
    place, speed, variance = by_hand(100, size / 20, size / 160, 104)
    np.testing.assert_allclose([mean[0], mean[4], covariance[0, 0]], [place, speed, variance])
    np.testing.assert_allclose(mean[[1, 2, 3]], [50, second, 80])
    np.testing.assert_allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


@pytest.mark.parametrize("kind", [KalmanFilterXYAH, KalmanFilterXYWH])
def test_many_are_predicted_as_one_by_one(kind):
    kalman = kind()
    states = [kalman.initiate(np.array([10.0 * i, 5, 1 + i, 20 + i])) for i in range(3)]
    means, covariances = kalman.multi_predict(*(np.stack(part) for part in zip(*states)))
    for i, state in enumerate(states):
        mean, covariance = kalman.predict(*state)
        np.testing.assert_allclose(means[i], mean)
        np.testing.assert_allclose(covariances[i], covariance)


@pytest.mark.parametrize("kind", [KalmanFilterXYAH, KalmanFilterXYWH])
def test_the_filter_learns_a_velocity_and_survives_shrinking_to_nothing(kind):
    kalman = kind()
    state = kalman.initiate(np.array([0.0, 0, 1, 40]))
    for t in range(1, 30):
        state = kalman.update(*kalman.predict(*state), np.array([3.0 * t, -t, 1, 40]))
    np.testing.assert_allclose(state[0][4:6], [3, -1], atol=0.05)
    state[0][7] = -30
    for _ in range(50):
        state = kalman.predict(*state)
    assert np.isfinite(state[0]).all() and (state[0][2:4] > 0).all()


def test_the_distance_of_boxes_from_a_state():
    """As 8.3.0 gives it for this state and box."""
    for kind, wanted in ((KalmanFilterXYAH, REFERENCE[0]), (KalmanFilterXYWH, REFERENCE[1])):
        kalman = kind()
        state = kalman.predict(*kalman.initiate(np.array([50.0, 50, 2, 30])))
        box = np.array([[53.0, 51, 2.1, 28]])
        both = [(only, metric) for only in (False, True) for metric in ("maha", "gaussian")]
        np.testing.assert_allclose([kalman.gating_distance(*state, box, *each)[0] for each in both], wanted, atol=1e-4)
        with pytest.raises(ConfigError, match="metric='l1'"):
            kalman.gating_distance(*state, box, metric="l1")


def test_the_distance_of_looks():
    a, b = SimpleNamespace(smooth_feat=[1.0, 0]), SimpleNamespace(curr_feat=[0.6, 0.8])
    np.testing.assert_allclose(embedding_distance([a], [b]), [[0.4]], atol=1e-6)
    np.testing.assert_allclose(embedding_distance([a], [b], "euclidean"), [[0.8**0.5]], atol=1e-6)
    assert embedding_distance([], [b]).shape == (0, 1)
    with pytest.raises(ConfigError, match="metric='l1'"):
        embedding_distance([a], [b], "l1")


# Assignment -----------------------------------------------------------------------------------------------------------
def best_gain(cost: np.ndarray, thresh: float) -> float:
    """Return the least sum of cost - thresh over all ways of matching, tried one by one."""
    gain = np.minimum(cost - thresh, 0)
    if gain.shape[0] > gain.shape[1]:
        gain = gain.T
    n, m = gain.shape
    return min(sum(gain[i, p[i]] for i in range(n)) for p in itertools.permutations(range(m), n))


def test_the_assignment_is_as_good_as_the_best_of_all():
    rng = np.random.default_rng(0)
    for trial in range(300):
        n, m = (int(k) for k in rng.integers(1, 6, 2))
        cost = rng.uniform(0, 1, (n, m))
        cost = (
            cost.round(1) if trial % 2 else np.where(rng.uniform(size=(n, m)) < 0.5, cost, 1)
        )  # ties, and few allowed
        matches, rows, columns = linear_assignment(cost, 0.6)
        costs = cost[matches[:, 0], matches[:, 1]]
        assert (costs < 0.6).all()
        assert (costs - 0.6).sum() == pytest.approx(best_gain(cost, 0.6))
        assert sorted([*matches[:, 0], *rows]) == list(range(n)) and sorted([*matches[:, 1], *columns]) == list(
            range(m)
        )


def test_the_assignment_is_not_the_greedy_one():
    matches, _, _ = linear_assignment(np.array([[0.1, 0.2], [0.15, 0.7]]), 0.8)
    assert matches.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_is_assigned_to_nothing(shape):
    matches, rows, columns = linear_assignment(np.zeros(shape), 0.5)
    assert matches.shape == (0, 2) and (len(rows), len(columns)) == shape


def test_costs_that_are_no_numbers_are_not_matched():
    matches, rows, columns = linear_assignment(np.array([[np.nan, np.inf], [0.1, np.nan]]), 0.5)
    assert matches.tolist() == [[1, 0]] and rows.tolist() == [0] and columns.tolist() == [1]


def test_distances_of_upright_and_rotated_boxes():
    a, b = STrack([10, 10, 20, 20, 0], 0.5, 0), STrack([20, 10, 20, 20, 1], 0.8, 0)
    np.testing.assert_allclose(iou_distance([a, b], [b]), [[2 / 3], [0]], atol=1e-6)
    np.testing.assert_allclose(fuse_score(np.array([[0.5, 0.5]]), [a, b]), [[0.75, 0.6]])
    flat, upright = STrack([50, 50, 80, 10, 0.0, 0], 0.9, 0), STrack([50, 50, 80, 10, np.pi / 2, 0], 0.9, 0)
    turned = STrack([50, 50, 10, 80, np.pi / 2, 0], 0.9, 0)
    distances = iou_distance([flat], [upright, turned])[0]
    assert distances[0] > 0.5 and distances[1] < 0.05, "one box said in two ways is the same"
    assert iou_distance([], [a]).shape == (0, 1)


# The camera -----------------------------------------------------------------------------------------------------------
def landscape() -> np.ndarray:
    """Return an image (400, 520, 3) with pattern of all sizes."""
    rng = np.random.default_rng(3)
    layers = [
        cv2.resize(rng.uniform(0, 1, (s, s)), (520, 400), interpolation=cv2.INTER_CUBIC) for s in (6, 20, 60, 150)
    ]
    grey = cv2.normalize(sum(layers), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "none"])
@pytest.mark.parametrize(("turn", "shift"), [(0.0, (12, -7)), (2.0, (-6, 4))])
def test_each_method_finds_the_movement_of_the_camera(method, turn, shift):
    image = landscape()
    truth = cv2.getRotationMatrix2D((260, 200), turn, 1.0)
    truth[:, 2] += shift
    moved = cv2.warpAffine(image, truth, (520, 400))
    gmc = GMC(method)
    np.testing.assert_array_equal(gmc.apply(image), np.eye(2, 3))
    object_ = np.array([[100.0, 100, 180, 200]])
    moved[100:200, 100:180] = 255  # moves by itself, and is left out
    found = gmc.apply(moved, object_)
    corners = np.array([(60, 60, 1), (460, 60, 1), (60, 340, 1), (460, 340, 1)])
    np.testing.assert_allclose(corners @ found.T, corners @ truth.T, atol=2.0)


@pytest.mark.parametrize("method", METHODS)
def test_frames_that_tell_nothing_leave_all_in_place(method):
    rng = np.random.default_rng(0)
    gmc = GMC(method)
    blank, other = np.full((120, 160, 3), 90, np.uint8), np.full((100, 60, 3), 9, np.uint8)
    noise = [rng.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(2)]
    for image in (blank, blank, other, noise[0], blank, blank[..., 0]):
        np.testing.assert_array_equal(gmc.apply(image, np.array([[-5.0, -5, 500, 500]])), np.eye(2, 3))
    for image in (*noise, other):
        assert np.isfinite(gmc.apply(image)).all()


def test_no_method_does_nothing():
    assert (GMC(None).apply(landscape()) == np.eye(2, 3)).all()
