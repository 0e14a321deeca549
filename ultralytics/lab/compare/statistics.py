"""Statistics of a few seeds: mean, standard deviation, and paired differences with Student's interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Stat:
    """Mean and standard deviation (n - 1 in the denominator; None for fewer than two values) of n values."""

    n: int
    mean: float | None
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Stat:
        """Return the statistic of some values, which may be none."""
        return cls(len(values), fmean(values) if values else None, stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Difference:
    """The mean difference of n pairs, and the interval around it; None where n does not allow one."""

    n: int
    mean: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, first: Mapping[int, float], other: Mapping[int, float]) -> Difference:
        """Return other minus first, values by seed, over the seeds that both have.

        The interval covers the true mean difference with a probability of `LEVEL`, if differences are normal.
        """
        stat = Stat.of([other[seed] - first[seed] for seed in sorted(first.keys() & other.keys())])
        if stat.mean is None or stat.std is None:
            return cls(stat.n, stat.mean, None, None)
        half = t_quantile((1 + LEVEL) / 2, stat.n - 1) * stat.std / math.sqrt(stat.n)
        return cls(stat.n, stat.mean, stat.mean - half, stat.mean + half)

    @property
    def clear(self) -> bool:
        """Whether there is an interval, and 0 lies outside of it."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def t_quantile(p: float, df: int) -> float:
    """Return t with P(T <= t) = p for Student's distribution of `df` degrees of freedom, 0.5 <= p < 1."""
    if not 0.5 <= p < 1 or df < 1:
        raise ValueError(f"A quantile needs 0.5 <= p < 1 and df >= 1, but p={p} and df={df} were given.")
    low, high = 0.0, 1.0
    while t_probability(high, df) < p:
        low, high = high, high * 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_probability(middle, df) < p else (low, middle)
    return middle


def t_probability(t: float, df: int) -> float:
    """Return P(T <= t) for Student's distribution of `df` degrees of freedom.

    Sums the finite series for whole `df` of Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3-4.
    """
    angle, odd = math.atan(t / math.sqrt(df)), df % 2
    term, total = math.cos(angle) ** odd, 0.0
    for power in range(odd, df - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
    within = math.sin(angle) * total  # P(-|t| <= T <= |t|), with the sign of t
    return 0.5 + (2 / math.pi * (angle + within) if odd else within) / 2
