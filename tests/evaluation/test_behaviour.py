"""Behaviour of whole runs: known answers, controls, a plain script, scores that it leaves alone."""

from __future__ import annotations

import copy
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_behaviour import concept_vector, plain_divergences, tokenized

from lrt_bench.data.suites import BehaviourSpec, PairSpec, find_suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.behaviour import BehaviourReferences
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.files.resources import TASKS
from lrt_bench.models.loading import Models
from lrt_bench.results.metrics import MIN_CEILING
from lrt_bench.results.schema.behaviour import ratio
from lrt_bench.steering.sweep import unit

pytestmark = pytest.mark.slow  # whole runs

ROTATED = PairSpec(
    name="rotated", source="nano/S", source_layer=2, target="planted-rotation:nano/S", target_layer=2
)
EARLY = PairSpec(name="early", source="nano/S", source_layer=3, target="nano/L", target_layer=2)
MIDDLE = PairSpec(name="middle", source="nano/S", source_layer=2, target="nano/L", target_layer=3)
FIXED = """
import numpy, torch
from lrt_bench.mappings import LinearMapping
class Fixed(LinearMapping):
    "A matrix that is known beforehand."
    def solve(self, states):
        return torch.from_numpy(numpy.load({path!r}))
"""


def small(pairs, tasks, behaviour):
    suite = find_suite("nano")
    corpus = suite.corpus.model_copy(
        update={"fit_tokens": 4000, "validation_tokens": 600, "sample_tokens": 2000}
    )
    return suite.model_copy(
        update={
            "name": "small", "pairs": pairs, "tasks": tasks, "behaviour": behaviour, "corpus": corpus,
            "bootstrap": 200, "over_steering": (), "alphas": (-0.5, 0.0, 0.5),
        }
    )  # fmt: skip


def run(suite, out, mappings):
    cells = Evaluation(suite, RunConfig(out=out, mappings=mappings)).run()
    return {(cell.result.pair.name, cell.result.mapping.name): cell.result for cell in cells}


@pytest.fixture(scope="module")
def rotated(tmp_path_factory):
    suite = small(
        (ROTATED,), ("sentiment", "person", "topic-dogs"), BehaviourSpec(tokens=4, without_readout=True)
    )
    scored = run(suite, tmp_path_factory.mktemp("rotated"), ("affine", "ridge", "orthogonal"))
    return {name: result for (_, name), result in scored.items()}


def test_a_planted_pair_behaves_as_known(rotated):
    for name in ("affine", "ridge", "orthogonal", "native", "native-split"):
        assert rotated[name].transfer_score == pytest.approx(100, abs=0.1), name
    assert rotated["none"].transfer_score == 0
    assert rotated["none"].ci95_these_tasks == (0, 0)
    for name in ("random", "shuffled"):
        assert rotated[name].transfer_score <= 2, name
    # two of three concepts are taken for each other's: what they have in common counts
    assert rotated["other-concept"].transfer_score <= 40
    record = rotated["affine"].behaviour
    assert len(rotated["affine"].not_steerable) < 3
    assert record.unit.nats == 0.5
    assert record.unit.interval[0] < record.unit.length < record.unit.interval[1]


def test_the_record_holds_what_its_figures_are_made_of(rotated):
    for name, result in rotated.items():
        shares = []
        for task in result.tasks:
            row, native, ceiling = (np.array(v) for v in (task.error, task.energy, task.split_error))
            assert row.shape == (len(row), task.prompts)
            assert task.split_energy == task.energy
            assert task.share == pytest.approx(1 - row.mean(0).sum() / native.sum(), abs=1e-6)
            assert task.ceiling_share == pytest.approx(1 - ceiling.sum() / native.sum(), abs=1e-6)
            assert task.steerable == (task.task not in result.not_steerable)
            if task.steerable:
                assert task.native_effect[0] > 0
                shares.append(min(max(task.share / max(task.ceiling_share, MIN_CEILING), -1), 1))
        assert result.transfer_score == pytest.approx(100 * np.mean(shares), abs=1e-4), name
        assert result.ci95[0] <= result.ci95_these_tasks[0] <= result.transfer_score, name
        assert [task.task for task in result.behaviour.tasks] == [task.task for task in result.tasks]


def test_the_readout_is_set_apart(rotated):
    result = rotated["readout"]
    assert result.transfer_score == pytest.approx(result.behaviour.readout_score, abs=1e-6)
    for task, beside in zip(result.tasks, result.behaviour.tasks, strict=True):
        assert beside.readout_share == pytest.approx(task.share)
        assert abs(beside.without_readout) < 1e-6  # nothing is left of it
        assert beside.without_readout_ceiling > 0.2 or not task.steerable
    for task in rotated["affine"].behaviour.tasks:
        assert task.without_readout == pytest.approx(task.without_readout_ceiling, abs=1e-4)
    assert result.behaviour.unembedding_score is None  # the unembeddings of a planted pair are its true map
    assert rotated["unembedding"].transfer_score == 0  # so the row steers with nothing there


