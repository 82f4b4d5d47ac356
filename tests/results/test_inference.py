"""Intervals against their textbook forms, and by what they promise; the simulated coverage in short."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from lrt_bench.results import metrics
from lrt_bench.results.metrics import TaskErrors
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import GateSample, TaskSample


def sample(rng, share=0.8, prompts=48, seeds=1, spread=0.0, ceiling=True):
    """A task whose share is about `share`; fits differ by `spread`."""
    energy = rng.gamma(4.0, size=prompts)
    fits = 1 + spread * rng.normal(size=(seeds, 1))
    error = (1 - share) * energy * rng.gamma(4.0, 0.25, size=prompts) * np.maximum(fits, 0)
    split = (0.01 * energy * rng.gamma(4.0, 0.25, size=prompts), energy) if ceiling else (None, None)
    return TaskSample(error, energy, *split)


def board(rng, shares, **kind):
    return {f"task {place}": sample(rng, share, **kind) for place, share in enumerate(shares)}


def exact(shares):
    """Tasks without any spread over prompts whose shares are these."""
    even = np.ones(4)
    return {str(place): TaskSample((1 - share) * even[None], even) for place, share in enumerate(shares)}


def test_the_score_is_the_transfer_score_to_the_bit():
    rng = np.random.default_rng(0)
    errors = {
        str(task): TaskErrors(
            *(rng.gamma(1 + task, size=shape) for shape in ((2, 48), 48, 48)), np.full(48, 9.0)
        )
        for task in range(8)
    }
    tasks = {name: TaskSample.of_errors(one) for name, one in errors.items()}
    assert inference.score(tasks) == metrics.transfer_score(errors)


@pytest.mark.parametrize(("perfect", "of"), [(0, 10), (3, 10), (9, 10), (20, 20)])
def test_new_concepts_of_all_or_nothing_tasks_is_jeffreys_interval(perfect, of):
    """Shares of 1 and -1 are a proportion p of successes on the scale 2 p - 1."""
    low, high = inference.new_concepts(exact([1 - 1e-9] * perfect + [-1.0] * (of - perfect)), draws=200_000)
    want = stats.beta.ppf([0.025, 0.975], perfect + 0.5, of - perfect + 0.5)
    value = 2 * perfect / of - 1  # the interval always holds the score itself
    np.testing.assert_allclose(
        [low / 100, high / 100], [min(2 * want[0] - 1, value), max(2 * want[1] - 1, value)], atol=0.006
    )


def test_a_row_that_is_what_it_is_compared_with_has_its_score_on_any_concept():
    even, half = np.ones(6), np.full(6, 0.2)
    native, other = np.zeros((1, 6)), half[None]
    for row, score in ((native, 100.0), (other, 100.0), (even[None], 0.0)):
        tasks = {name: TaskSample(row, even, half, even) for name in "abcdefg"}  # sevenths are rounded
        assert inference.new_concepts(tasks) == pytest.approx((score, score))
        assert inference.these_tasks(tasks) == (inference.score(tasks),) * 2  # no rounding beside it
    near = {name: TaskSample(other + 1e-9, even, half, even) for name in "abc"}
    assert inference.new_concepts(near)[0] < 90


def test_new_concepts_of_many_even_tasks_is_the_t_interval():
    shares = np.random.default_rng(1).normal(0.2, 0.2, size=600)
    low, high = inference.new_concepts(exact(shares))
    want = stats.t.interval(0.95, 599, shares.mean(), stats.sem(shares))
    np.testing.assert_allclose([low / 100, high / 100], want, atol=0.004)


@pytest.mark.parametrize("prompts", [3, 16, 200])
def test_these_tasks_of_one_fit_is_the_t_interval_over_prompts(prompts):
    """With equal energies and no ceiling a task's share is a mean over prompts, so scipy knows the answer.

    Evenly spaced errors have neither skewness nor tails, which a t interval knows nothing of.
    """
    errors = np.linspace(0.3, 0.4, prompts)[None]
    low, high = inference.these_tasks({"a": TaskSample(errors, np.ones(prompts))})
    want = stats.t.interval(0.95, prompts - 1, 1 - errors.mean(), stats.sem(errors[0]))
    np.testing.assert_allclose([low / 100, high / 100], want, rtol=1e-9)


def test_the_error_of_a_share_is_the_jackknifes():
    """Energies and a ceiling that differ from prompt to prompt, against a loop; independent tasks add up."""
    rng = np.random.default_rng(11)
    tasks = board(rng, [0.3, 0.6, 0.8], prompts=16)
    variance = 0.0
    for task in tasks.values():
        shares = []
        for left_out in range(16):
            rest = [prompt for prompt in range(16) if prompt != left_out]
            reached = 1 - sum(task.ceiling_numerator[rest]) / sum(task.ceiling_denominator[rest])
            shares.append((1 - sum(task.numerator[0, rest]) / sum(task.denominator[rest])) / reached)
        np.testing.assert_allclose(task.shares_without, shares)
        variance += 15 / 16 * sum((share - np.mean(shares)) ** 2 for share in shares) / 3**2
    low, high = inference.these_tasks(tasks)
    value, error = inference.score(tasks), 100 * variance**0.5
    narrowest, widest = (stats.t.ppf(0.975, freedom) * error for freedom in (3 * 15, 3))
    assert narrowest <= value - low <= widest
    assert narrowest <= high - value <= widest


def test_an_interval_knows_of_prompts_that_are_rare_and_bad():
    """Where few prompts bring most of the error (lognormal), samples of 16 look too good and too steady."""
    rng = np.random.default_rng(12)
    held, plain, below, above = [], [], 0.0, 0.0
    for _ in range(400):
        errors = 0.05 * rng.lognormal(-(1.5**2) / 2, 1.5, size=(10, 16))  # of mean .05
        tasks = {str(place): TaskSample(one[None], np.ones(16)) for place, one in enumerate(errors)}
        truth, value = 95.0, inference.score(tasks)
        low, high = inference.these_tasks(tasks)
        held.append(low <= truth <= high)
        error = (errors.var(axis=1, ddof=1).sum() / 16) ** 0.5 / 10
        plain.append(abs(value - truth) <= 196 * error)
        below, above = below + value - low, above + high - value
    assert 0.91 < np.mean(held) < 0.98
    assert np.mean(plain) < 0.9  # what a normal's interval would do
    assert below > 1.2 * above  # the bad prompts that may be missing pull down, not up


def test_two_fits_count_with_their_whole_variance():
    """No prompt differs from another: what remains is Student's interval over fits, of each task alone."""
    levels = np.array([0.70, 0.78])
    errors = np.repeat(1 - levels[:, None], 20, axis=1)
    low, high = inference.these_tasks({"a": TaskSample(errors, np.ones(20))})
    want = stats.t.interval(0.95, 1, levels.mean(), stats.sem(levels))
    np.testing.assert_allclose([low, high], 100 * np.clip(want, -1, 1), atol=1e-6)


