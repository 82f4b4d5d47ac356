"""Chance and known rows on a planted pair: a short form of `scripts.protocol.chance`."""

from __future__ import annotations

import itertools

import pytest

from lrt_bench.data.suites import find_suite, narrowed
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.models.loading import Models
from scripts.protocol.chance import COSINES, MAPS, drawn, known, pair_score, scores

pytestmark = pytest.mark.slow  # a pair's states, and several seeds

SEEDS = 4
TASKS = ("sentiment", "person", "tense", "topic-dogs")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    suite = narrowed(find_suite("nano-behaviour"), pairs=["planted-rotation"])
    corpus = suite.corpus.model_copy(
        update={"fit_tokens": 4000, "validation_tokens": 600, "sample_tokens": 1000}
    )
    behaviour = suite.behaviour.model_copy(update={"without_readout": False, "prompts": 8, "tokens": 4})
    suite = suite.model_copy(update={"corpus": corpus, "behaviour": behaviour, "tasks": TASKS, "shuffles": 4})
    evaluation = Evaluation(suite, RunConfig(out=tmp_path_factory.mktemp("chance"), mappings=MAPS))
    return evaluation.job(suite.pairs[0], Models(), suite.read_tasks(), evaluation.rows()).bench


def test_known_rows_score_what_is_known_of_them(bench):
    scored = {name: scores(bench, rows) for name, rows in known(bench).items()}
    assert scored["none"].shape == (1, len(TASKS))  # every task is clear of chance
    assert not scored["none"].any()
    for name in MAPS:
        assert pair_score(scored[name]) == pytest.approx(100, abs=0.1), name
    for better, worse in itertools.pairwise(COSINES):
        apart = (scored[f"cosine {better}"] - scored[f"cosine {worse}"]).mean(1)  # of each draw
        assert apart.mean() > 2 * apart.std(ddof=1) / len(apart) ** 0.5
    assert bench.behaviour.of(bench.choice_sweep.tasks[0]).whole.prompts == 8


def test_chance_is_never_above_two(bench):
    for seed in range(SEEDS):
        for name, rows in drawn(bench, seed).items():
            assert pair_score(scores(bench, rows)) <= 2, (name, seed)
