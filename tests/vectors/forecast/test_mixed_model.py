"""The mixed model and its intervals, beside independent references."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lrt_bench.vectors.forecast.mixed_model import (
    FEATURES,
    NOISE,
    PAIR_OFFSET,
    PAIR_SLOPES,
    SHARED,
    MeasuredTransfer,
    concept_left_out,
    conformal,
    design,
    family_points,
    mixed_model,
    predict,
    stretched,
    unstretched,
)


def test_what_is_left_out_changes_nothing() -> None:
    family = family_points()
    own = [replace(point, pair="here") for point in family if point.pair == family[0].pair]
    features, concept = own[0].features, own[0].concept

    def changed(points: list[MeasuredTransfer]) -> list[MeasuredTransfer]:
        return [
            replace(point, measured=-point.measured) if point.concept == concept else point
            for point in points
        ]

    assert predict(features, own, family, [concept]) == predict(
        features, changed(own), changed(list(family)), [concept]
    )
    assert predict(features, own, family) != predict(features, changed(own), family)
    of_concept = [point.concept == concept for point in family]
    before, after = concept_left_out(family), concept_left_out(changed(list(family)))
    assert np.array_equal(before[of_concept], after[of_concept])
    assert not np.allclose(before[np.logical_not(of_concept)], after[np.logical_not(of_concept)])


def _points(seed: int, pairs: int = 4, concepts: int = 6) -> list[MeasuredTransfer]:
    rng = np.random.default_rng(seed)
    return [
        MeasuredTransfer(
            f"p{p}", f"c{c}", float(rng.uniform(-0.5, 1)), tuple(rng.uniform(0, 1, len(FEATURES)))
        )
        for p in range(pairs)
        for c in range(concepts)
    ]


def test_the_mixed_model_is_its_gaussian_process() -> None:
    points = _points(0)
    x, pairs = design(points), np.array([point.pair for point in points])
    values = stretched(np.array([point.measured for point in points]))
    known = np.array([point.concept != "c2" for point in points]) & (pairs != "p3")
    wanted = np.flatnonzero(~known)
    linear = x[:, 1:] @ x[:, 1:].T
    same = pairs[:, None] == pairs
    kernel = SHARED * (1 + linear) + same * (PAIR_OFFSET + PAIR_SLOPES * linear)
    inner = kernel[np.ix_(known, known)] + NOISE * np.eye(known.sum())
    centre = values[known].mean()
    slow = centre + kernel[np.ix_(wanted, np.flatnonzero(known))] @ np.linalg.inv(inner) @ (
        values[known] - centre
    )
    assert np.allclose(mixed_model(x, values, pairs, known, wanted), slow)


def test_stretching_turns_back() -> None:
    r2 = np.linspace(-1, 1, 41)
    assert np.allclose(unstretched(stretched(r2)), r2)
    assert np.all(np.diff(stretched(r2)) > 0)


def test_conformal_quantiles_hold_what_they_promise() -> None:
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(2000):
        drawn = rng.standard_normal(60)
        low, high = conformal(drawn[:-1])
        inside.append(low <= drawn[-1] <= high)
    assert 0.9 <= np.mean(inside) < 0.95
