"""Behaviour of whole runs: known answers, controls, a plain script, scores that it leaves alone."""

from __future__ import annotations

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
import torch
from lrt_bench.mappings import LinearMapping
class Fixed(LinearMapping):
    "A matrix that is known beforehand."
    def solve(self, states):
        return torch.randn(192, 96, generator=torch.Generator().manual_seed(3)).double()
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
        assert rotated[name].behaviour.score == pytest.approx(100, abs=0.1), name
    assert rotated["none"].behaviour.score == 0
    assert rotated["none"].behaviour.ci95 == (0, 0)
    for name in ("random", "shuffled"):
        assert rotated[name].behaviour.score <= 2, name
    # two of three concepts are taken for each other's: what they have in common counts
    assert rotated["other-concept"].behaviour.score <= 40
    record = rotated["affine"].behaviour
    assert len(record.not_clear) < 3
    assert record.unit.nats == 0.5
    assert record.unit.interval[0] < record.unit.length < record.unit.interval[1]


def test_the_record_holds_what_its_figures_are_made_of(rotated):
    for name, result in rotated.items():
        record = result.behaviour
        shares = []
        for task in record.tasks:
            row, native, ceiling = (np.array(v) for v in (task.divergence, task.native, task.ceiling))
            assert row.shape == (len(row), task.prompts)
            assert task.share == pytest.approx(1 - row.mean(0).sum() / native.sum(), abs=1e-6)
            assert task.ceiling_share == pytest.approx(1 - ceiling.sum() / native.sum(), abs=1e-6)
            if task.clear:
                shares.append(min(max(task.share / max(task.ceiling_share, MIN_CEILING), -1), 1))
        assert record.score == pytest.approx(100 * np.mean(shares), abs=1e-4), name
        assert len(record.tasks[0].divergence) == (8 if name == "random" else len(row))


def test_the_readout_is_set_apart(rotated):
    record = rotated["readout"].behaviour
    assert record.score == pytest.approx(record.readout_score, abs=1e-6)
    assert all(task.readout_share == pytest.approx(task.share) for task in record.tasks)
    for task in record.tasks:
        assert abs(task.without_readout) < 1e-6  # nothing is left of it
        assert task.without_readout_ceiling > 0.2 or not task.clear
    for task in rotated["affine"].behaviour.tasks:
        assert task.without_readout == pytest.approx(task.without_readout_ceiling, abs=1e-4)
    assert record.unembedding_score is None  # the unembeddings of a planted pair are its true map


def test_scores_are_what_they_are_without_it(tmp_path):
    tasks = ("sentiment", "person")
    with_it = run(small((ROTATED,), tasks, BehaviourSpec(tokens=2, splits=1)), tmp_path / "a", ("ridge",))
    without = run(small((ROTATED,), tasks, None), tmp_path / "b", ("ridge",))
    for key, result in without.items():
        assert result.behaviour is None
        assert all(task.without_readout is None for task in with_it[key].behaviour.tasks)  # not asked for
        assert with_it[key].tasks == result.tasks
        assert with_it[key].transfer_score == result.transfer_score
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
    (tmp_path / "fixed.py").write_text(FIXED)
    spec = BehaviourSpec(tokens=3, splits=1)
    suite = small((pair,), (str(tiny_task),), spec)
    results = run(suite, tmp_path / "out", (f"{tmp_path / 'fixed.py'}:Fixed",))
    [record] = [result.behaviour for (_, name), result in results.items() if not result.mapping.control]
    task = find_task(str(tiny_task))
    weight = torch.randn(192, 96, generator=torch.Generator().manual_seed(3)).double().numpy()
    source, target = nano("S"), nano("L")
    halves = [[i for i in range(8) if i // 2 % 2 == which] for which in (0, 1)]
    carried, native = [], []
    for which in (0, 1):  # group 0: the row from half 0, native from half 1; group 1 the other way round
        own = concept_vector(source.module, source.tokenizer, task.vector, pair.source_layer, halves[which])
        carried.append(weight @ own)
        native.append(
            concept_vector(target.module, target.tokenizer, task.vector, pair.target_layer, halves[1 - which])
        )
    row, whole = np.zeros(len(task.choices)), np.zeros(len(task.choices))
    lengths = [alpha * record.unit.length for alpha in spec.alphas]
    for p, choice in enumerate(task.choices):
        sides = plain_divergences(
            target.module, target.tokenizer, [tokenized(target.tokenizer, choice.prompt)],
            pair.target_layer, native[p % 2], carried[p % 2], lengths, spec.tokens, record.divergence,
        )  # fmt: skip
        row[p], whole[p] = (
            (spec.first * part[..., 0] + (1 - spec.first) * part[..., 1:].mean(-1)).sum() for part in sides
        )
    assert record.tasks[0].share == pytest.approx(1 - row.sum() / whole.sum(), abs=1e-5)
    np.testing.assert_allclose(record.tasks[0].native, whole, rtol=1e-3, atol=1e-7)


def test_prompts_that_leave_no_room_are_said(tmp_path):
    bench = references_of(ROTATED, ("sentiment",), tmp_path)
    longest = max(len(row.ids) for row in bench.choice_sweep.of(bench.choice_sweep.tasks[0]).encoded)
    bench.target.model.context = longest  # the prompts fit, what is written after them does not
    crowded = replace(bench.behaviour, spec=BehaviourSpec(tokens=longest))
    with pytest.raises(UserError, match=rf"behaviour.tokens {longest}: no prompt of sentiment leaves room"):
        crowded.of(bench.choice_sweep.tasks[0])
