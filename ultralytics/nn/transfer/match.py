"""Alignment of two models: which layer of one corresponds to which layer of the other.

The lines of both models are aligned as two sequences (Needleman and Wunsch, 1970): pairs keep their order, and lines
without a partner are gaps. The score of a pair depends on its weights, class, stride and channels, and on whether its
neighbours in the graph are pairs, too; the latter is known from the previous alignment, so it takes a few rounds.
"""

from __future__ import annotations

from collections.abc import Callable

from ultralytics.nn.transfer.graph import IMAGE, Graph, Node
from ultralytics.nn.transfer.units import fitting, named_alike, units

Match = dict[int, int]  # number of a target's node: number of the source's node

# Parts of a score. Stride and neighbours together outweigh a gap, so that a line is paired with its replacement once
# its neighbours are paired; weights and class make up for another stride.
WEIGHTS, KIND, STRIDE, CHANNELS, READS, READ_BY = 4.0, 1.0, 3.0, 1.0, 1.5, 1.5
GAP = 5.0  # what a pair must score to be better than two lines without partners
ROUNDS = 6


def align(source: Graph, target: Graph) -> Match:
    """Return the pairs of layers, by their numbers."""
    table = [[_likeness(a, b) for b in target.nodes] for a in source.nodes]
    match: Match = {}
    for _ in range(ROUNDS):
        scores = _with_neighbours(source, target, table, match)
        new = _moved(scores, table, _path(scores))
        if new == match:
            break
        match = new
    return match


def _likeness(a: Node, b: Node) -> float | None:
    """Return the score of two layers by themselves; None if they cannot be a pair."""
    if a.span != b.span or (not a.entries and not b.entries and not a.is_like(b)):
        return None
    score = WEIGHTS * _fit(a, b) + KIND * a.is_like(b)
    return score + STRIDE * (a.strides == b.strides) + CHANNELS * (a.channels == b.channels)


def _fit(a: Node, b: Node) -> float:
    """Return the share of the weights of two layers that match, from 0 to 1; 1 if neither has any."""
    mine, theirs = named_alike(a, b)
    taken = sum(mine[name].numel() for unit in units(theirs) if fitting(unit, mine, theirs) for name in unit)
    numbers = sum(t.numel() for entries in (mine, theirs) for t in entries.values())
    return 2 * taken / numbers if numbers else 1.0


def _with_neighbours(source: Graph, target: Graph, table: list[list[float | None]], match: Match) -> list[list[float]]:
    """Return the scores of all pairs above a gap, given the matches so far; -inf if they cannot be a pair."""
    known = {s: s for s in match.values()}
    ends = [
        (READS, _reached(source, known, _inputs), _reached(target, match, _inputs)),
        (READ_BY, _reached(source, known, _consumers), _reached(target, match, _consumers)),
    ]
    scores = [[float("-inf") if s is None else s - GAP for s in row] for row in table]
    for weight, of_source, of_target in ends:
        for i, a in enumerate(of_source):
            for j, b in enumerate(of_target):
                scores[i][j] += weight * (len(a & b) / len(a | b) if a | b else 1.0)
    return scores


def _inputs(node: Node) -> list[int]:
    return [n for n, _ in node.inputs]


def _consumers(node: Node) -> list[int]:
    return node.consumers


def _reached(graph: Graph, match: Match, neighbours: Callable[[Node], list[int]]) -> list[set[int]]:
    """Return for each node the nearest matched ones along `neighbours`, by their numbers in the source."""
    found: dict[int, set[int]] = {IMAGE: {IMAGE}}

    def nearest(number: int) -> set[int]:
        return {match[number]} if number in match else around(number)

    def around(number: int) -> set[int]:
        if number not in found:
            found[number] = set().union(*map(nearest, neighbours(graph.nodes[number])))
        return found[number]

    return [around(node.number) for node in graph.nodes]


def _path(scores: list[list[float]]) -> Match:
    """Return the pairs of the best alignment; of equal ones that whose pairs are nearest to the image."""
    rows, columns = len(scores), len(scores[0])
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]  # of what is left from (i, j) on
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + scores[i][j])
    match, i, j = {}, 0, 0
    while i < rows and j < columns:
        if best[i + 1][j + 1] + scores[i][j] >= best[i][j] - 1e-9:
            match[j], i, j = i, i + 1, j + 1
        elif best[i][j + 1] >= best[i + 1][j]:
            j += 1
        else:
            i += 1
    return match


def _moved(scores: list[list[float]], table: list[list[float | None]], match: Match) -> Match:
    """Add pairs of layers in another order that are alike and have a neighbour in common."""
    taken, found = set(match.values()), dict(match)
    rest = [
        (scores[i][j], -i, -j)
        for i in range(len(scores))
        for j in range(len(scores[0]))
        if i not in taken and j not in match and scores[i][j] > WEIGHTS + KIND + STRIDE + CHANNELS - GAP
    ]
    for _, i, j in sorted(rest, reverse=True):
        if -i not in taken and -j not in found:
            found[-j] = -i
            taken.add(-i)
    return dict(sorted(found.items()))