def test_seed_spread_by_loops():
    rng = np.random.default_rng(3)
    tasks = board(rng, [0.3, 0.5, 0.6, 0.8], seeds=3, spread=0.2)
    shared, own = inference.seed_spread(tasks)
    table = []
    for task in tasks.values():
        reached = 1 - sum(task.ceiling_numerator) / sum(task.ceiling_denominator)
        table.append([(1 - sum(fit) / sum(task.denominator)) / reached for fit in task.numerator])
    want_own = sum(stats.tvar(row) for row in table) / (3 * 16)
    want_direct = stats.tvar([sum(column) / 4 for column in zip(*table, strict=True)]) / 3
    assert own.variance == pytest.approx(want_own)
    assert shared.variance == pytest.approx(max(want_direct - want_own, 0))
    assert shared.freedom == 2


def test_seeds_that_move_all_tasks_alike_widen_the_interval_for_new_concepts():
    even, fits = np.ones(10), np.array([[0.1], [0.5]])
    alike = {str(task): TaskSample(fits * even, even) for task in range(12)}
    steady = {str(task): TaskSample(0.3 * even[None], even) for task in range(12)}
    assert inference.score(alike) == pytest.approx(inference.score(steady))
    wide, narrow = inference.new_concepts(alike), inference.new_concepts(steady)
    assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])
    with pytest.raises(ValueError, match="equally many fits"):
        inference.seed_spread({"a": alike["0"], "b": steady["0"]})


