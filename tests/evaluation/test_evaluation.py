"""The main job: known answers, repeatable numbers, resumed runs, strangers' models."""

from __future__ import annotations

import gc
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import COMMAND, run_process

from lrt_bench.data.suites import PairSpec, ad_hoc, find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import Local
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.results.ranking import ranked
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.storage import read_propensities, read_result

pytestmark = pytest.mark.slow  # whole runs


def results(out: Path) -> dict:
    return {path.stem: read_result(path) for path in sorted(out.rglob("*.json"))}


def numbers(out: Path) -> dict:
    """What two runs must agree on: everything but time, memory and date."""
    return {name: r.model_dump(exclude={"cost", "provenance"}) for name, r in results(out).items()}


def test_planted_rotation_is_scored_as_known(small_run):
    scored = results(small_run)
    for name in ("affine", "ridge", "orthogonal"):
        assert scored[name].transfer_score >= 99.5, name
        assert scored[name].fidelity.fvu < 1e-3
        assert abs(scored[name].fidelity.added_cross_entropy) < 1e-2
        assert all(task.cosine > 0.999 for task in scored[name].tasks)
    assert scored["native"].transfer_score == 100
    assert scored["native-split"].transfer_score == pytest.approx(100)
    assert scored["none"].transfer_score == 0
    assert scored["none"].ci95 == (0, 0)
    assert scored["random"].transfer_score <= 5
    assert scored["shuffled"].transfer_score < 50  # two shuffles of 2,000 states, three tasks: much is luck


def test_every_row_carries_what_it_is_judged_by(small_run):
    scored = results(small_run)
    names = {"native", "native-split", "random", "none", "shuffled", "other-concept", "readout",
             "unembedding"}  # fmt: skip
    assert names == {name for name, r in scored.items() if r.mapping.control}
    assert scored["affine"].mapping.rule == "A v"
    assert scored["mlp"].mapping.rule == "difference of mapped means"
    assert scored["mlp"].mapping.seeds == 2
    assert all(len(task.error) == 2 for task in scored["mlp"].tasks)
    for result in scored.values():
        for task in result.tasks:
            assert task.prompts == len(task.energy) > 0
            over = 2 if result.mapping.name in ("native", "native-split") or not result.mapping.control else 0
            assert len(task.curve) == len(task.curve_alphas) == 7 + over


def test_the_stored_figures_follow_from_the_stored_propensities(small_run):
    """Re-derived by a plain loop from the sidecars of the row, the native row and the split row."""
    folder = small_run / "small" / "rotated"
    scored = results(small_run)
    raw = {n: read_propensities(folder / f"{n}.json", scored[n]) for n in ("mlp", "native", "native-split")}
    shares = []
    for figures in scored["mlp"].tasks:
        m_t, m_n = (raw[n][figures.task].double().numpy()[..., :7] for n in ("mlp", "native"))
        halves = raw["native-split"][figures.task].double().numpy()[..., :7]
        error = energy = split_error = split_energy = 0.0
        for i in range(m_n.shape[1]):
            for a in range(7):
                d_n = m_n[0, i, a] - m_n[0, i, 3]
                energy += d_n**2
                error += sum((m_t[s, i, a] - m_t[s, i, 3] - d_n) ** 2 for s in range(2)) / 2
                d_a, d_b = (halves[h, i, a] - halves[h, i, 3] for h in range(2))
                split_error += (d_a - d_b) ** 2
                split_energy += d_b**2
        assert figures.steering_r2 == pytest.approx(1 - error / energy, abs=1e-6)
        assert figures.ceiling_r2 == pytest.approx(1 - split_error / split_energy, abs=1e-6)
        if figures.steerable:
            shares.append(min(1, max(-1, (1 - error / energy) / (1 - split_error / split_energy))))
    assert scored["mlp"].transfer_score == pytest.approx(100 * np.mean(shares), abs=1e-6)


@pytest.mark.slow
def test_two_runs_with_one_seed_agree_exactly(small_run, small_suite, tmp_path):
    Evaluation(find_suite(str(small_suite)), RunConfig(out=tmp_path)).run()
    assert numbers(tmp_path) == numbers(small_run)


