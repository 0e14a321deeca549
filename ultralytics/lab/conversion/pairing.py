"""A matching of channels: those that a Ghost module computes, and those that it derives from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ultralytics.lab.conversion.fitting import NormalEquations

CANDIDATES = 12  # partners that are looked at for each channel, of layers with many


def residuals(seen: torch.Tensor, z: torch.Tensor, act: nn.Module, ridge: float = 1e-4) -> torch.Tensor:
    """Return the residual of deriving each channel from each other one: (of, to) mean squares after `act`.

    Args:
        seen: (n, c, taps) what a depthwise filter reads of each channel.
        z: (n, c) outputs before the activation.
    """
    _, c, taps = seen.shape
    left, y = torch.empty(c, c), act(z.clone())  # it may work in place
    for k in range(c):
        equations = NormalEquations(taps, c)
        equations.add(seen[:, k], z)
        weights = equations.solve(ridge=ridge).float()
        left[k] = (y - act(torch.addmm(weights[-1], seen[:, k], weights[:-1]))).square().mean(0)
    return left


def match(cost: torch.Tensor, groups: Sequence[int | None] | None = None) -> list[int]:
    """Return an order of c channels: c/2 that are computed, then the one that is derived from each of those.

    The sum of the costs of all pairs is least: a matching of maximum weight on the graph of channels decides both the
    pairs and, within a pair, which is derived.

    Args:
        cost: (of, to) of deriving channel `to` from channel `of`.
        groups: the group of each channel, None for one that cannot move; channels change places within a group only.
    """
    c = len(cost)
    half, groups = c // 2, [*groups] if groups is not None else [0] * c
    first, second = set(groups[:half]), set(groups[half:])
    if None in first | second or len(first) > 1 or len(second) > 1:
        return [*range(c)]
    cost = cost.clone().double()
    if first != second:  # cut in the middle: the first half is computed, the second derived
        cost[half:] = float("inf")
        cost[:, :half] = float("inf")
    cheap = torch.minimum(cost, cost.T).fill_diagonal_(float("inf"))
    ordered = sorted((u, v) if cost[u, v] <= cost[v, u] else (v, u) for u, v in _matching(cheap))
    return [u for u, _ in ordered] + [v for _, v in ordered]


def _greedy(cost: torch.Tensor) -> list[tuple[int, int]]:
    cost, pairs = cost.clone(), []
    for _ in range(len(cost) // 2):
        u, v = divmod(int(cost.argmin()), len(cost))
        pairs.append((u, v))
        cost[[u, v]] = cost[:, [u, v]] = float("inf")
    return pairs


def _matching(cost: torch.Tensor) -> list[tuple[int, int]]:
    """Return the perfect matching of least cost; in large graphs each channel has its cheapest partners only."""
    import networkx

    finite = cost[cost.isfinite()]
    top = float(finite.max()) if finite.numel() else 0.0
    near = cost.topk(min(CANDIDATES, len(cost) - 1), dim=1, largest=False).indices
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(cost)))
    for u, partners in enumerate(near.tolist()):
        for v in partners:
            if cost[u, v].isfinite():
                graph.add_edge(u, v, weight=top - float(cost[u, v]))
    pairs = [(u, v) for u, v in networkx.max_weight_matching(graph, maxcardinality=True)]
    alone = sorted({*range(len(cost))} - {k for pair in pairs for k in pair})
    if alone:  # the cheapest partners of these were all taken
        rest = torch.tensor(alone)
        pairs += [(alone[u], alone[v]) for u, v in _greedy(cost[rest][:, rest])]
    return pairs
