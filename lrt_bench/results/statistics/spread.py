"""Variances with their degrees of freedom, and intervals from few and skewed numbers.

What is here is known of a mean of independent parts, whatever they measure: `inference` says which parts a
score has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from lrt_bench.results.metrics import LEVEL, Array

TINY = 1e-24  # of a variance of shares: rounding


@dataclass(frozen=True)
class Spread:
    """A variance and the degrees of freedom that it was estimated with."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Jackknifed:
    """How far an estimate may be off: its variance, and its third central moment."""

    spread: Spread
    third: float

    def weighted(self, square: float, cube: float) -> Jackknifed:
        """Return it for the estimate times a weight, of which the second and third powers are given."""
        return Jackknifed(Spread(self.spread.variance * square, self.spread.freedom), self.third * cube)


def jackknife(without: Array) -> Jackknifed:
    """Return the jackknife's moments from the estimates without each observation in turn [observations].

    The degrees of freedom are those of a variance of numbers with the kurtosis seen here: of n numbers one
    of which is far off, a variance is worth much less than n - 1. A single observation tells no variance.
    """
    n = len(without)
    influence = (n - 1) * (without.mean() - without)
    second = float(np.square(influence).mean())
    if n < 2 or second <= TINY:
        return Jackknifed(Spread(0.0, 1.0), 0.0)
    third = float(np.power(influence, 3).mean()) / ((n - 1) * (n - 2)) if n > 2 else 0.0
    excess = float(np.power(influence, 4).mean()) / second**2 - 3
    unbiased = (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6) if n > 3 else 0.0
    freedom = 2 / (max(unbiased, 0.0) / n + 2 / (n - 1))
    return Jackknifed(Spread(second / (n - 1), freedom), third)


def sums_without(values: Array) -> Array:
    """Sum over all observations but one, for each one [..., observations]; nothing is subtracted."""
    nothing = np.zeros((*values.shape[:-1], 1))
    before = np.concatenate([nothing, np.cumsum(values[..., :-1], -1)], -1)
    after = np.concatenate([np.cumsum(values[..., :0:-1], -1)[..., ::-1], nothing], -1)
    return before + after


def combined(parts: list[Spread]) -> Spread:
    """Sum independent variance estimates, with Satterthwaite's degrees of freedom (1946).

    The degrees of freedom are infinite where the variance is 0.
    """
    variance = sum(part.variance for part in parts)
    bottom = sum(part.variance**2 / max(part.freedom, 1) for part in parts)
    return Spread(variance, variance**2 / bottom if bottom > 0 else np.inf)


def quantile(freedom: float) -> float:
    """Student's t that 97.5% lie below."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def half_width(spread: Spread) -> float:
    """Half the t interval of an estimate with this variance; 0 without variance."""
    return quantile(spread.freedom) * spread.variance**0.5 if spread.variance > 0 else 0.0


def arms(spread: Spread, third: float) -> tuple[float, float]:
    """Return how far an interval reaches below and above an estimate: by t, and farther where it is skewed.

    Johnson's correction (1978) moves both ends to the side of the longer tail; here only the end there moves.
    Where few observations are much worse than the others, a sample without them looks better and steadier
    than the truth. Hall's transformation, of which this is the first order, has no bound for the skewness
    that one task of few prompts may have. third : the estimate's third central moment.
    """
    plain = half_width(spread)
    if plain == 0:
        return 0.0, 0.0
    error, most = spread.variance**0.5, quantile(spread.freedom)
    longer = third / error**2 * (1 + 2 * most**2) / 6
    return plain + max(-longer, 0.0), plain + max(longer, 0.0)