@pytest.mark.slow
def test_batch_size_and_threads_move_no_score(small_run, small_suite, tmp_path):
    options = ["--batch-size", "5", "--mapping", "ridge", "--mapping", "mlp", "--out", tmp_path]
    done = run_process("evaluate", "--suite", small_suite, *options, OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    before = results(small_run)
    after = results(tmp_path)
    assert {"ridge", "mlp", "native"} <= after.keys()
    for name, result in after.items():
        assert abs(result.transfer_score - before[name].transfer_score) < 0.05, name


@pytest.mark.slow
def test_finished_cells_are_not_computed_again(small_suite, tmp_path):
    def evaluation(**changes):
        return Evaluation(
            find_suite(str(small_suite)), RunConfig(mappings=["affine"], out=tmp_path, **changes)
        )

    assert all(cell.computed for cell in evaluation().run())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert not any(cell.computed for cell in evaluation().run())
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    (tmp_path / "small" / "rotated" / "affine.json").unlink()
    (tmp_path / "small" / "rotated" / "native.safetensors").unlink()
    again = {cell.result.mapping.name for cell in evaluation().run() if cell.computed}
    assert again == {"affine", "native"}
    assert all(cell.computed for cell in evaluation(seed=1).run())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(small_run, small_suite, tmp_path, how):
    command = [*COMMAND, "evaluate", "--suite", str(small_suite)]
    process = subprocess.Popen([*command, "--out", str(tmp_path)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not list(tmp_path.rglob("none.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(how)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert b"Traceback" not in errors
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert 0 < len(finished) < 11
    if how == signal.SIGINT:
        assert not list(tmp_path.rglob(".*.json*"))
    Evaluation(find_suite(str(small_suite)), RunConfig(out=tmp_path)).run()
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert numbers(tmp_path) == numbers(small_run)


def test_ranking_reads_the_results_alone(small_run):
    rows = ranked(list(results(small_run).values()))
    assert [row.rank for row in rows if row.result.mapping.control] == [None] * 8
    places = {row.result.mapping.name: row for row in rows if not row.result.mapping.control}
    assert places["affine"].rank == places["ridge"].rank == 1
    assert places["affine"].tied
    result = places["mlp"].result
    samples = {t.task: TaskSample.of_errors(t.errors) for t in result.tasks if t.steerable}
    assert result.ci95 == pytest.approx(inference.new_concepts(samples), abs=1e-6)
    assert result.ci95_these_tasks == pytest.approx(inference.these_tasks(samples, replicates=200), abs=1e-6)


def test_a_result_on_fewer_tasks_is_incomplete_and_not_ranked(small_suite, tmp_path):
    cells = Evaluation(
        find_suite(str(small_suite)), RunConfig(mappings=["affine"], tasks=["person"], out=tmp_path)
    ).run()
    assert len(cells) > 1
    assert not any(cell.result.complete for cell in cells)
    assert all(row.rank is None for row in ranked([cell.result for cell in cells]))


@pytest.mark.parametrize(("source", "target"), [("qwen2", "gpt_neox"), ("gpt2", "gemma2")])
def test_strangers_models_are_scored(random_folder, small_suite, tmp_path, source, target):
    """Random models of other architectures and a wider vocabulary: nothing to win, nothing to break."""
    suite = find_suite(str(small_suite))
    suite = ad_hoc(suite, str(random_folder(source)), None, str(random_folder(target)), 3)
    cells = Evaluation(suite, RunConfig(mappings=["ridge", "orthogonal"], out=tmp_path)).run()
    assert {"ridge", "orthogonal", "native"} <= {cell.result.mapping.name for cell in cells}
    for cell in cells:
        assert cell.result.pair.target.layer == 3
        assert cell.result.pair.source.layer == 3  # 70% of four
        assert cell.result.pair.source_coverage == 1
        score = cell.result.transfer_score
        assert score is None or -100 <= score <= 100


def test_where_native_steering_does_nothing_there_is_no_score(small_suite, tmp_path):
    """A task whose contrast is no concept at all is listed as not steerable, never scored."""
    import json
    import random

    folder = tmp_path / "empty-concept"
    folder.mkdir()
    (folder / "task.yaml").write_text(
        "{name: empty-concept, version: 1, kind: choice, description: nothing, metric: steering_r2, "
        "source: test, licence: CC0-1.0, concept: nothing}"
    )
    rng = random.Random(0)
    nouns = ["dog", "ship", "star", "song", "soup", "tree", "bus", "ball"]

    def sentence():
        return f"She saw the {rng.choice(nouns)} and the {rng.choice(nouns)} and the {rng.choice(nouns)}."

    pairs = [{"positive": f"{i}. {sentence()}", "negative": f"{i}! {sentence()}"} for i in range(16)]
    for pair in pairs[::2]:
        pair["positive"], pair["negative"] = pair["negative"], pair["positive"]
    (folder / "vector.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    scored = [
        {"prompt": f"{i} {sentence()}", "positive": a, "negative": b}
        for i in range(24)
        for a, b in ((" The", " It"), (" It", " The"))
    ]
    for i, row in enumerate(scored):
        row["prompt"] = f"{i} " + row["prompt"]
    (folder / "score.jsonl").write_text("\n".join(map(json.dumps, scored)))
    cells = Evaluation(
        find_suite(str(small_suite)), RunConfig(mappings=["ridge"], tasks=[str(folder)], out=tmp_path / "r")
    ).run()
    for cell in cells:
        assert cell.result.transfer_score is None
        assert cell.result.ci95 is None
        assert cell.result.not_steerable == ("empty-concept",)


def small(small_suite, **changes):
    return find_suite(str(small_suite)).model_copy(update=changes)


def test_a_changed_corpus_is_computed_anew(small_suite, tmp_path):
    """The key follows the text, not only the file's name."""
    from lrt_bench.data.suites import narrowed
    from lrt_bench.nano.grammar import documents

    text = tmp_path / "text.txt"

    def run():
        suite = narrowed(find_suite(str(small_suite)), corpus=str(text))
        cells = Evaluation(
            suite, RunConfig(mappings=["affine"], tasks=["person"], out=tmp_path / "out")
        ).run()
        return {cell.result.mapping.name: cell for cell in cells}

    text.write_text("\n\n".join(documents(31, 120)))
    assert run()["affine"].computed
    assert not run()["affine"].computed
    text.write_text("\n\n".join(documents(32, 120)))
    again = run()
    assert again["affine"].computed
    assert again["native"].computed


def test_a_method_that_spoils_its_states_spoils_no_other_row(small_run, small_suite, tmp_path):
    path = tmp_path / "greedy.py"
    path.write_text(
        "import torch\n"
        "from lrt_bench.mappings.affine import Affine\n"
        "class Greedy(Affine):\n"
        "    def fit(self, states):\n"
        "        states.moments.s_xx.diagonal().add_(1e9)\n"
        "        states.validation[0].zero_()\n"
        "        super().fit(states)\n"
    )
    Evaluation(
        small(small_suite), RunConfig(mappings=[f"{path}:Greedy", "ridge"], out=tmp_path / "out")
    ).run()
    before, after = results(small_run), results(tmp_path / "out")
    assert after["ridge"].transfer_score == before["ridge"].transfer_score
    assert after["greedy.Greedy"].fidelity.fvu > 0.5


def test_a_method_that_draws_from_the_global_generators_is_repeatable(small_suite, tmp_path):
    path = tmp_path / "drawn.py"
    path.write_text(
        "import numpy as np, torch\n"
        "from lrt_bench import LinearMapping\n"
        "class Drawn(LinearMapping):\n"
        "    def solve(self, states):\n"
        "        return torch.randn(96, 96).double() + torch.from_numpy(np.random.randn(96, 96))\n"
    )
    scores = []
    for name in ("a", "b"):
        cells = Evaluation(
            small(small_suite), RunConfig(mappings=[f"{path}:Drawn"], out=tmp_path / name)
        ).run()
        scores.append(cells[-1].result.transfer_score)
    assert scores[0] == scores[1]


def test_tasks_of_one_name_are_refused(small_suite, tmp_path):
    from lrt_bench.errors import UserError

    with pytest.raises(UserError, match="two tasks are named person"):
        Evaluation(small(small_suite), RunConfig(tasks=["person", "person"], out=tmp_path)).run()


def test_all_tasks_by_name_make_a_complete_result(small_suite, tmp_path):
    suite = small(small_suite)
    cells = Evaluation(suite, RunConfig(mappings=["affine"], tasks=list(suite.tasks), out=tmp_path)).run()
    assert all(cell.result.complete for cell in cells)


def test_shuffled_shows_a_leak(small_suite, tmp_path, monkeypatch):
    """Were the pairing not destroyed, the control would say so."""
    from lrt_bench.models.states import PairedStates

    monkeypatch.setattr(PairedStates, "shuffled", lambda self, seed: self.moments)
    cells = Evaluation(small(small_suite), RunConfig(mappings=["affine"], out=tmp_path)).run()
    scores = {cell.result.mapping.name: cell.result.transfer_score for cell in cells}
    assert scores["shuffled"] > 99


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {"mappings": ["rigde"]}, "mapping rigde: no such mapping"),
        ({}, {"tasks": ["sentimental"]}, "--task sentimental: no such task"),
        ({}, {"device": "tpu9"}, "--device tpu9"),
        ({"choose_layers": {"task": "sentiment", "depths": (0.5,)}}, {}, "sentiment is a choice task"),
    ],
)
def test_what_needs_no_model_is_told_before_one_is_loaded(change, config, message, tmp_path):
    """The models are nowhere: an error about them would mean that one was asked for first."""
    pair = PairSpec.model_validate({"name": "none", "source": "./nowhere", "target": "./nowhere"} | change)
    suite = find_suite("nano").model_copy(update={"pairs": (pair,)})
    with pytest.raises(UserError, match=message):
        Evaluation(suite, RunConfig(out=tmp_path, **config)).run()


def test_a_run_by_processes_gives_its_own_process_back_as_it_was(small_suite, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Local(workers=2).run(Evaluation(small(small_suite), RunConfig(mappings=["affine"], out=tmp_path)))
        assert torch.get_num_threads() == 2
        assert gc.isenabled()
    finally:
        torch.set_num_threads(threads)