def test_the_unembeddings_map_is_a_row_where_there_is_one(tmp_path):
    suite = small((EARLY,), ("sentiment", "person"), BehaviourSpec(tokens=4, splits=2))
    scored = run(suite, tmp_path, ("ridge",))
    row = scored["early", "unembedding"]
    assert row.transfer_score == pytest.approx(row.behaviour.unembedding_score, abs=1e-6)
    assert row.mapping.control
    assert (row.mapping.parameters, row.cost.fit_tokens) == (0, 0)
    for task, beside in zip(row.tasks, row.behaviour.tasks, strict=True):
        assert beside.unembedding_share == pytest.approx(task.share)


def test_steering_r2_is_what_it_is_without_it(tmp_path):
    tasks = ("sentiment", "person")
    with_it = run(small((ROTATED,), tasks, BehaviourSpec(tokens=2, splits=1)), tmp_path / "a", ("ridge",))
    without = run(small((ROTATED,), tasks, None), tmp_path / "b", ("ridge",))
    for key, result in without.items():
        assert result.behaviour is None
        assert (result.metric, with_it[key].metric) == ("steering R2", "behaviour share")
        for one, other in zip(with_it[key].tasks, result.tasks, strict=True):
            assert one.steering_r2 == other.steering_r2
            assert one.curve == other.curve
            assert other.share is None
        assert with_it[key].suite_digest != result.suite_digest


def references_of(pair, tasks, tmp_path, seed=0):
    suite = small((pair,), tasks, BehaviourSpec(tokens=4, splits=2))
    evaluation = Evaluation(suite, RunConfig(out=tmp_path, mappings=("ridge",), seed=seed))
    return evaluation.job(pair, Models(), [find_task(name) for name in tasks], evaluation.rows()).bench


def score_of(bench, vectors):
    """Scores of rows on a bench: {task: [v, groups, d]} -> [v]."""
    references = bench.behaviour
    shares = []
    for task in bench.choice_sweep.tasks:
        reference = references.of(task)
        ceiling = ratio(reference.ceiling[None], reference.native)
        rows = references.per_prompt(reference.whole.divergence(vectors[task.name]))
        shares.append([ratio(row[None], reference.native) / ceiling for row in rows])
    return 100 * np.clip(shares, -1, 1).mean(0)


def test_degraded_vectors_are_ranked_as_they_are_degraded_and_chance_is_never_above(tmp_path):
    tasks = ("sentiment", "person", "topic-dogs")
    bench = references_of(EARLY, tasks, tmp_path)
    assert isinstance(bench.behaviour, BehaviourReferences)
    generator = torch.Generator().manual_seed(5)
    noise = {}
    for task in bench.choice_sweep.tasks:
        own = unit(bench.behaviour.own_halves(task))
        drawn = torch.randn(4, 1, own.shape[1], generator=generator)
        noise[task.name] = own, unit(drawn - (drawn * own).sum(-1, keepdim=True) * own)
    scores = [
        score_of(bench, {name: c * own + (1 - c**2) ** 0.5 * rest for name, (own, rest) in noise.items()})
        for c in (0.9, 0.7, 0.5, 0.3)
    ]
    for better, worse in itertools.pairwise(scores):
        difference = better - worse
        assert difference.mean() > 2 * difference.std(ddof=1) / 2  # two standard errors of four draws
    random = {
        name: unit(torch.randn(160, 1, 192, generator=generator)).expand(-1, bench.behaviour.groups, -1)
        for name in tasks
    }
    by_seed = score_of(bench, random).reshape(20, 8).mean(1)  # eight directions a seed, as the control has
    assert by_seed.max() <= 2


@pytest.fixture
def tiny_task(tmp_path):
    """Sentiment with eight pairs and four prompts: a plain script has the time for it."""
    folder = tmp_path / "tiny"
    shutil.copytree(TASKS / "sentiment", folder)
    for name, count in (("vector", 8), ("score", 4)):
        lines = (TASKS / "sentiment" / f"{name}.jsonl").read_text().splitlines()
        chosen = lines[:count]
        if name == "score":  # options stay balanced: each of the four as often as in the whole
            chosen = list({json.loads(line)["positive"]: line for line in lines}.values())
        (folder / f"{name}.jsonl").write_text("\n".join(chosen) + "\n")
    return folder


