"""Public and private scores held against each other: known answers, and how often honest rows pass."""

from __future__ import annotations

import numpy as np
import pytest

from lrt_bench.results.statistics.agreement import REFERENCES, agreement, supported

TASKS = [f"task-{number}" for number in range(20)]


def shares(scores: dict[str, float], rng=None, noise: float = 0.0) -> dict[str, dict[str, float]]:
    rng = rng or np.random.default_rng(0)
    own = rng.normal(0, noise, len(TASKS)) if noise else np.zeros(len(TASKS))
    return {
        name: {task: float(score + shift) for task, shift in zip(TASKS, own, strict=True)}
        for name, score in scores.items()
    }


PUBLIC = {"ridge": 0.5, "orthogonal": 0.4, "mlp": 0.8, "autoencoder": 0.7}
PRIVATE = {"ridge": 0.25, "orthogonal": 0.2, "mlp": 0.4, "autoencoder": 0.35}


def test_the_curve_goes_through_the_references_and_the_ends():
    curve = np.array([[50.0, 20.0], [80.0, 60.0]])
    given = np.array([-100.0, 0.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    want = [-100.0, 0.0, 25.0, 50.0, 65.0, 80.0, 90.0, 100.0]
    assert supported(given, curve) == pytest.approx(want, abs=1e-3)


def test_references_in_another_order_on_the_two_scales_are_averaged():
    assert supported(np.array([30.0]), np.array([[60.0, 30.0], [40.0, 31.0]])) == pytest.approx(50, abs=1e-3)


def test_a_row_that_halves_as_the_references_do_agrees_and_a_stored_answer_does_not():
    public = shares(PUBLIC | {"honest": 0.6, "stored": 1.0})
    private = shares(PRIVATE | {"honest": 0.3, "stored": 0.25})
    honest = agreement(public, private, "honest")
    assert honest.gap == pytest.approx(0, abs=0.01)
    assert honest.supported == pytest.approx(60, abs=0.01)
    stored = agreement(public, private, "stored")
    assert stored.supported == pytest.approx(50, abs=0.01)
    assert stored.gap == pytest.approx(50, abs=0.01)
    assert stored.gap_interval[0] > 0


def test_tasks_that_count_on_one_side_alone_are_in_its_mean():
    public = shares(PUBLIC | {"mine": 0.6})
    private = {name: {"other": next(iter(row.values()))} for name, row in shares(PRIVATE).items()}
    private["mine"] = {"other": 0.3}
    assert agreement(public, private, "mine").supported == pytest.approx(60, abs=0.01)


def test_a_references_own_copy_has_no_gap():
    rng = np.random.default_rng(3)
    public, private = shares(PUBLIC, rng, 0.1), shares(PRIVATE, rng, 0.1)
    public["copy"], private["copy"] = public["ridge"], private["ridge"]
    assert agreement(public, private, "copy").gap == pytest.approx(0, abs=0.01)


def test_honest_rows_are_seldom_refused():
    """Methods that suit pairs differently, by 4 points: the interval is above 0 for one in 40, nominally."""
    rng, refused = np.random.default_rng(5), 0
    for _ in range(40):
        rows = {name: PUBLIC.get(name, 0.6) for name in (*REFERENCES, "mine")}
        public = shares({name: value + rng.normal(0, 0.04) for name, value in rows.items()}, rng, 0.1)
        private = shares({name: value / 2 + rng.normal(0, 0.02) for name, value in rows.items()}, rng, 0.1)
        refused += agreement(public, private, "mine").gap_interval[0] > 0
    assert refused <= 4


def test_too_few_references_are_an_error():
    with pytest.raises(ValueError, match="two references"):
        agreement(shares(PUBLIC), shares(PRIVATE), "ridge", ("ridge", "mlp"))