def test_new_concepts_is_wider_than_these_tasks_and_both_hold_the_score():
    rng = np.random.default_rng(4)
    for seeds in (1, 2):
        tasks = board(rng, rng.uniform(0.2, 1.0, 12), seeds=seeds, spread=0.02)
        value, these, new = (
            inference.score(tasks),
            inference.these_tasks(tasks),
            inference.new_concepts(tasks),
        )
        assert new[0] < these[0] <= value <= these[1] < new[1]
        assert inference.these_tasks(tasks) == these  # the same numbers give the same interval


def test_a_gate_that_any_task_passes_changes_nothing():
    rng = np.random.default_rng(5)
    tasks = board(rng, [0.4, 0.7, 0.9, 0.95])
    clear = GateSample(np.full(48, 110.0), np.full(48, 50.0), 100 + rng.normal(size=(16, 48)))
    gated = {name: with_gate(task, clear) for name, task in tasks.items()}
    assert inference.these_tasks(gated) == inference.these_tasks(tasks)
    assert inference.new_concepts(gated) == inference.new_concepts(tasks)


def with_gate(task, gate):
    return TaskSample(
        task.numerator, task.denominator, task.ceiling_numerator, task.ceiling_denominator, gate
    )


def effects(rng, effect):
    random = rng.normal(size=(16, 1)) + 0.5 * rng.normal(size=(16, 48))
    return GateSample(np.full(48, 110.0), 100 - effect + rng.normal(size=48), 100 + random)


def test_a_task_that_may_or_may_not_count_widens_the_interval():
    """Where it counts the score falls: an interval that takes the gate as given would not know."""
    rng = np.random.default_rng(6)
    tasks = {name: with_gate(task, effects(rng, 20.0)) for name, task in board(rng, [0.95] * 7).items()}
    hard = sample(rng, share=-0.9)
    given = inference.these_tasks(tasks | {"hard": with_gate(hard, effects(rng, 20.0))})
    gates = [effects(np.random.default_rng(seed), 2.6) for seed in range(40)]
    samples = [tasks | {"hard": with_gate(hard, gate)} for gate in gates]
    verdicts = {inference.counting(one)["hard"] for one in samples}
    assert verdicts == {True, False}  # borderline indeed
    borderline = [inference.these_tasks(one) for one in samples]
    widths = np.array([high - low for low, high in borderline])
    assert np.mean(widths > 3 * (given[1] - given[0])) > 0.4
    never = inference.these_tasks(tasks | {"hard": with_gate(hard, effects(rng, -5.0))})
    assert never == pytest.approx(inference.these_tasks(tasks))


def test_the_gate_asks_native_to_be_nearer_than_chance_and_than_nothing():
    """Against a slow loop over resamples of its own, and known answers far from the border."""
    rng = np.random.default_rng(7)
    for effect, wanted in ((0.5, False), (6.0, True), (20.0, True), (-20.0, False)):
        gate = effects(rng, effect)
        counted, (low, high) = inference.counts("a", gate)
        assert counted is wanted
        margins = []
        for _ in range(2000):
            prompts, directions = rng.integers(0, 48, 48), rng.integers(0, 16, 16)
            apart = np.minimum(gate.random[directions][:, prompts].mean(1), gate.unsteered[prompts].mean())
            chance = apart.mean() - 1.96 * apart.std() * (16 / 15) ** 0.5
            margins.append(chance - gate.ceiling[prompts].mean())
        assert [110 * low, 110 * high] == pytest.approx(np.quantile(margins, [0.025, 0.975]), abs=0.15)
    # random directions are far off, but no steering is as near as native's other half
    far = GateSample(np.full(48, 50.0), 50 + rng.normal(size=48), 100 + rng.normal(size=(16, 48)))
    assert not inference.counts("a", far)[0]
    # one direction that wrecks the model changes nothing
    near = GateSample(np.full(48, 50.0), 5 + rng.normal(size=48), 60 + rng.normal(size=(16, 48)))
    wrecked = GateSample(near.unsteered, near.ceiling, np.vstack([near.random[:-1], np.full(48, 5000.0)]))
    assert inference.counts("a", wrecked) == inference.counts("a", near)
    assert inference.counts("a", near)[0]


