"""Areas over log tokens: known answers, what their intervals hold, and which results are a ladder."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lrt_bench import Results
from lrt_bench.results.ladders import ladders
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.statistics.ladder import log_weights
from lrt_bench.results.statistics.mean_sample import MeanSample
from lrt_bench.results.storage import read_result

TOKENS = (200, 500, 1000, 2000, 5000)


def task(shares, prompts=6):
    """A task whose fits have exactly these shares on every prompt."""
    even = np.ones(prompts)
    return TaskSample(np.stack([(1 - share) * even for share in shares]), even)


def areas(by_task, tokens=TOKENS):
    """{name: area} of shares [tasks][rungs][fits]."""
    weights = log_weights(tokens)
    return {
        f"task {place}": MeanSample(tuple(task(fits) for fits in rungs), weights)
        for place, rungs in enumerate(by_task)
    }


def test_the_area_of_a_constant_score_is_the_score():
    assert log_weights(TOKENS).sum() == pytest.approx(1)
    assert areas([[[0.7]] * 5])["task 0"].share == pytest.approx(0.7)


def test_the_area_of_a_score_that_grows_with_log_tokens_is_its_middle():
    """A straight line over log tokens from 0 to 1 has the area 1/2, however the rungs are spaced."""
    low, high = math.log(200), math.log(5000)
    for tokens in (TOKENS, (200, 5000), (200, 4000, 4500, 5000)):
        line = [[(math.log(n) - low) / (high - low)] for n in tokens]
        assert areas([line], tokens)["task 0"].share == pytest.approx(0.5)


def test_the_area_is_numpys_trapezoid_over_log_tokens():
    shares = np.random.default_rng(0).uniform(-1, 1, 5)
    want = np.trapezoid(shares, np.log(TOKENS)) / np.log(TOKENS[-1] / TOKENS[0])
    assert areas([[[share] for share in shares]])["task 0"].share == pytest.approx(want)


def test_each_rung_is_clipped_before_it_is_averaged():
    """As the Transfer Score at that number of tokens is: an exploding fit costs no more than -1."""
    weights = log_weights((200, 2000))
    assert areas([[[-50.0], [1.0]]], (200, 2000))["task 0"].share == pytest.approx(weights @ [-1, 1])


@pytest.mark.parametrize("tokens", [(200,), (), (500, 200), (200, 200)])
def test_no_ladder_of_one_rung_or_of_rungs_out_of_order(tokens):
    with pytest.raises(ValueError, match="two or more, ascending"):
        log_weights(tokens)


def test_an_area_of_one_score_at_every_rung_has_that_scores_intervals():
    rng = np.random.default_rng(1)
    energy = rng.gamma(4.0, size=12)
    one = {str(n): TaskSample(rng.gamma(2.0, 0.1, size=(5, 12)) * energy, energy) for n in range(9)}
    flat = {name: MeanSample((sample,) * 5, log_weights(TOKENS)) for name, sample in one.items()}
    assert inference.score(flat) == pytest.approx(inference.score(one))
    for ends in (inference.these_tasks, inference.new_concepts):
        assert ends(flat) == pytest.approx(ends(one))


def test_both_intervals_widen_with_the_spread_between_draws():
    """Draws that move all tasks alike: the mean area is the same, what is known of it is not."""

    def drawn(spread):
        moved = np.linspace(-spread, spread, 5)
        return areas([[[0.5 + 0.02 * place + step for step in moved] for _ in TOKENS] for place in range(9)])

    calm, wild = drawn(0.0), drawn(0.3)
    assert inference.score(calm) == pytest.approx(inference.score(wild))
    for ends in (inference.these_tasks, inference.new_concepts):
        widths = [high - low for low, high in (ends(calm), ends(wild))]
        assert widths[1] > widths[0] + 5
    shared, own = inference.seed_spread(wild)
    assert shared.variance + own.variance == pytest.approx(np.var(np.linspace(-0.3, 0.3, 5), ddof=1) / 5)


def test_draws_that_make_up_for_each_other_over_the_rungs_cancel():
    """A draw that is good on few tokens and bad on many has the area of the others."""
    up, down = [0.3, 0.7], [0.7, 0.3]
    crossed = areas([[up, down]] * 6, (200, 2000))
    assert inference.seed_spread(crossed)[0].variance == pytest.approx(0)
    assert inference.seed_spread(areas([[up, up]] * 6, (200, 2000)))[0].variance > 0.01


@pytest.fixture(scope="module")
def climbed(small_run):
    """Rows of one real run on three rungs: on fewer tokens each error is farther from native."""
    rungs = {"p-200": (200, 3.0), "p-1000": (1000, 1.5), "p-4000": (4000, 1.0)}
    found = []
    for path in sorted(small_run.rglob("*.json")):
        result = read_result(path)
        for name, (tokens, worse) in rungs.items():
            found.append(_on_rung(result, name, tokens, 1.0 if result.mapping.control else worse))
    return found


def _on_rung(result, pair, tokens, worse):
    tasks = []
    for one in result.tasks:
        error = tuple(tuple(value * worse for value in fit) for fit in one.error)
        errors = replace(one.errors, error=np.array(error))
        tasks.append(one.model_copy(update={"error": error, "steering_r2": errors.r2}))
    cost = result.cost.model_copy(update={"fit_tokens": tokens if result.cost.fit_tokens else 0})
    named = result.pair.model_copy(update={"name": pair})
    return _rescored(result.model_copy(update={"pair": named, "cost": cost}), tasks)


def _rescored(result, tasks):
    counted = {task.task: TaskSample.of_errors(task.errors) for task in tasks if task.steerable}
    score, ends = inference.score(counted), inference.new_concepts(counted)
    return result.model_copy(update={"tasks": tuple(tasks), "transfer_score": score, "ci95": ends})


def _without(result, lost):
    tasks = [
        task.model_copy(update={"steerable": False}) if task.task == lost else task for task in result.tasks
    ]
    return _rescored(result, tasks)


def test_pairs_of_the_same_sites_on_other_tokens_are_one_ladder(climbed):
    [ladder] = ladders(climbed)
    assert ladder.pairs == {"p-200": 200, "p-1000": 1000, "p-4000": 4000}
    assert {climb.mapping for climb in ladder.climbs} == {"affine", "ridge", "orthogonal", "mlp", "shuffled"}
    assert [climb.control for climb in ladder.climbs] == [False] * 4 + [True]
    for climb in ladder.climbs:
        assert climb.ci95[0] <= climb.area <= climb.ci95[1]
        scores = [rung.score for rung in climb.rungs]
        assert climb.area == pytest.approx(log_weights(ladder.tokens) @ scores)
        assert (climb.place is None) == climb.control


def test_a_task_counts_for_the_area_where_it_counts_on_every_rung(climbed):
    lost = climbed[0].tasks[0].task
    without = [_without(one, lost) if one.pair.name == "p-200" else one for one in climbed]
    [whole], [ladder] = ladders(climbed), ladders(without)
    assert set(whole.tasks) - set(ladder.tasks) == {lost} == set(ladder.left_out)
    for climb in ladder.climbs:  # rungs are on the same tasks as the area
        assert climb.area == pytest.approx(log_weights(ladder.tokens) @ [rung.score for rung in climb.rungs])


def test_a_row_without_all_rungs_or_of_other_code_on_one_has_no_area(climbed):
    few = [r for r in climbed if (r.mapping.name, r.pair.name) != ("mlp", "p-1000")]
    [ladder] = ladders(few)
    assert ladder.missing == ("mlp",)
    assert "mlp" not in {climb.mapping for climb in ladder.climbs}
    other = [
        r.model_copy(update={"mapping": r.mapping.model_copy(update={"digest": "0" * 64})})
        if (r.mapping.name, r.pair.name) == ("ridge", "p-200")
        else r
        for r in climbed
    ]
    assert ladders(other)[0].missing == ("ridge",)


def test_one_budget_or_another_site_is_no_ladder(climbed):
    assert ladders([r for r in climbed if r.pair.name == "p-200"]) == []
    moved = [
        r.model_copy(
            update={
                "pair": r.pair.model_copy(update={"target": r.pair.target.model_copy(update={"layer": 5})})
            }
        )
        if r.pair.name == "p-200"
        else r
        for r in climbed
    ]
    assert [ladder.tokens for ladder in ladders(moved)] == [(1000, 4000)]


def test_the_table_of_ladders_has_a_line_a_rung(climbed):
    table = Results(climbed).to_frame("ladder")
    assert len(table) == 5 * 3
    ridge = table[table["mapping"] == "ridge"]
    assert ridge["fit_tokens"].tolist() == [200, 1000, 4000]
    assert ridge["area"].nunique() == 1
    assert ridge["transfer_score"].is_monotonic_increasing
    assert Results(climbed[:1]).to_frame("ladder").empty
