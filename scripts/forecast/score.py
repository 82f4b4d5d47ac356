"""How good forecasts were: rank correlations beside what a trivial predictor gets, a null, coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrt_bench.results.metrics import Array, pearson

PERMUTATIONS = 1000
FEWEST_WITHIN = 5  # points of a pair, below which its own rank correlation is not looked at


@dataclass(frozen=True)
class ScoredForecast:
    """One vector's forecast, and what became of it.

    pair : the pair; map : the map that carried it over.
    forecast : its concept left out on all pairs. pair_out : the pairs of these two models left out too.
    states_r2 : of the map, without the eight widest dimensions; others : mean steering R2 of the other
        concepts on the pair under the map. Both are what one would go by without a forecast.
    agreement : of the two models' changes on neutral text (`NeutralText`), which the forecast leaves aside.
    interval : None where it was not asked for.
    """

    pair: str
    map: str
    concept: str
    measured: float
    forecast: float
    pair_out: float
    states_r2: float
    others: float
    agreement: float
    interval: tuple[float, float] | None = None

    @property
    def group(self) -> str:
        """Pair and map: permutations move forecasts only within a group."""
        return f"{self.pair}, {self.map}"


def ranks(values: Array) -> Array:
    """Ranks from 0, ties averaged."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count) - 1
    return np.asarray((last - (count - 1) / 2)[place])


def spearman(x: Array, y: Array) -> float | None:
    """Spearman's rank correlation; None where either is constant."""
    return pearson(ranks(x), ranks(y))


def within(groups: Sequence[str], x: Array, y: Array) -> float | None:
    """Mean over groups of the rank correlation inside them: what is left without the pairs' differences."""
    correlations = []
    for group in sorted(set(groups)):
        members = np.array([g == group for g in groups])
        rho = spearman(x[members], y[members]) if members.sum() >= FEWEST_WITHIN else None
        if rho is not None:
            correlations.append(rho)
    return float(np.mean(correlations)) if correlations else None


@dataclass(frozen=True)
class Judgement:
    """Figures of a set of forecasts.

    spearman, within : of forecasts with what was measured, pooled, and inside each pair and map.
    pair_out, pair_out_within : the same, the pairs of the same two models left out too.
    states_r2, others, agreement : pooled rank correlations of these by themselves.
    null : the pooled one's 95% quantile where each pair's forecasts are dealt to its concepts at random, and
        p, the share of such deals that reach the real one.
    error : median absolute error, both cut at -1. coverage : share of measured values inside the interval.
    """

    name: str
    n: int
    groups: int
    spearman: float | None
    within: float | None
    pair_out: float | None
    pair_out_within: float | None
    states_r2: float | None
    others: float | None
    agreement: float | None
    null: float
    p: float
    error: float
    coverage: float | None


def judged(name: str, points: Sequence[ScoredForecast], seed: int = 0) -> Judgement:
    """Judge a set of forecasts."""
    groups = [point.group for point in points]
    measured, forecast, pair_out, states, others, agreement = (
        np.array([getattr(point, key) for point in points])
        for key in ("measured", "forecast", "pair_out", "states_r2", "others", "agreement")
    )
    rho = spearman(forecast, measured)
    null = _dealt(groups, forecast, measured, seed)
    covered = [p.interval[0] <= p.measured <= p.interval[1] for p in points if p.interval]
    return Judgement(
        name, len(points), len(set(groups)), rho,
        within(groups, forecast, measured),
        spearman(pair_out, measured), within(groups, pair_out, measured),
        spearman(states, measured), spearman(others, measured), spearman(agreement, measured),
        float(np.quantile(null, 0.95)),
        float((1 + (null >= (rho or 0.0)).sum()) / (1 + len(null))),
        float(np.median(np.abs(forecast.clip(-1) - measured.clip(-1)))),
        float(np.mean(covered)) if covered else None,
    )  # fmt: skip


def _dealt(groups: Sequence[str], forecast: Array, measured: Array, seed: int) -> Array:
    """Pooled rank correlations where forecasts are permuted inside each group."""
    rng = np.random.default_rng([seed, 404])
    named = np.array(groups)
    places = [np.flatnonzero(named == group) for group in np.unique(named)]
    x, y = ranks(forecast), ranks(measured)
    correlations = np.empty(PERMUTATIONS)
    for index in range(PERMUTATIONS):
        dealt = x.copy()
        for members in places:
            dealt[members] = x[rng.permutation(members)]
        correlations[index] = pearson(dealt, y) or 0.0
    return correlations
