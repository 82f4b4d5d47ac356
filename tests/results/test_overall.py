"""Means over a suite's pairs: by plain loops over the files, and which pairs and tasks they leave out."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks import coverage
from benchmarks.coverage_of_means import cover_means, read_concepts
from lrt_bench import Results
from lrt_bench.data.suites import find_suite
from lrt_bench.results.overall import overall, overall_of
from lrt_bench.results.storage import read_result
from tests.helpers.boards import COMMITTED, CONTROLS
from tests.helpers.command_line import output_of

EARLY = ("S-L-early", "M-L-early", "L-S-early")
PAIRS = (*EARLY, "S-L", "planted-rotation")
ROWS = {*find_suite("nano").mappings, *CONTROLS, "affine-waves"}


def committed(pair: str) -> list[Path]:
    """The pair's controls, the default suite's own maps, and one more."""
    return sorted(path for path in (COMMITTED / "nano" / pair).glob("*.json") if path.stem in ROWS)


def plain_shares(path: Path) -> dict[str, float]:
    """Each counted task's share of its ceiling, from the file's arrays alone."""
    shares = {}
    for task in (t for t in json.loads(path.read_text())["tasks"] if t["steerable"]):
        error, energy, split, whole = (
            np.array(task[part]) for part in ("error", "energy", "split_error", "split_energy")
        )
        ceiling = max(1 - split.sum() / whole.sum(), 0.05)
        shares[task["task"]] = min(max((1 - error.mean(0).sum() / energy.sum()) / ceiling, -1), 1)
    return shares


@pytest.fixture(scope="module")
def results():
    return [read_result(path) for pair in PAIRS for path in committed(pair)]


@pytest.fixture(scope="module")
def nano(results):
    [one] = overall_of(Results(results).ranked())
    return one


def test_a_mean_is_that_of_the_files_on_the_tasks_that_count_everywhere(nano):
    assert set(nano.pairs) == set(EARLY)
    assert nano.apart == {"S-L": "output-level", "planted-rotation": "a known answer"}
    for name in ("mlp", "affine", "readout"):
        by_pair = [plain_shares(path) for pair in EARLY for path in committed(pair) if path.stem == name]
        common = set.intersection(*(set(one) for one in by_pair))
        assert common == set(nano.tasks)
        want = 100 * statistics.fmean(statistics.fmean(one[task] for task in common) for one in by_pair)
        [standing] = [one for one in nano.standings if one.mapping == name]
        assert standing.score == pytest.approx(want, abs=1e-6)
        assert standing.ci95[0] < want < standing.ci95[1]
        assert standing.ci95_these_tasks[0] < want < standing.ci95_these_tasks[1]


def test_the_default_suites_maps_are_told_apart(results):
    """mlp, affine, orthogonal and the weakest of the suite's own maps are all separated."""
    own = set(find_suite("nano").mappings)
    [nano] = overall([one for one in results if one.mapping.control or one.mapping.name in own])
    corpus = nano.of_track("corpus")
    assert {one.mapping for one in corpus} == own
    places = {one.mapping: one.place for one in corpus}
    for one, other in itertools.combinations(("mlp", "affine", "orthogonal", corpus[-1].mapping), 2):
        assert not set(places[one].letters) & set(places[other].letters), (one, other)
    assert places["mlp"].best == 1
    assert places[corpus[-1].mapping].best >= 6


def test_ranks_are_holms_over_paired_tests_of_the_means(nano):
    """By scipy's plain t on the means over pairs: ours is never bolder."""
    means = {}
    for name in ("affine-waves", "affine", "orthogonal", "affine-with-bias"):
        by_pair = [plain_shares(path) for pair in EARLY for path in committed(pair) if path.stem == name]
        means[name] = np.array([statistics.fmean(one[task] for one in by_pair) for task in nano.tasks])
    places = {one.mapping: one.place for one in nano.standings}
    for one, other in itertools.combinations(means, 2):
        apart = not set(places[one].letters) & set(places[other].letters)
        assert not apart or stats.ttest_rel(means[one], means[other]).pvalue < 0.05


def test_a_row_without_all_pairs_has_no_mean_and_a_lone_pair_none_at_all(results):
    fewer = [one for one in results if (one.pair.name, one.mapping.name) != ("M-L-early", "mlp")]
    [made] = overall(fewer)
    assert made.missing == ("mlp",)
    assert "mlp" not in {one.mapping for one in made.standings}
    alone = [one for one in results if one.pair.name in ("S-L-early", "S-L", "planted-rotation")]
    assert overall(alone) == []


def test_a_task_that_counts_on_some_pairs_alone_is_left_out(results, nano):
    assert nano.left_out == ("language",)
    cut = []
    for one in results:
        if one.pair.name == "M-L-early":
            tasks = tuple(
                task.model_copy(update={"steerable": task.steerable and task.task != "tense"})
                for task in one.tasks
            )
            one = one.model_copy(update={"tasks": tasks})
        cut.append(one)
    [made] = overall(cut)
    assert set(nano.tasks) - set(made.tasks) == {"tense"}
    assert "tense" in made.left_out


def test_intervals_of_means_hold_the_truth_on_simulated_boards():
    """The short form of what `make coverage` prints of them."""
    tallies = cover_means(read_concepts(), 60, ("affine",), seed=3)
    assert len(tallies) == 2
    for label, tally in tallies.items():
        assert np.mean([tally.coverage(count) for count in coverage.TASKS]) >= 0.9, label
        assert tally.width(40) < tally.width(10), label


def test_ladders_have_areas_in_the_place_of_means():
    rungs = [read_result(path) for path in sorted((COMMITTED / "few-tokens").glob("*/affine.json"))]
    assert len(rungs) > 1
    assert overall(rungs) == []


def test_the_command_line_and_the_frame_say_the_same(results, nano):
    table = Results(results).to_frame("overall")
    rows = table[table["mapping"] == "affine"]
    assert set(rows["pair"]) == set(EARLY)
    assert rows["transfer_score"].mean() == pytest.approx(rows["mean"].iloc[0], abs=1e-6)
    said = output_of("summary", COMMITTED / "nano", "--format", "table")
    assert "mean of 3 pairs" in said
    [affine] = [one for one in nano.standings if one.mapping == "affine"]
    assert f"{affine.score:.1f}" in said
