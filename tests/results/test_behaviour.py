"""Shares, gates and scores of behaviour against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from lrt_bench.results.schema.behaviour import control_score, ratio, slope_free_r2


def test_a_share_is_what_is_left_of_natives_divergence():
    assert ratio(np.array([[1.0, 1.0], [0.0, 2.0]]), np.array([4.0, 4.0])) == pytest.approx(0.75)
    assert ratio(np.array([[4.0, 4.0]]), np.array([4.0, 4.0])) == 0
    assert ratio(np.array([[9.0, 9.0]]), np.array([4.0, 4.0])) < 0
    assert ratio(np.zeros((1, 2)), np.zeros(2)) is None


def test_a_controls_score_sets_shares_beside_their_ceilings():
    ceilings = {"a": 0.9, "b": 1.0}
    assert control_score(ceilings, {"a": 0.45, "b": -7.0, "c": 1.0}) == pytest.approx(100 * (0.5 - 1) / 2)
    assert control_score(ceilings, {"a": 0.45, "b": None}) == pytest.approx(50)
    assert control_score(ceilings, dict.fromkeys("ab")) is None
    assert control_score({}, {"a": 1.0}) is None


def test_a_constant_factor_does_not_change_the_slope_free_r2():
    rng = np.random.default_rng(0)
    alphas = np.array([-1.0, 0.0, 1.0])
    native = rng.uniform(1, 2, (20, 1)) * alphas
    assert slope_free_r2(0.3 * native[None], native, alphas) == pytest.approx(1)
    other = rng.permutation(native)
    assert slope_free_r2(other[None], native, alphas) < 0.9
    assert slope_free_r2(np.zeros((1, 20, 3)), native, alphas) is None
