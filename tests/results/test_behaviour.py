"""Shares, gates and scores of behaviour against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from lrt_bench.results.schema.behaviour import (
    DamageRecord,
    at_matched_damage,
    control_score,
    ratio,
    slope_free_r2,
)


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


def curve(lengths, medians):
    return DamageRecord(
        nats=0.5, length=1.0, interval=(1, 1), directions=8, tokens=100, lengths=lengths, medians=medians,
        lower=medians, upper=medians,
    )  # fmt: skip


@pytest.mark.parametrize("power", [1, 2, 4])
def test_at_matched_damage_a_cheaper_vector_is_longer(power):
    """Where damage is a power of length, the lengths' ratio is the damages' to the inverse power."""
    lengths = (0.5, 1.0, 2.0)
    unit = curve(lengths, tuple(0.1 * length**power for length in lengths))
    for damage, native in ((0.1, 0.1), (0.02, 0.1), (0.3, 0.05), (1e-4, 30.0)):
        expected = 0.8 * (native / damage) ** (1 / power)
        assert at_matched_damage(0.8, damage, native, unit) == pytest.approx(expected)
    assert at_matched_damage(-0.5, 0.1, 0.2, unit) < 0
    for missing in ((None, 0.1, 0.1), (0.8, None, 0.1), (0.8, 0.1, None), (0.8, 0.0, 0.1)):
        assert at_matched_damage(*missing, unit) is None


def test_a_curve_with_a_bend_is_followed_piece_by_piece():
    unit = curve((1.0, 2.0, 4.0), (0.1, 0.2, 0.8))  # linear, then quadratic
    assert at_matched_damage(1.0, 0.1, 0.4, unit) == pytest.approx(2 * 2**0.5)
    assert at_matched_damage(1.0, 0.8, 0.1, unit) == pytest.approx(0.25)


def test_a_constant_factor_does_not_change_the_slope_free_r2():
    rng = np.random.default_rng(0)
    alphas = np.array([-1.0, 0.0, 1.0])
    native = rng.uniform(1, 2, (20, 1)) * alphas
    assert slope_free_r2(0.3 * native[None], native, alphas) == pytest.approx(1)
    other = rng.permutation(native)
    assert slope_free_r2(other[None], native, alphas) < 0.9
    assert slope_free_r2(np.zeros((1, 20, 3)), native, alphas) is None
