"""Features of vectors under a map, beside slow loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from forecast_pairs import ForecastPair, forecast_pair

from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.vectors.forecast.features import (
    PROBE_ALPHA,
    PROBE_TEXTS,
    PROBE_TOKENS,
    WHITENING,
    NeutralText,
    explained_shares,
    vector_features,
    way_back,
)


def test_explained_is_the_weighted_squared_canonical_correlation() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, 6, generator=generator, dtype=torch.float64) * torch.arange(1, 7)
    y = x[:, :4] @ torch.randn(4, 5, generator=generator, dtype=torch.float64)
    y = y + torch.randn(4000, 5, generator=generator, dtype=torch.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    cov_x, cov_y, cross = x.T @ x / 4000, y.T @ y / 4000, x.T @ y / 4000
    weight, back = torch.linalg.solve(cov_x, cross).T, torch.linalg.solve(cov_y, cross.T).T
    values, basis = torch.linalg.eigh(cov_x)
    whiten = basis @ torch.diag(values.rsqrt()) @ basis.T
    values, basis = torch.linalg.eigh(cov_y)
    u, correlations, _ = torch.linalg.svd(whiten @ cross @ basis @ torch.diag(values.rsqrt()) @ basis.T)
    vectors = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    shares, cosine = explained_shares(weight, back, cov_x, vectors)
    for vector, explained, returned in zip(vectors, shares, cosine, strict=True):
        inside = (u.T @ (whiten @ vector)).square()  # of v where it is white, along each canonical direction
        wanted = float((inside[:5] * correlations.square()).sum() / inside.sum())
        assert explained == pytest.approx(wanted, rel=5 * WHITENING)
        there_and_back = back @ (weight @ vector)
        slow = float(there_and_back @ vector / there_and_back.norm() / vector.norm())
        assert returned == pytest.approx(slow)


def test_the_way_back_is_ridge_from_the_target(rotated: ForecastPair) -> None:
    back = way_back(rotated.states)
    x, y = rotated.states.validation
    moments = rotated.states.moments
    returned = (y.double() - moments.mean_y) @ back.T + moments.mean_x
    assert float((returned - x).square().sum() / (x - x.mean(0)).square().sum()) < 1e-3


def test_moments_are_turned_without_touching_them(rotated: ForecastPair) -> None:
    before = Moments(**{name: getattr(rotated.states.moments, name) for name in vars(rotated.states.moments)})
    way_back(rotated.states)
    assert torch.equal(before.s_xy, rotated.states.moments.s_xy)


def test_agreement_is_a_weighted_correlation_of_log_probabilities(across: ForecastPair) -> None:
    text = NeutralText(across.source, across.target, across.states)
    vectors = torch.stack([across.vector("mood"), across.vector("tense")])
    moved = vectors @ across.ridge.weight.float().T
    agreement = text.agreement(text.changes(0, vectors), text.changes(1, moved))
    moments = across.states.moments
    sides = (
        (across.source, vectors, spread(moments.variance_x)),
        (across.target, moved, spread(moments.variance_y)),
    )
    for place in range(2):
        sums = np.zeros(3)
        for paired in across.states.validation_text[:PROBE_TEXTS]:
            ids = torch.tensor([paired.source_ids[:PROBE_TOKENS]])  # one tokenizer: both sides read the same
            base, change = zip(*(_naive(site, ids, v[place], unit) for site, v, unit in sides), strict=True)
            for position in paired.source_at[paired.source_at < PROBE_TOKENS]:
                weight = np.sqrt((np.exp(base[0][position]) + np.exp(base[1][position])) / 2)
                weight /= weight.sum()
                a, b = (each[position] - (weight * each[position]).sum() for each in change)
                sums += [(weight * a * b).sum(), (weight * a * a).sum(), (weight * b * b).sum()]
        assert agreement[place] == pytest.approx(sums[0] / math.sqrt(sums[1] * sums[2]), rel=1e-3)


def test_agreement_across_tokenizers(nano: Callable[[str], LanguageModel]) -> None:
    """The same model with its ids permuted and rare merges undone: tokens are compared by their names."""
    base = nano("S")
    other = plant("retokenized", base)
    paired = forecast_pair(Site(base, 2), Site(other, 2), 1000)
    text = NeutralText(paired.source, paired.target, paired.states)
    assert not torch.equal(*text.tokens)
    names = [
        model.tokenizer.convert_ids_to_tokens(ids.tolist())
        for model, ids in zip((base, other), text.tokens, strict=True)
    ]
    assert names[0] == names[1]
    v = paired.vector("mood")
    right = text.agreement(text.changes(0, v[None]), text.changes(1, (other.basis @ v)[None]))
    wrong = text.agreement(text.changes(0, v[None]), text.changes(1, v[None]))
    assert right[0] > 0.9
    assert abs(wrong[0]) < 0.5


def _naive(site: Site, ids: torch.Tensor, vector: torch.Tensor, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [t, vocabulary] of the model's own forward, unsteered, and how steering by a hook
    changes them: half the difference of both ways."""
    module = site.model.module  # type: ignore[attr-defined]
    runs = []
    for sign in (0, 1, -1):
        step = sign * PROBE_ALPHA * unit * vector / vector.norm()

        def steer(block: Any, inputs: Any, output: Any, step: torch.Tensor = step) -> Any:
            return (output[0] + step, *output[1:]) if isinstance(output, tuple) else output + step

        hook = module.model.layers[site.layer - 1].register_forward_hook(steer)
        with torch.inference_mode():
            runs.append(module(ids).logits[0].double().log_softmax(-1).numpy())
        hook.remove()
    return runs[0], (runs[1] - runs[2]) / 2


def test_gain_and_variance_beside_numpy(across: ForecastPair) -> None:
    features = vector_features(across.ridge.weight, across.states, across.vector("person")[None])
    moments = across.states.moments
    source_spread, target_spread = spread(moments.variance_x), spread(moments.variance_y)
    vector, weight = across.vector("person").double().numpy(), across.ridge.weight.numpy()
    assert features.gain[0] == pytest.approx(
        np.linalg.norm(weight @ vector) / target_spread / (np.linalg.norm(vector) / source_spread)
    )
    along = vector / np.linalg.norm(vector)
    slow = sum(
        along[i] * along[j] * float(moments.s_xx[i, j]) / moments.n for i in range(96) for j in range(96)
    )
    assert features.variance[0] == pytest.approx(slow / source_spread**2)
