"""Paired tests, Holm's correction and letters against their textbook forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks import coverage
from lrt_bench.results.statistics import separation
from lrt_bench.results.statistics.spread import Spread


def board(rows):
    return {
        name: {f"task {place}": value for place, value in enumerate(shares)} for name, shares in rows.items()
    }


def test_symmetric_differences_are_tested_as_scipy_does():
    rng = np.random.default_rng(0)
    for n in (4, 10, 40):
        half = rng.normal(0, 0.1, size=n // 2)
        x = np.concatenate([half, -half]) + 0.05  # no skewness, so nothing to correct
        y = np.zeros(n)
        want = stats.ttest_rel(x, y).pvalue
        assert separation.paired_p_values(x - y) == pytest.approx(want, rel=1e-6)


def test_the_correction_for_skewness_is_halls_and_only_ever_cautious():
    rng = np.random.default_rng(1)
    for _ in range(50):
        d = rng.gamma(0.5, 0.2, size=12) * rng.choice([-1, 1]) + rng.normal(0, 0.1)
        n, skewness = len(d), stats.skew(d, bias=False) * (len(d) / (len(d) - 1)) ** 0.5 * ((11 / 12) ** 0.5)
        t, w = stats.ttest_1samp(d, 0).statistic, d.mean() / d.std(ddof=1)
        hall = n**0.5 * (((1 + skewness * w / 3) ** 3 - 1) / skewness + skewness / (6 * n))
        weaker = min(abs(t), abs(hall)) if t * hall > 0 else 0.0
        p = separation.paired_p_values(d)
        assert p == pytest.approx(2 * stats.t.sf(weaker, n - 1), rel=1e-6)
        assert p >= stats.ttest_1samp(d, 0).pvalue - 1e-12


def test_variance_of_the_fits_is_added_with_its_few_degrees_of_freedom():
    rng = np.random.default_rng(2)
    half = rng.normal(0, 0.01, size=8)
    d = np.concatenate([half, -half]) + 0.03
    own, added = d.var(ddof=1) / 16, 0.01**2
    freedom = (own + added) ** 2 / (own**2 / 15 + added**2 / 1)  # Welch and Satterthwaite
    want = 2 * stats.t.sf(0.03 / (own + added) ** 0.5, freedom)
    assert separation.paired_p_values(d, variance=added, freedom=1.0) == pytest.approx(want, rel=1e-6)
    rows = board({"a": 0.8 + d, "b": np.full(16, 0.8)})
    assert separation.separate(rows).places["a"].with_best is not False
    assert not separation.separate(rows).places["b"].with_best
    assert separation.separate(rows, fits={"a": Spread(added, 1.0)}).places["b"].with_best


def test_rounding_and_single_tasks_separate_nothing():
    shares = np.linspace(0.3, 0.9, 10)
    separated = separation.separate(
        board({"affine": shares, "ridge": shares - 1e-5, "low-rank": shares - 4e-4})
    )
    assert all(place.with_best and place.letters == ("a",) for place in separated.places.values())
    alone = separation.separate(board({"a": [0.9], "b": [0.1]}))
    assert alone.places["b"].with_best
    steady = separation.separate(board({"a": shares, "b": shares - 0.01}))  # a point on every task
    assert not steady.places["b"].with_best


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_textbook_does(p_values):
    """Sort; go on while p_(i) <= level / (m - i); retain that one and all larger."""
    adjusted = separation.holm(np.array(p_values))
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for step, test in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
            if p_values[test] * (len(p_values) - step) > level:
                break
            rejected.add(test)
        assert {test for test in range(len(p_values)) if adjusted[test] <= level} == rejected


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.randoms(use_true_random=False))
def test_two_rows_share_a_letter_exactly_where_they_are_not_apart(rows, random):
    apart = np.zeros((rows, rows), dtype=bool)
    for one, other in itertools.combinations(range(rows), 2):
        apart[one, other] = apart[other, one] = random.random() < 0.5
    letters = separation.letters(apart)
    for one, other in itertools.combinations(range(rows), 2):
        assert bool(set(letters[one]) & set(letters[other])) != apart[one, other]
    assert all(letters)
    groups = [
        {row for row in range(rows) if letter in letters[row]}
        for letter in {x for row in letters for x in row}
    ]
    assert not any(one < other for one in groups for other in groups)


def test_a_chain_is_no_tie_of_its_ends():
    """a and b, b and c are not separable, a and c are: one rank for all three would be a trap."""
    apart = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)
    assert separation.letters(apart) == [("a",), ("a", "b"), ("b",)]


def test_places_say_what_the_tests_say():
    rng = np.random.default_rng(3)
    level = rng.uniform(0.5, 0.8, size=20)
    rows = {"top": level + 0.15, "high": level + 0.14 + 0.05 * rng.normal(size=20), "middle": level,
            "low": level - 0.3 + 0.01 * rng.normal(size=20)}  # fmt: skip
    separated = separation.separate(board(rows))
    assert {name: (place.best, place.worst) for name, place in separated.places.items()} == {
        "top": (1, 2), "high": (1, 2), "middle": (3, 3), "low": (4, 4),
    }  # fmt: skip
    assert [separated.places[name].letters for name in separated.names] == [("a",), ("a",), ("b",), ("c",)]
    assert [place.with_best for place in separated.places.values()] == [True, True, False, False]
    assert separated.places["middle"].alone
    np.testing.assert_array_equal(separated.adjusted, separated.adjusted.T)
    # Holm's first step multiplies the smallest p-value by the six pairs
    smallest = min(separation.paired_p_values(rows[a] - rows[b]) for a, b in itertools.combinations(rows, 2))
    assert separated.adjusted.min() == pytest.approx(6 * smallest, rel=1e-6)


def test_one_method_under_several_names_costs_the_others_nothing():
    rng = np.random.default_rng(5)
    rows = {name: rng.uniform(0.4, 0.8, size=12) for name in ("a", "b", "c")}
    before = separation.separate(board(rows))
    copies = {f"a{copy}": rows["a"] + 1e-6 * rng.normal(size=12) for copy in range(5)}
    after = separation.separate(board(rows | copies))
    for one, other in itertools.combinations(rows, 2):
        small, large = (
            separated.adjusted[separated.names.index(one), separated.names.index(other)]
            for separated in (before, after)
        )
        assert large == pytest.approx(small, rel=1e-3)
    assert len({after.places[name].letters for name in ("a", *copies)}) == 1
    assert after.adjusted[after.names.index("a"), after.names.index("a3")] == 1


def test_only_tasks_that_all_have_are_compared():
    easy, hard = {"a": 0.9, "b": 0.95}, {"c": 0.1}
    common = separation.on_common_tasks({"whole": easy | hard, "flattered": {"b": 0.9, "a": 0.8}})
    assert common.tasks == ("a", "b")
    assert common.means == {"whole": pytest.approx(92.5), "flattered": pytest.approx(85.0)}
    assert common.left_out == {"whole": ("c",), "flattered": ()}
    nothing = separation.on_common_tasks({"x": easy, "y": hard})
    assert nothing.means == {"x": None, "y": None}
    assert separation.on_common_tasks({}).means == {}
    apart = separation.separate({"x": easy, "y": hard})
    assert all(place.with_best for place in apart.places.values())


def test_a_big_board_has_ranks_but_no_letters():
    rng = np.random.default_rng(4)
    rows = {f"row {row:03}": 0.01 * row + 1e-3 * rng.normal(size=10) for row in range(80)}
    separated = separation.separate(board(rows))
    assert separated.names[0] == "row 079"
    assert all(place.letters == () for place in separated.places.values())
    assert separated.places["row 000"].best > 70


def test_equal_rows_seldom_show_a_step():
    """The short form of `make coverage`; docs/statistics.md tells of the skewed case at ten tasks."""
    population = coverage.read_population()
    for kind, tasks in (("exchangeable", 10), ("noise", 10), ("noise", 40), ("skewed", 40)):
        stepped, alone = coverage.false_steps(population, 150, kind, tasks, seed=2)
        assert stepped <= 0.08, (kind, tasks)
        assert alone <= 0.07, (kind, tasks)


def test_power_grows_with_tasks_and_falls_with_rows():
    population = coverage.read_population()
    powers = [coverage.power(population, 500, tasks, ("mlp", "autoencoder")) for tasks in coverage.TASKS]
    assert powers[0][0] < powers[-1][0]
    assert all(ten < two for two, ten in powers)
