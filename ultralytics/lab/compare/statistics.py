"""What a few seeds allow to say: mean, standard deviation, and paired differences with Student's interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
        n = len(values)
        mean = math.fsum(values) / n if n else None
        std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else None
        return cls(n, mean, std)


@dataclass(frozen=True)
class Difference:
    """The mean difference of n pairs, and the interval around it; None where n does not allow one."""

    n: int
    mean: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, first: Mapping[int, float], other: Mapping[int, float], level: float = LEVEL) -> Difference:
        """Return other minus first over the seeds that both have.

        Args:
            first: values by seed.
            other: values by seed.
            level: probability that the interval covers the true mean difference, if differences are normal.
        """
        stat = Stat.of([other[seed] - first[seed] for seed in sorted(first.keys() & other.keys())])
        if stat.std is None:
            return cls(stat.n, stat.mean, None, None)
        half = t_quantile((1 + level) / 2, stat.n - 1) * stat.std / math.sqrt(stat.n)
        return cls(stat.n, stat.mean, stat.mean - half, stat.mean + half)

    @property
    def clear(self) -> bool:
        """Whether there is an interval, and 0 lies outside of it."""
        return self.low is not None and (self.low > 0 or self.high < 0)


def t_quantile(p: float, df: float) -> float:
    """Return t with P(T <= t) = p for Student's distribution of `df` degrees of freedom, 0 < p < 1."""
    if not 0 < p < 1 or df <= 0:
        raise ValueError(f"A quantile needs 0 < p < 1 and df > 0, but p={p} and df={df} were given.")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_probability(high, df) < p:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_probability(middle, df) < p else (low, middle)
    return (low + high) / 2


def t_probability(t: float, df: float) -> float:
    """Return P(T <= t) for Student's distribution of `df` degrees of freedom."""
    tail = incomplete_beta(df / 2, 0.5, df / (df + t * t)) / 2
    return 1 - tail if t > 0 else tail


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, by symmetry
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300

    def apart(value: float) -> float:
        return value if abs(value) > tiny else tiny

    c, d = 1.0, 1 / apart(1 - (a + b) * x / (a + 1))
    total = d
    for m in range(1, 1000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / apart(1 + numerator * d), apart(1 + numerator / c)
            total *= d * c
        if abs(d * c - 1) < 1e-16:
            break
    return total
