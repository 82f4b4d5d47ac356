"""Runs on several draws of documents and on few tokens: rows, references, engines, keys."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import error_of, output_of

from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import Local
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.results.collection import Results
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample

pytestmark = pytest.mark.slow  # whole runs

SUITE = """
name: drawn
corpus: {source: nano, context: 64, fit_tokens: 1200, validation_tokens: 600, sample_tokens: 1200, draws: 3}
alphas: [-0.25, 0, 0.25]
over_steering: []
shuffles: 2
bootstrap: 100
prompts: 8
tasks: [sentiment, person, topic-dogs, language, fidelity]
mappings: [ridge, mlp]
pairs:
  - {name: few, source: nano/S, source_layer: 2, target: nano/S2, target_layer: 2, fit_tokens: 300}
  - {name: many, source: nano/S, source_layer: 2, target: nano/S2, target_layer: 2}
"""


@pytest.fixture(scope="module")
def suite_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "drawn.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def folder(suite_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("drawn")
    Evaluation(find_suite(str(suite_file)), RunConfig(out=out)).run()
    return out


@pytest.fixture(scope="module")
def results(folder):
    return {(one.pair.name, one.mapping.name): one for one in Results.read(folder)}


def test_every_map_is_fitted_once_a_draw_on_just_its_tokens(results):
    for pair, tokens in (("few", 300), ("many", 1200)):
        for name in ("ridge", "mlp", "shuffled"):
            row = results[pair, name]
            assert row.cost.fit_tokens == tokens
            assert row.mapping.seeds == 3
            assert {len(task.error) for task in row.tasks} == {3}
            fits = np.array(row.tasks[0].error).sum(1)
            assert len(set(fits.tolist())) == 3  # a deterministic method too: other documents
        assert {len(task.error) for task in results[pair, "other-concept"].tasks} == {2 * 3}


def test_what_maps_are_compared_with_is_the_same_on_few_tokens_as_on_many(results):
    few, many = (results[pair, "native"] for pair in ("few", "many"))
    assert few.settings.spread == many.settings.spread
    for one, other in zip(few.tasks, many.tasks, strict=True):
        assert (one.energy, one.split_error, one.steerable) == (
            other.energy,
            other.split_error,
            other.steerable,
        )
    assert results["few", "ridge"].key != results["many", "ridge"].key


def test_the_interval_over_these_tasks_holds_how_the_draws_differ(results):
    """Of the draws' mean alone, taken for the one fit of a method, it is narrower."""
    samples = {t.task: TaskSample.of_errors(t.errors) for t in results["few", "mlp"].tasks if t.steerable}
    mean = {
        name: TaskSample(
            one.numerator.mean(0, keepdims=True),
            one.denominator,
            one.ceiling_numerator,
            one.ceiling_denominator,
        )
        for name, one in samples.items()
    }
    widths = [high - low for low, high in (inference.these_tasks(samples), inference.these_tasks(mean))]
    assert widths[0] > 1.02 * widths[1]


def test_two_processes_give_the_same_numbers(suite_file, results, tmp_path):
    engine = Local(workers=2)
    suite, config = find_suite(str(suite_file)), RunConfig(out=tmp_path, pairs=("few",))
    suite = suite.model_copy(update={"pairs": suite.pairs[:1]})
    for cell in engine.prepared(suite, config).run(Evaluation(suite, config)):
        one, other = cell.result, results["few", cell.result.mapping.name]
        assert one.transfer_score == pytest.approx(other.transfer_score, abs=1e-3)
        assert one.mapping.seeds == other.mapping.seeds


def test_evaluate_and_show_end_with_the_ladder(suite_file, folder):
    text = output_of("evaluate", "--suite", suite_file, "--out", folder)
    assert "0 cells computed" in text
    for shown in (text, output_of("show", folder), output_of("summary", folder, "--format", "table")):
        part = shown[shown.index("by fit tokens") :]
        assert "1,200" in part
        assert part.index("ridge") < part.index("shuffled")
    assert "area over log tokens" in output_of("summary", folder)
    rows = json.loads(output_of("summary", folder, "--format", "json"))
    assert all("transfer_score" in row for row in rows)  # lines of the ladder are no results


def test_draws_beyond_the_text_are_one_line_before_anything_is_read(suite_file, tmp_path):
    text = tmp_path / "short.txt"
    text.write_text(
        "\n\n".join(f"Story {n}. The dog barks at the boat, and the cat sleeps." for n in range(150))
    )
    line = error_of(
        "evaluate", "--suite", suite_file, "--corpus", text, "--pair", "many", "--out", tmp_path / "out"
    )
    assert "too little text for 3 draws of 1200 fit tokens" in line
    assert "give fewer draws or fit_tokens, or more documents" in line
    assert not list((tmp_path / "out").rglob("*.json"))
