"""What the default suite must show, on the shipped models, at its full size."""

from __future__ import annotations

import pytest

from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation

pytestmark = pytest.mark.slow

MAPPINGS = ("affine", "affine-paper", "ridge", "orthogonal")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    suite = narrowed(find_suite("nano"), pairs=["S-L", "planted-rotation"])
    cells = Evaluation(suite, RunConfig(mappings=MAPPINGS, out=tmp_path_factory.mktemp("nano"))).run()
    return {(cell.result.pair.name, cell.result.mapping.name): cell.result for cell in cells}


def test_every_concept_is_steerable_from_small_to_large(scored):
    result = scored["S-L", "native"]
    assert len(result.tasks) >= 8
    assert all(task.steerable and task.prompts >= 48 and task.failures == 0 for task in result.tasks)
    assert result.not_steerable == result.not_scorable == ()


def test_transfer_works_and_the_bias_costs(scored):
    assert scored["S-L", "ridge"].transfer_score >= 85
    assert scored["S-L", "ridge"].transfer_score > scored["S-L", "affine-paper"].transfer_score


@pytest.mark.parametrize("pair", ["S-L", "planted-rotation"])
def test_controls_stand_where_they_must(scored, pair):
    assert scored[pair, "native"].transfer_score == 100
    assert scored[pair, "native-split"].transfer_score == pytest.approx(100)
    assert 0.9 < scored[pair, "native-split"].steering_r2 <= 1
    assert scored[pair, "none"].transfer_score == 0
    for name in ("random", "shuffled"):
        assert scored[pair, name].transfer_score <= 5, name
        assert scored[pair, "ridge"].ci95[0] > scored[pair, name].ci95[1]
    assert scored[pair, "other-concept"].transfer_score <= 5


def test_the_known_answer_is_found(scored):
    for name in ("affine", "ridge", "orthogonal"):
        assert scored["planted-rotation", name].transfer_score >= 99.5, name


def test_writing_follows_the_transferred_vector(scored):
    """The paper's three writing tasks: steered text scores higher, and its perplexity stands beside it."""
    for row in ("native", "ridge"):
        assert len(scored["S-L", row].generation) == 3
        for task in scored["S-L", row].generation:
            assert task.score[-1] > task.score[0] + 0.5, (row, task.task)
            assert task.cross_entropy[-1] > task.cross_entropy[0]
            assert task.failures == 0
