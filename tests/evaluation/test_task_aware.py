"""Task-aware maps in a run: what they are given, how they score, and that nothing else takes them."""

from __future__ import annotations

import pytest
import torch
from command_line import error_of, run

from lrt_bench import api
from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.rows import mapping_row
from lrt_bench.evaluation.rows.carried import half_carriers, known_concepts
from lrt_bench.mappings import find_mapping
from lrt_bench.results.storage import read_result

TASKS = ("tense", "person", "number", "topic-dogs")


@pytest.fixture(scope="module")
def bench(nano):
    suite = narrowed(find_suite("nano"), pairs=["S-L-early"]).model_copy(update={"tasks": TASKS})
    evaluation, [pair] = Evaluation(suite, RunConfig()), suite.pairs
    tasks = [task for task in suite.tasks_of(pair) if isinstance(task, ChoiceTask)]
    return evaluation.job(pair, evaluation.models(), tasks, []).bench


def test_a_map_of_other_concepts_never_reads_its_own(bench):
    [task, *_] = bench.choice_sweep.tasks
    method = find_mapping("other-texts")()
    given = known_concepts(bench, task, method)
    own = bench.inputs.source_states(task).positive
    assert len(given) == len(TASKS) - 1
    assert not any(torch.equal(one.source_positive[:4], own[:4]) for one in given)
    [same] = known_concepts(bench, task, find_mapping("own-texts")())
    assert torch.equal(same.source_positive, own)


def test_a_half_is_fitted_on_that_half_alone(bench):
    """Prompts are scored with vectors from other texts than native's; a map of own texts sees none."""
    [task, *_] = bench.choice_sweep.tasks
    row = mapping_row("own-texts")
    row.vectors(bench, [task])
    vectors = row.half_vectors(bench, task, torch.empty(0))[0]
    halves = bench.behaviour.halves(bench.inputs.target_states(task))
    width = bench.source.width
    for vector, (own, other) in zip(vectors, halves, strict=True):
        if 2 * len(own.positive) <= width:  # then least squares meets the half's own vector
            torch.testing.assert_close(vector, own.vector, rtol=1e-2, atol=1e-2)
        assert not torch.allclose(vector, other.vector, rtol=1e-2, atol=1e-2)
    carriers = half_carriers(bench, task, row.mappings[0])
    assert len({id(one) for one in carriers}) == bench.behaviour.groups


def test_task_aware_rows_are_a_track_of_their_own_with_their_texts_counted(nano, tmp_path):
    out = tmp_path / "results"
    names = ("own-texts", "own-texts-permuted", "own-texts-noise", "other-texts", "concept-basis", "affine")
    chosen = [option for name in names for option in ("--mapping", name)]
    tasks = [option for name in TASKS for option in ("--task", name)]
    done = run("evaluate", "--pair", "S-L-early", *tasks, *chosen, "--out", out)
    assert done.exit_code == 0, done.output
    rows = {path.stem: read_result(path) for path in out.rglob("*.json")}
    controls = {"own-texts-permuted", "own-texts-noise"}  # they have nothing to learn
    for name in names[:-1]:
        assert rows[name].mapping.track == ("control" if name in controls else "task-aware")
        assert rows[name].mapping.control == (name in controls)
    width = 96
    for name in names[:-1]:
        cost = rows[name].cost
        assert cost.fit_texts
        assert cost.texts_per_dimension == pytest.approx(cost.fit_texts / width)
    assert rows["affine"].cost.fit_texts is None
    assert rows["other-texts"].cost.fit_texts == (len(TASKS) - 1) * rows["own-texts"].cost.fit_texts
    assert done.output.index("corpus track: affine") < done.output.index("task-aware track: own-texts")
    # a fit on the concept's own texts scores no better than the same fit from noise
    assert rows["own-texts-noise"].transfer_score > 80
    assert rows["own-texts-noise"].transfer_score > rows["other-texts"].transfer_score


def test_a_vector_is_not_carried_by_a_map_that_wants_a_suites_concepts(tmp_path):
    told = "own-texts: made of a suite's concepts, which only evaluate reads"
    options = "--source", "nano/S:3", "--target", "nano/S2:2", "--mapping", "own-texts"
    assert told in error_of("fit", *options, "--save", tmp_path / "map")
    (tmp_path / "p.txt").write_text("I saw the dog .\n" * 4)
    assert told in error_of("transfer", "--concept", tmp_path / "p.txt", tmp_path / "p.txt", *options)
    with pytest.raises(UserError, match=told):
        api.fit(api.Pair("nano/S:3", "nano/S2:2"), "own-texts")