@pytest.mark.parametrize("pair", [EARLY, MIDDLE], ids=lambda pair: pair.name)
def test_a_run_has_the_plain_scripts_share(nano, tiny_task, tmp_path, pair):
    task, source, target = find_task(str(tiny_task)), nano("S"), nano("L")
    # in float64, so that the difference is this program's rounding alone, whatever a processor's
    exact_source, exact = (copy.deepcopy(model.module).double() for model in (source, target))
    halves = [[i for i in range(8) if i // 2 % 2 == which] for which in (0, 1)]
    of_source, of_target = (
        [concept_vector(module, source.tokenizer, task.vector, layer, half) for half in halves]
        for module, layer in ((exact_source, pair.source_layer), (exact, pair.target_layer))
    )
    # a map that carries each half's vector to its native one and as much noise: a share between 0 and 1
    noise = np.random.default_rng(3).normal(size=(2, 192))
    noise *= np.linalg.norm(of_target, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    weight = (np.array(of_target) + noise).T @ np.linalg.pinv(np.array(of_source).T)
    np.save(tmp_path / "weight.npy", weight)
    (tmp_path / "fixed.py").write_text(FIXED.format(path=str(tmp_path / "weight.npy")))
    spec = BehaviourSpec(tokens=3, splits=1)
    suite = small((pair,), (str(tiny_task),), spec)
    results = run(suite, tmp_path / "out", (f"{tmp_path / 'fixed.py'}:Fixed",))
    [result] = [result for result in results.values() if not result.mapping.control]
    record = result.behaviour
    # group 0: the row from half 0, native from half 1; group 1 the other way round
    carried, native = [weight @ own for own in of_source], of_target[::-1]
    row, whole = np.zeros(len(task.choices)), np.zeros(len(task.choices))
    lengths = [alpha * record.unit.length for alpha in spec.alphas]
    for p, choice in enumerate(task.choices):
        sides = plain_divergences(
            exact, target.tokenizer, [tokenized(target.tokenizer, choice.prompt)],
            pair.target_layer, native[p % 2], carried[p % 2], lengths, spec.tokens, record.divergence,
        )  # fmt: skip
        row[p], whole[p] = (
            (spec.first * part[..., 0] + (1 - spec.first) * part[..., 1:].mean(-1)).sum() for part in sides
        )
    assert result.tasks[0].share == pytest.approx(1 - row.sum() / whole.sum(), abs=1e-5)
    assert 0.1 < result.tasks[0].share < 0.9
    np.testing.assert_allclose(result.tasks[0].energy, whole, rtol=1e-3, atol=1e-7)


def test_prompts_that_leave_no_room_are_said(tmp_path):
    bench = references_of(ROTATED, ("sentiment",), tmp_path)
    longest = max(len(row.ids) for row in bench.choice_sweep.of(bench.choice_sweep.tasks[0]).encoded)
    bench.target.model.context = longest  # the prompts fit, what is written after them does not
    crowded = replace(bench.behaviour, spec=BehaviourSpec(tokens=longest))
    with pytest.raises(UserError, match=rf"behaviour.tokens {longest}: no prompt of sentiment leaves room"):
        crowded.of(bench.choice_sweep.tasks[0])


def test_a_suite_that_asks_for_fewer_prompts_and_texts_reads_no_others(tmp_path):
    spec = BehaviourSpec(splits=1, tokens=2, prompts=4, directions=16, neutral_tokens=32)
    whole = small((ROTATED,), ("person", "fidelity"), spec)
    few = whole.model_copy(update={"prompts": 6, "contrasts": 8})
    assert few.digest != whole.digest
    results = run(few, tmp_path / "few", ("ridge",))
    task = results["rotated", "ridge"].tasks[0]
    assert (task.prompts, task.failures) == (4, 0)
    assert results["rotated", "ridge"].behaviour.unit.directions == 16
    assert results["rotated", "ridge"].behaviour.unit.tokens == 32
    # a folder with the first pairs and evenly spaced prompts alone is the same task
    folder = tmp_path / "tasks" / "person"
    shutil.copytree(TASKS / "person", folder)
    score = (folder / "score.jsonl").read_text().splitlines(keepends=True)
    (folder / "score.jsonl").write_text("".join(score[place * len(score) // 6] for place in range(6)))
    pairs = (folder / "vector.jsonl").read_text().splitlines(keepends=True)
    (folder / "vector.jsonl").write_text("".join(pairs[:8]))
    cut = whole.model_copy(update={"tasks": (str(folder), "fidelity")})
    again = run(cut, tmp_path / "cut", ("ridge",))["rotated", "ridge"].tasks[0]
    assert again.steering_r2 == pytest.approx(task.steering_r2, abs=1e-6)
    assert again.share == pytest.approx(task.share, abs=1e-6)
    assert again.curve == pytest.approx(task.curve, abs=1e-4)


@pytest.mark.parametrize("field", ["prompts", "contrasts"])
def test_a_limit_that_is_not_given_changes_no_digest(field):
    suite = find_suite("nano")
    assert field not in suite.model_dump(exclude_none=True)
    assert suite.model_copy(update={field: 8}).digest != suite.digest
    assert suite.model_copy(update={field: None}).digest == suite.digest
