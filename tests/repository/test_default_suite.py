"""What the default suite must show, on the shipped models, at its full size."""

from __future__ import annotations

import pytest

from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation

pytestmark = pytest.mark.slow

MAPPINGS = ("affine", "affine-with-bias", "ridge", "orthogonal")


EARLY, LATE, KNOWN = "S-L-early", "S-L", "planted-rotation"


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    suite = narrowed(find_suite("nano"), pairs=[EARLY, LATE, KNOWN])
    cells = Evaluation(suite, RunConfig(mappings=MAPPINGS, out=tmp_path_factory.mktemp("nano"))).run()
    return {(cell.result.pair.name, cell.result.mapping.name): cell.result for cell in cells}


@pytest.mark.parametrize("pair", [EARLY, LATE])
def test_nearly_every_concept_counts(scored, pair):
    result = scored[pair, "native"]
    assert len(result.tasks) >= 24
    assert all(task.prompts == 16 for task in result.tasks)
    assert len(result.not_steerable) <= 3
    assert result.not_scorable == ()


def test_the_early_pair_tests_a_representation_and_the_late_one_the_output(scored):
    early, late = scored[EARLY, "ridge"].behaviour, scored[LATE, "ridge"].behaviour
    assert max(early.readout_score, early.unembedding_score) < 60
    assert not early.output_level
    assert late.readout_score > 60


def test_transfer_works_and_the_bias_costs(scored):
    assert scored[LATE, "ridge"].transfer_score >= 60
    for pair in (EARLY, LATE):
        affine, paper = scored[pair, "affine"], scored[pair, "affine-with-bias"]
        assert affine.transfer_score > paper.transfer_score
    assert scored[EARLY, "affine"].ci95[0] > 0


@pytest.mark.parametrize("pair", [EARLY, LATE, KNOWN])
def test_controls_stand_where_they_must(scored, pair):
    assert scored[pair, "native"].transfer_score == 100
    assert scored[pair, "native-split"].transfer_score == pytest.approx(100)
    assert scored[pair, "none"].transfer_score == 0
    for name in ("random", "shuffled", "other-concept"):
        assert scored[pair, name].transfer_score <= 2, name
        assert scored[pair, "ridge"].ci95[0] > scored[pair, name].ci95[1]


def test_the_known_answer_is_found(scored):
    for name in ("affine", "ridge", "orthogonal"):
        assert scored[KNOWN, name].transfer_score >= 99.5, name


def test_writing_follows_the_transferred_vector(scored):
    """The paper's three writing tasks: steered text scores higher, and its perplexity stands beside it."""
    for row in ("native", "ridge"):
        assert len(scored[LATE, row].generation) == 3
        for task in scored[LATE, row].generation:
            assert task.score[-1] > task.score[0] + 0.5, (row, task.task)
            assert task.cross_entropy[-1] > task.cross_entropy[0]
            assert task.failures == 0
