"""Matching of tracks with detections: distances between them, and the optimal assignment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import batch_probiou, bbox_ioa


class Tracked(Protocol):
    """A track or detection with a box."""

    angle: float | None
    score: float

    @property
    def xyxy(self) -> np.ndarray: ...
    @property
    def xywha(self) -> np.ndarray: ...


class Looking(Protocol):
    """A track or detection whose looks a vector describes."""

    curr_feat: np.ndarray | None
    smooth_feat: np.ndarray | None


def _solve(cost: np.ndarray) -> np.ndarray:
    """Return for each row of a cost matrix (n, m), n <= m, its column in an assignment of the least total cost.

    Shortest augmenting paths with dual prices: Jonker and Volgenant, A Shortest Augmenting Path Algorithm for Dense and
    Sparse Linear Assignment Problems, Computing 38, 1987.
    """
    n, m = cost.shape
    row_price, column_price = np.zeros(n), np.zeros(m)
    row_of = np.full(m + 1, -1)  # the last column is the place from which each search starts
    for row in range(n):
        row_of[m] = row
        column, visited, rows = m, np.zeros(m, bool), []
        least, before = np.full(m, np.inf), np.full(m, m)
        while row_of[column] >= 0:  # until a free column is reached
            i = row_of[column]
            rows.append(i)
            visited[column : column + 1] = True  # no effect on the last
            reduced = cost[i] - row_price[i] - column_price
            better = ~visited & (reduced < least)
            least[better], before[better] = reduced[better], column
            column = int(np.where(visited, np.inf, least).argmin())
            step = least[column]
            row_price[rows] += step
            column_price[visited] -= step
            least[~visited] -= step
        while column != m:  # turn the path round
            row_of[column] = row_of[before[column]]
            column = before[column]
    taken = np.flatnonzero(row_of[:m] >= 0)
    return taken[np.argsort(row_of[taken])]


def _groups(allowed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows and columns of each connected part of a matrix (n, m) of allowed pairs, mostly small ones."""
    n = len(allowed)
    of_row, before = np.arange(n), None
    while before is None or (of_row != before).any():  # each takes the smallest label it is connected to
        before = of_row
        of_column = np.where(allowed, of_row[:, None], n).min(0, initial=n)
        of_row = np.where(allowed, of_column, n).min(1, initial=n)
    for label in np.unique(of_row[of_row < n]):
        yield np.flatnonzero(of_row == label), np.flatnonzero(of_column == label)


def linear_assignment(
    cost_matrix: np.ndarray, thresh: float, use_lap: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match rows with columns so that the sum of `cost - thresh` over the matches is minimal.

    No match costs `thresh` or more. Non-finite costs are never matched. `use_lap` is without effect.

    Returns:
        matches (k, 2), rows without a match, columns without a match.
    """
    cost = np.asarray(cost_matrix, float)
    gain = np.where(np.isfinite(cost), np.minimum(cost - thresh, 0), 0)
    matches = np.empty((0, 2), int)
    for rows, columns in _groups(gain < 0):
        part = gain[np.ix_(rows, columns)]
        wide = len(rows) <= len(columns)
        found = _solve(part if wide else part.T)
        row, column = (np.arange(len(found)), found) if wide else (found, np.arange(len(found)))
        pairs = np.stack((rows[row], columns[column]), 1)
        matches = np.concatenate((matches, pairs[gain[pairs[:, 0], pairs[:, 1]] < 0]))
    matches = matches[matches[:, 0].argsort()]
    free_rows, free_columns = (np.setdiff1d(np.arange(n), matches[:, k]) for k, n in enumerate(cost.shape))
    return matches, free_rows, free_columns


def iou_distance(atracks: Sequence[Tracked], btracks: Sequence[Tracked]) -> np.ndarray:
    """Return 1 - IoU (n, m) of tracks; for rotated boxes the probabilistic IoU."""
    if not len(atracks) or not len(btracks):
        return np.zeros((len(atracks), len(btracks)))
    if atracks[0].angle is not None and btracks[0].angle is not None:
        a, b = (np.stack([t.xywha for t in tracks]) for tracks in (atracks, btracks))
        return 1 - batch_probiou(a, b).numpy()
    a, b = (np.stack([t.xyxy for t in tracks]) for tracks in (atracks, btracks))
    return 1 - bbox_ioa(a, b, iou=True)


def embedding_distance(tracks: Sequence[Looking], detections: Sequence[Looking], metric: str = "cosine") -> np.ndarray:
    """Return the distances (n, m) between the average looks of tracks and the looks of detections.

    Args:
        tracks: with `smooth_feat`.
        detections: with `curr_feat`.
        metric: cosine (0 to 2) or euclidean.
    """
    if metric not in {"cosine", "euclidean"}:
        raise ConfigError(f"metric='{metric}' is not a distance of looks; give cosine or euclidean.")
    if not len(tracks) or not len(detections):
        return np.zeros((len(tracks), len(detections)), np.float32)
    a = np.asarray([t.smooth_feat for t in tracks], np.float32)
    b = np.asarray([d.curr_feat for d in detections], np.float32)
    if metric == "euclidean":
        return np.linalg.norm(a[:, None] - b[None], axis=-1)
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True).clip(1e-12) for v in (a, b))
    return (1 - a @ b.T).clip(0)


def fuse_score(cost_matrix: np.ndarray, detections: Sequence[Tracked]) -> np.ndarray:
    """Multiply the overlap in a cost matrix (n, m) by the scores of the m detections."""
    scores = np.array([d.score for d in detections])
    return 1 - (1 - cost_matrix) * scores[None] if cost_matrix.size else cost_matrix
