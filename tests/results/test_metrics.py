"""Every figure against a slow, obvious loop or scipy; the bootstrap and the ranks by what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrt_bench.results import metrics
from lrt_bench.results.metrics import TaskErrors

ALPHAS = np.array([-0.5, -0.25, 0.0, 0.25, 0.5])


def arrays(seed, prompts=7, seeds=3):
    rng = np.random.default_rng(seed)
    native = rng.normal(size=(prompts, 1)) + ALPHAS * rng.normal(2, 1, size=(prompts, 1))
    transferred = native + 0.4 * rng.normal(size=(seeds, prompts, len(ALPHAS)))
    return transferred, native


def deltas(m):
    return m - m[..., 2:3]


@pytest.mark.parametrize("seed", range(5))
def test_steering_r2_by_loops(seed):
    m_t, m_n = arrays(seed)
    d_t, d_n = deltas(m_t), deltas(m_n)
    values = []
    for s in range(3):
        top = bottom = 0.0
        for i in range(7):
            for a in range(5):
                top += ((m_t[s, i, a] - m_t[s, i, 2]) - (m_n[i, a] - m_n[i, 2])) ** 2
                bottom += (m_n[i, a] - m_n[i, 2]) ** 2
        values.append(1 - top / bottom)
    assert metrics.steering_r2(d_t, d_n) == pytest.approx(sum(values) / 3, abs=1e-9)
    assert metrics.steering_r2(d_t[0], d_n) == pytest.approx(values[0], abs=1e-9)


def test_steering_r2_at_its_landmarks():
    _, m_n = arrays(0)
    d = deltas(m_n)
    assert metrics.steering_r2(d, d) == 1
    assert metrics.steering_r2(np.zeros_like(d), d) == 0
    assert metrics.steering_r2(-d, d) == pytest.approx(-3)
    assert metrics.steering_r2(d, np.zeros_like(d)) is None


def test_steering_r2_owes_nothing_to_unsteered_differences():
    """What makes raw correlation look good, shifts of whole prompts, leaves it unchanged."""
    m_t, m_n = arrays(1)
    shift = np.linspace(-30, 30, 7)[:, None]
    before = metrics.steering_r2(deltas(m_t), deltas(m_n))
    assert metrics.steering_r2(deltas(m_t + shift), deltas(m_n + shift)) == pytest.approx(before)
    raw = metrics.pearson((m_t * 0 + m_n[:, 2:3] + shift)[0, :, 4], (m_n + shift)[:, 4])
    assert raw > 0.99  # a vector that does nothing


@pytest.mark.parametrize("seed", range(5))
def test_correlations_slopes_and_errors_are_scipys(seed):
    m_t, m_n = arrays(seed)
    assert metrics.pearson(m_t[0], m_n) == pytest.approx(
        stats.pearsonr(m_t[0].ravel(), m_n.ravel()).statistic, abs=1e-9
    )
    for i in range(7):
        expected = stats.linregress(ALPHAS, m_n[i]).slope
        assert metrics.slopes(m_n, ALPHAS)[i] == pytest.approx(expected, abs=1e-9)
    correlation, error = metrics.by_alpha(m_t, m_n)
    for a in range(5):
        each = [stats.pearsonr(m_t[s, :, a], m_n[:, a]).statistic for s in range(3)]
        assert correlation[a] == pytest.approx(np.mean(each), abs=1e-9)
        total = sum((m_t[s, i, a] - m_n[i, a]) ** 2 for s in range(3) for i in range(7))
        assert error[a] == pytest.approx(total / 21, abs=1e-9)


def test_concordance_by_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(1, 2, size=50)
    r, sx, sy = stats.pearsonr(x, y).statistic, x.std(), y.std()
    expected = 2 * r * sx * sy / (sx**2 + sy**2 + (x.mean() - y.mean()) ** 2)
    assert metrics.concordance(x, y) == pytest.approx(expected, abs=1e-12)
    assert metrics.concordance(x, x) == pytest.approx(1)
    assert metrics.concordance(x, x + 3) < 0.5 < metrics.pearson(x, x + 3)


def test_constant_columns_have_no_correlation():
    assert metrics.pearson(np.ones(5), np.arange(5.0)) is None
    assert metrics.concordance(np.ones(5), np.ones(5)) is None


def task(rng, prompts=40, noise=0.3, seeds=1, alphas=6):
    native = rng.normal(2, 1, size=(prompts, alphas))
    halves = [native + 0.2 * rng.normal(size=native.shape) for _ in range(2)]
    moved = native + noise * rng.normal(size=(seeds, *native.shape))
    return TaskErrors(
        np.square(moved - native).sum(2),
        np.square(native).sum(1),
        np.square(halves[0] - halves[1]).sum(1),
        np.square(halves[1]).sum(1),
    )


def slow_score(tasks):
    shares = []
    for t in tasks:
        r2 = 1 - sum(sum(row) / len(t.error) for row in zip(*t.error, strict=True)) / sum(t.energy)
        ceiling = 1 - sum(t.split_error) / sum(t.split_energy)
        shares.append(max(-1.0, min(1.0, r2 / ceiling)))
    return 100 * sum(shares) / len(shares)


def test_transfer_score_by_loops():
    rng = np.random.default_rng(0)
    tasks = {str(k): task(rng, noise=0.4 * k, seeds=2) for k in range(5)}
    assert metrics.transfer_score(tasks) == pytest.approx(slow_score(tasks.values()), abs=1e-9)
    assert metrics.transfer_score({}) is None


def test_shares_are_floored_and_capped():
    rng = np.random.default_rng(0)
    wild = task(rng, noise=30.0)
    assert metrics.transfer_score({"a": wild}) == -100
    perfect = TaskErrors(np.zeros((1, 40)), wild.energy, wild.split_error, wild.split_energy)
    assert metrics.transfer_score({"a": perfect}) == 100
    idle = TaskErrors(wild.energy[None], wild.energy, wild.split_error, wild.split_energy)
    assert metrics.transfer_score({"a": idle}) == pytest.approx(0)


def test_native_split_scores_100_by_construction():
    t = task(np.random.default_rng(0))
    split = TaskErrors(t.split_error[None], t.split_energy, t.split_error, t.split_energy)
    assert metrics.transfer_score({"a": split}) == pytest.approx(100)
    samples = metrics.bootstrap_scores({"native-split": {"a": split}}, replicates=200)
    np.testing.assert_allclose(samples["native-split"], 100)


def slow_bootstrap(tasks, replicates, rng):
    names = list(tasks)
    scores = []
    for _ in range(replicates):
        shares = []
        for name in rng.choice(names, len(names)):
            t = tasks[name]
            i = rng.integers(0, len(t.energy), len(t.energy))
            s = rng.integers(0, len(t.error), len(t.error))
            r2 = 1 - t.error[s][:, i].mean(0).sum() / t.energy[i].sum()
            ceiling = 1 - t.split_error[i].sum() / t.split_energy[i].sum()
            shares.append(np.clip(r2 / ceiling, -1, 1))
        scores.append(100 * np.mean(shares))
    return np.array(scores)


def test_the_bootstrap_has_the_spread_of_a_plain_loop():
    rng = np.random.default_rng(1)
    tasks = {str(k): task(rng, prompts=30 + k, noise=1 + 0.5 * k, seeds=2) for k in range(6)}
    fast = metrics.bootstrap_scores({"m": tasks}, replicates=4000, seed=3)["m"]
    slow = slow_bootstrap(tasks, 2000, np.random.default_rng(7))
    assert fast.mean() == pytest.approx(slow.mean(), abs=0.15 * slow.std())
    assert fast.std() == pytest.approx(slow.std(), rel=0.08)
    for one, other in zip(metrics.interval(fast), metrics.interval(slow), strict=True):
        assert one == pytest.approx(other, abs=0.25 * slow.std())


def test_the_bootstrap_is_paired_and_repeatable():
    rng = np.random.default_rng(2)
    a = {str(k): task(rng, noise=1.0) for k in range(5)}
    b = {name: TaskErrors(t.error * 1.05, t.energy, t.split_error, t.split_energy) for name, t in a.items()}
    samples = metrics.bootstrap_scores({"a": a, "b": b}, replicates=500)
    alone = metrics.bootstrap_scores({"a": a}, replicates=500)
    np.testing.assert_allclose(samples["a"], alone["a"], rtol=1e-12)
    assert (samples["a"] - samples["b"]).std() < 0.2 * samples["a"].std()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=1200))
def test_intervals_are_the_quantiles_of_numpy(samples):
    values = np.array(samples)
    want = np.quantile(values, [0.025, 0.975])
    np.testing.assert_allclose(metrics.interval(values), want, rtol=1e-9, atol=1e-9)


def test_ranks_tie_rows_that_are_not_separable():
    rng = np.random.default_rng(0)
    common = rng.normal(size=2000)
    samples = {
        "best": 90 + common,
        "same": 89.9 + common + 0.5 * rng.normal(size=2000),
        "worse": 80 + common,
        "worst": 10 + common,
    }
    scores = {name: float(s.mean()) for name, s in samples.items()}
    places = metrics.rank(scores, samples)
    assert {n: (p.rank, p.tied) for n, p in places.items()} == {
        "best": (1, True), "same": (1, True), "worse": (3, False), "worst": (4, False),
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(centres=st.lists(st.floats(-100, 100), min_size=1, max_size=8), wide=st.floats(0, 20))
def test_ranks_follow_scores_and_name_their_position(centres, wide):
    rng = np.random.default_rng(0)
    samples = {f"m{i}": c + wide * rng.normal(size=300) for i, c in enumerate(centres)}
    scores = {f"m{i}": c for i, c in enumerate(centres)}
    places = metrics.rank(scores, samples)
    order = sorted(scores, key=lambda n: (-scores[n], n))
    ranks = [places[n].rank for n in order]
    assert ranks[0] == 1
    assert ranks == sorted(ranks)
    for position, r in enumerate(ranks, 1):
        assert r == position or r == ranks[position - 2]


def test_steerability_wants_more_than_a_lucky_direction():
    rng = np.random.default_rng(0)
    random = rng.normal(0, 1, size=(8, 1)) + 0.2 * rng.normal(size=(8, 50))
    strong, (low, high) = metrics.is_steerable(10 + rng.normal(size=50), random)
    assert strong
    assert 0 < low < high
    assert not metrics.is_steerable(0.9 + 0.2 * rng.normal(size=50), random)[0]
    assert not metrics.is_steerable(-10 + rng.normal(size=50), random)[0]
    # letters: each prompt moves, but half of them the wrong way
    letters = np.where(np.arange(50) % 2, 8.0, -8.0)
    assert not metrics.is_steerable(letters, random)[0]


def test_steerability_is_seldom_granted_to_chance():
    """A "native" vector that is one more random direction passes in a few percent of cases."""
    rng = np.random.default_rng(1)
    passed = 0
    for seed in range(200):
        effects = rng.normal(size=9)[:, None] + 0.3 * rng.normal(size=(9, 48))
        passed += metrics.is_steerable(effects[0], effects[1:], replicates=200, seed=seed)[0]
    assert passed / 200 < 0.05


def test_the_interval_holds_95_percent():
    samples = np.random.default_rng(0).normal(size=200_000)
    low, high = metrics.interval(samples)
    assert math.isclose(low, -1.96, abs_tol=0.03)
    assert math.isclose(high, 1.96, abs_tol=0.03)
