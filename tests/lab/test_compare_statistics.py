"""Means, deviations and intervals of a comparison against values of tables and sums by hand."""

from __future__ import annotations

import math

import pytest

from ultralytics.lab.compare.statistics import Difference, Stat, t_probability, t_quantile


@pytest.mark.parametrize(
    ("p", "df", "expected"),
    [  # as printed in tables of Student's distribution
        (0.975, 1, 12.7062047), (0.975, 2, 4.30265273), (0.975, 3, 3.18244631), (0.975, 4, 2.77644511),
        (0.975, 9, 2.26215716), (0.975, 29, 2.04522964), (0.975, 100, 1.98397152), (0.95, 2, 2.91998558),
        (0.995, 1, 63.6567412), (0.995, 4, 4.60409487), (0.5, 5, 0.0), (0.975, 999, 1.96234146),
    ],
)  # fmt: skip
def test_quantiles_are_those_of_the_tables(p, df, expected):
    assert t_quantile(p, df) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_probability_of_one_and_two_degrees_in_closed_form():
    for t in (-3.0, -0.2, 0.0, 0.7, 12.0):
        assert t_probability(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-13)
        assert t_probability(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-13)


@pytest.mark.parametrize(("p", "df"), [(0.4, 3), (1, 3), (0.9, 0)])
def test_impossible_quantiles_are_refused(p, df):
    with pytest.raises(ValueError, match="p < 1"):
        t_quantile(p, df)


def test_mean_and_deviation():
    stat = Stat.of([0.30, 0.32, 0.37])
    assert (stat.n, stat.mean) == (3, pytest.approx(0.33))
    assert stat.std == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert Stat.of([0.5]) == Stat(1, 0.5, None)
    assert Stat.of([]) == Stat(0, None, None)


def test_difference_is_paired_by_seed():
    first = {0: 0.50, 1: 0.60, 2: 0.70, 3: 0.9}
    other = {2: 0.73, 1: 0.62, 0: 0.51, 7: 0.1}
    d = Difference.of(first, other)  # 0.01, 0.02, 0.03
    half = 4.30265273 * 0.01 / math.sqrt(3)
    assert (d.n, d.mean) == (3, pytest.approx(0.02))
    assert (d.low, d.high) == (pytest.approx(0.02 - half), pytest.approx(0.02 + half))
    assert not d.clear
    assert Difference.of({0: 0.1, 1: 0.2}, {0: 0.2, 1: 0.3001}).clear


def test_one_pair_has_no_interval_and_none_no_difference():
    assert Difference.of({0: 0.5}, {0: 0.75}) == Difference(1, 0.25, None, None)
    assert not Difference.of({0: 0.5}, {0: 0.75}).clear
    assert Difference.of({0: 0.5}, {1: 0.5}) == Difference(0, None, None, None)