def test_without_a_task_that_counts_there_is_no_interval():
    rng = np.random.default_rng(8)
    nothing = {"a": with_gate(sample(rng), effects(rng, 0.0))}
    for tasks in ({}, nothing):
        assert inference.score(tasks) is None
        assert inference.these_tasks(tasks) is None
        assert inference.new_concepts(tasks) is None


EVEN = np.ones(5)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ((EVEN, EVEN), "seeds, prompts"),
        ((EVEN[None, :4], EVEN), "want 4 prompts"),
        ((EVEN[None], np.zeros(5)), "moves nothing"),
        ((EVEN[None] * np.nan, EVEN), "NaN"),
        ((EVEN[None], EVEN, EVEN), "both or neither"),
        ((EVEN[None], EVEN, EVEN, np.zeros(5)), "moves nothing"),
        ((EVEN[None], EVEN, None, None, GateSample(EVEN[:3], EVEN, np.ones((2, 5)))), "want 5 prompts"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays, words):
    with pytest.raises(ValueError, match=words):
        TaskSample(*arrays)


@pytest.fixture(scope="module")
def population():
    return coverage.read_population()


def test_simulated_cells_have_the_shares_that_were_measured(population):
    assert population.shares.shape == (len(population.profiles), len(coverage.METHODS))
    rng = np.random.default_rng(0)
    cells = np.array([3, 50, 80])
    for method in (0, 2):  # one fit: the mean over draws of prompts nears the truth
        rows = [coverage.draw_row(population, cells, method, rng) for _ in range(300)]
        measured = np.mean([inference.score(row.tasks) for row in rows])
        assert measured == pytest.approx(100 * population.shares[cells, method].mean(), abs=0.5)
        assert rows[0].truth == pytest.approx(100 * population.shares[cells, method].mean())


def test_cells_that_are_worse_than_the_scale_stay_at_its_end_whatever_prompts_are_drawn(population):
    """A cell at -3.7 is -1 on any prompts; one that was moved to the edge could only be drawn better."""
    rng = np.random.default_rng(1)
    method = coverage.METHODS.index("affine")
    worst = np.flatnonzero(population.shares[:, method] == -1)
    assert len(worst)
    drawn = [inference.score(coverage.draw_row(population, worst, method, rng).tasks) for _ in range(200)]
    assert np.mean(drawn) == pytest.approx(-100, abs=0.5)


def test_both_intervals_hold_the_truth_about_as_often_as_they_say(population):
    """The short form of `make coverage`: pooled over methods, within what few boards allow."""
    tallies = coverage.cover(population, 40, ("orthogonal", "affine", "mlp"), seed=1)
    for kind in ("these tasks", "new concepts"):
        for count in coverage.TASKS:
            rates = [tally.coverage(count) for name, tally in tallies.items() if name.endswith(kind)]
            assert np.mean(rates) > 0.85, (kind, count)
        every = [tally.held.values() for name, tally in tallies.items() if name.endswith(kind)]
        pooled = [held for of_counts in every for of_boards in of_counts for held in of_boards]
        assert 0.92 < np.mean(pooled) < 0.99, kind


def test_a_table_goes_between_its_marks_or_nowhere(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{coverage.BEGIN}\nold\n{coverage.END}\nafter\n")
    coverage.write_table(page, ["| new |"])
    assert page.read_text() == f"before\n{coverage.BEGIN}\n\n| new |\n\n{coverage.END}\nafter\n"
    page.write_text("no marks\n")
    with pytest.raises(coverage.UserError, match=r"page\.md"):
        coverage.write_table(page, ["| new |"])
    assert page.read_text() == "no marks\n"
