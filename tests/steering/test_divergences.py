"""Divergences against scipy and their definitions, and what they are for equal and for far distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from lrt_bench.steering.divergences import (
    DIVERGENCES,
    hellinger,
    jensen_shannon,
    kullback_leibler,
    log_ratio_variance,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return [(3 * torch.randn(5, 40, generator=generator)).log_softmax(-1) for _ in range(2)]


def test_they_are_scipys(pair):
    p, q = (side.double().exp().numpy() for side in pair)
    np.testing.assert_allclose(kullback_leibler(*pair), entropy(p, q, axis=1), rtol=1e-4)
    np.testing.assert_allclose(jensen_shannon(*pair), jensenshannon(p, q, axis=1) ** 2, rtol=1e-4)
    np.testing.assert_allclose(hellinger(*pair), 0.5 * np.square(np.sqrt(p) - np.sqrt(q)).sum(1), rtol=1e-4)
    ratio = np.log(q / p)
    expected = [np.cov(row, aweights=weight, ddof=0) for row, weight in zip(ratio, p, strict=True)]
    np.testing.assert_allclose(log_ratio_variance(*pair), expected, rtol=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_equal_distributions_are_not_apart_and_others_are(pair, name):
    assert DIVERGENCES[name](pair[0], pair[0]).abs().max() < 1e-6
    assert (DIVERGENCES[name](*pair) > 0.01).all()


def test_bounded_ones_stay_bounded_where_kl_does_not():
    sure = torch.tensor([[60.0, 0.0], [0.0, 60.0]]).log_softmax(-1)
    assert float(kullback_leibler(sure[:1], sure[1:])) == pytest.approx(60)
    assert float(jensen_shannon(sure[:1], sure[1:])) == pytest.approx(np.log(2))
    assert float(hellinger(sure[:1], sure[1:])) == pytest.approx(1)


def test_log_ratio_variance_is_an_r2_of_shifts(pair):
    """1 - D(n, r) / D(n, 0) is the weighted R2 of the row's shift of log-probabilities against native's."""
    native, bare = pair
    row = (bare + 0.8 * (native - bare)).log_softmax(-1)
    share = 1 - log_ratio_variance(native, row) / log_ratio_variance(native, bare)
    np.testing.assert_allclose(share, 1 - 0.2**2, atol=1e-4)
