"""From features to a forecast: a small mixed model, and intervals from its own leave-one-out errors.

Steering R2 and the features are shares that crowd below 1, so all are read as -log(edge - share): how far
from perfect, in factors. The model is linear in the features, with an offset (and, less, slopes) of each
pair's own: ridge regression with random effects (Laird and Ware 1982). A pair's offset is learned from its
known concepts, the slopes from theirs and from the embedded family's.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrt_bench.files.parse import parse_json
from lrt_bench.files.text import read_text
from lrt_bench.results.metrics import Array

FAMILY_DATA = Path(__file__).parent / "embedded_family.json"
FEATURES = ("explained", "round_trip")  # of VectorFeatures
R2_EDGE, FEATURE_EDGE = 1.02, 1.05
SHARED, PAIR_OFFSET, PAIR_SLOPES, NOISE = 1.0, 1.0, 0.1, 0.5  # variances, of standardised features
LEVEL = 0.9
FEWEST = 3  # known concepts of a pair without which there is no forecast


@dataclass(frozen=True)
class MeasuredTransfer:
    """A concept's vector under a map of a pair, and what became of it.

    pair : a name of the pair and its map; points that share it share an offset.
    measured : steering R2 as `known_concepts` measures it.
    features : in the order of FEATURES.
    """

    pair: str
    concept: str
    measured: float
    features: tuple[float, ...]


def stretched(r2: Array) -> Array:
    """Steering R2, cut at -1 and 1, on the scale that the model is linear in."""
    return np.asarray(-np.log(R2_EDGE - np.clip(r2, -1, 1)))


def unstretched(value: Array) -> Array:
    """Return the steering R2 that `stretched` brought here, no more than 1."""
    return np.minimum(R2_EDGE - np.exp(-value), 1.0)


@functools.cache  # a constant of the process: the file ships with the package
def family_points(path: Path = FAMILY_DATA) -> tuple[MeasuredTransfer, ...]:
    """Return the embedded family's points, as `forecast_check` measured them."""
    record = parse_json(read_text(path), str(path))
    place = record["columns"].index
    return tuple(
        MeasuredTransfer(pair, concept, row[place("quick_r2")], tuple(row[place(name)] for name in FEATURES))
        for pair, concepts in record["points"].items()
        for concept, row in concepts.items()
    )


def design(points: Sequence[MeasuredTransfer]) -> Array:
    """Return a one and the stretched features, standardised over all points: [n, 1 + features].

    A share past 1, which only a map fitted on too little has, is as far from perfect as one below.
    """
    shares = np.array([point.features for point in points])
    x = -np.log(FEATURE_EDGE - np.clip(1 - np.abs(1 - shares), -1, 1))
    return np.c_[np.ones(len(x)), (x - x.mean(0)) / x.std(0).clip(1e-9)]


def mixed_model(
    x: Array, values: Array, pairs: NDArray[np.str_], known: NDArray[np.bool_], wanted: NDArray[np.intp]
) -> Array:
    """Best linear predictions at points `wanted` from the `values` of `known` ones.

    x [n, k] design; pairs [n]. The values are x (w + u_pair) + noise, w with variances SHARED, u_pair with
    PAIR_OFFSET and PAIR_SLOPES, noise with NOISE.
    """
    prior = np.diag([PAIR_OFFSET, *[PAIR_SLOPES] * (x.shape[1] - 1)])
    centre = values[known].mean()
    precision, moment = np.eye(x.shape[1]) / SHARED, np.zeros(x.shape[1])
    blocks = {}
    for pair in np.unique(pairs[known]):
        members = np.flatnonzero(known & (pairs == pair))
        x_pair = x[members]
        inner = NOISE * np.eye(len(members)) + x_pair @ prior @ x_pair.T
        solved = np.linalg.solve(inner, np.c_[x_pair, values[members] - centre])
        blocks[pair] = x_pair, solved
        precision += x_pair.T @ solved[:, :-1]
        moment += x_pair.T @ solved[:, -1]
    shared = np.linalg.solve(precision, moment)
    predictions = centre + x[wanted] @ shared
    for place, index in enumerate(wanted):
        if pairs[index] in blocks:
            x_pair, solved = blocks[pairs[index]]
            own = prior @ x_pair.T @ (solved[:, -1] - solved[:, :-1] @ shared)
            predictions[place] += x[index] @ own
    return np.asarray(predictions)


def concept_left_out(points: Sequence[MeasuredTransfer]) -> Array:
    """Each point's forecast from the points of all other concepts, of every pair; stretched."""
    x = design(points)
    concepts = np.array([point.concept for point in points])
    pairs = np.array([point.pair for point in points])
    values = stretched(np.array([point.measured for point in points]))
    forecasts = np.full(len(points), np.nan)
    for concept in np.unique(concepts):
        if (concepts != concept).any():
            out = np.flatnonzero(concepts == concept)
            forecasts[out] = mixed_model(x, values, pairs, concepts != concept, out)
    return forecasts


def conformal(residuals: Array, level: float = LEVEL) -> tuple[float, float]:
    """Low and high quantile of residuals that hold a new one with probability `level`.

    Each side by itself (split conformal prediction, Vovk et al. 2005): the ranks are of n + 1.
    """
    ordered = np.sort(residuals[np.isfinite(residuals)])
    n = len(ordered)
    below = int(np.floor((n + 1) * (1 - level) / 2))
    return float(ordered[max(below - 1, 0)]), float(ordered[min(n - below, n - 1)])


@dataclass(frozen=True)
class Prediction:
    """A forecast steering R2, its interval, and how the same forecast did on the pair's known concepts.

    known : concept-left-out forecasts of the pair's own points, in their order.
    """

    steering_r2: float
    interval: tuple[float, float]
    known: tuple[float, ...]


def predict(
    features: Sequence[float],
    own: Sequence[MeasuredTransfer],
    family: Sequence[MeasuredTransfer],
    left_out: Collection[str] = (),
) -> Prediction:
    """Forecast a vector's steering R2 from its features (order of FEATURES).

    own : the pair's known concepts, which share one `pair`; family : the points of other pairs.
    left_out : concepts whose points are not looked at, of any pair.

    The interval is conformal, from the errors of concept-left-out forecasts over all points; where those of
    this pair are larger than the rest's, it is widened in proportion.
    """
    own = [point for point in own if point.concept not in left_out]
    points = [*own, *(point for point in family if point.concept not in left_out)]
    if len(own) < FEWEST:
        raise ValueError(f"{len(own)} known concepts, want {FEWEST}")
    wanted = MeasuredTransfer(own[0].pair, "", 0.0, tuple(features))
    every = [*points, wanted]
    values = stretched(np.array([point.measured for point in every]))
    last = np.arange(len(every)) == len(points)
    pairs = np.array([point.pair for point in every])
    centre = float(mixed_model(design(every), values, pairs, ~last, np.flatnonzero(last))[0])
    checked = concept_left_out(points)
    residuals = values[:-1] - checked
    low, high = conformal(residuals)
    wider = 1.0
    if len(points) > len(own):
        own_error, family_error = (
            np.sqrt(np.nanmean(np.square(part))) for part in np.split(residuals, [len(own)])
        )
        wider = max(1.0, float(own_error / max(family_error, 1e-9)))
    # nothing below -1 is told apart
    ends = unstretched(centre + wider * np.array([min(low, 0.0), max(high, 0.0)])).clip(-1)
    return Prediction(
        float(unstretched(np.array(centre))),
        (float(ends[0]), float(ends[1])),
        tuple(float(value) for value in unstretched(checked[: len(own)])),
    )
