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


PUBLIC = {
    "ridge": 0.5, "affine-no-bias": 0.46, "two-way": 0.52, "whiten-rotate": 0.54, "orthogonal": 0.4,
    "mixture": 0.72, "kernel-ridge": 0.76, "affine-waves": 0.84, "mlp": 0.8, "autoencoder": 0.7,
}  # fmt: skip
PRIVATE = {name: score / 2 for name, score in PUBLIC.items()}


def test_the_curve_goes_through_the_references_and_the_ends():
    curve = np.array([[50.0, 20.0], [80.0, 60.0]])
    given = np.array([-100.0, 0.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0])
    want = [-100.0, 0.0, 25.0, 50.0, 65.0, 80.0, 90.0, 100.0]
    assert supported(given, curve) == pytest.approx(want, abs=1e-3)


def test_references_in_another_order_on_the_two_scales_count_for_the_lower():
    """An average would be 10 points more than the second has: room for as much of stored answers."""
    curve = np.array([[60.0, 30.0], [40.0, 31.0]])
    assert supported(np.array([15.0, 30.0, 31.0]), curve) == pytest.approx([20, 40, 40], abs=1e-9)


def test_the_curve_rises_and_lies_above_no_reference():
    rng = np.random.default_rng(11)
    for _ in range(200):
        curve = rng.uniform(-60, 100, (rng.integers(2, 9), 2))
        curve[0, 1] = curve[-1, 1]  # two with one private score
        assert (supported(curve[:, 1], curve) <= curve[:, 0] + 1e-9).all()
        assert (np.diff(supported(np.linspace(-100, 100, 401), curve)) >= -1e-9).all()


def test_stored_answers_on_top_of_any_reference_gain_nothing():
    """Whatever order the references have in private, and however much of the answers is stored."""
    rng = np.random.default_rng(12)
    for _ in range(20):
        public = {name: float(rng.uniform(0, 0.9)) for name in REFERENCES}
        private = {name: float(rng.uniform(0, 0.9)) for name in REFERENCES}
        base = str(rng.choice(REFERENCES))
        stored = public | {"stored": public[base] + 0.1}
        found = agreement(shares(stored), shares(private | {"stored": private[base]}), "stored")
        assert found.supported <= 100 * public[base] + 1e-6


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
    found = agreement(public, private, "copy")
    assert found.gap == pytest.approx(0, abs=0.01)
    assert found.gap_interval[0] < -1  # what other seeds would do is no reason to refuse


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
