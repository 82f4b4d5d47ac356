"""How the built-in concepts transfer on a pair: what a forecast of another concept's vector leans on.

A forecast wants less than an evaluation: fewer prompts and alphas, and several maps in one sweep. On the
embedded family these figures and those of the whole evaluation rank concepts alike (`forecast_check`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec, Suite, default_suite, find_suite
from lrt_bench.data.tasks import ChoicePrompt, ChoiceTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.states import ReceivedStates
from lrt_bench.files.cache.recall import recall
from lrt_bench.mappings import LinearMapping
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.models.states import PairedStates
from lrt_bench.results.metrics import Array, is_steerable, slopes, steering_r2
from lrt_bench.steering.sweep import Sweep

ALPHAS = (-0.5, -0.25, 0.0, 0.25, 0.5)
PROMPTS = 24  # of a task's scored prompts; every option is positive equally often
TRANSFERS = 0.5  # from this steering R2 on a concept counts as transferred


@dataclass(frozen=True)
class KnownConcept:
    """A built-in concept on this pair.

    steering_r2 : of its transferred vector against its native one.
    random_r2 : the best of the random directions, each both ways.
    steerable : whether its native vector's effect is clear of theirs; if not, it says nothing of transfer.
    """

    task: str
    concept: str
    steering_r2: float
    random_r2: float
    steerable: bool

    @property
    def transfers(self) -> bool:
        """Whether it counts as transferred: steerable, high, and above every random direction."""
        return self.steerable and self.steering_r2 >= TRANSFERS and self.steering_r2 > self.random_r2


def few(prompts: Sequence[ChoicePrompt]) -> list[ChoicePrompt]:
    """Return the first PROMPTS prompts, as many of each positive option."""
    options = {prompt.positive for prompt in prompts}
    room = dict.fromkeys(options, max(1, PROMPTS // max(len(options), 1)))
    seen: Counter[str] = Counter()
    kept = []
    for prompt in prompts:
        seen[prompt.positive] += 1
        if seen[prompt.positive] <= room[prompt.positive]:
            kept.append(prompt)
    return kept


def known_suite(source: str, target: str) -> Suite:
    """Return the suite of known concepts: the embedded family's for its members, else everyday ones."""
    name = default_suite(source, target)
    return find_suite("nano-full" if name == "nano" else name)


def bench_of(
    source: Site,
    target: Site,
    states: PairedStates,
    tasks: Sequence[ChoiceTask] = (),
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> PairBench:
    """Return a bench of two sites whose states are there already, with the known concepts as its tasks."""
    pair = PairSpec(
        name="forecast",
        source=source.model.name,
        source_layer=source.layer,
        target=target.model.name,
        target_layer=target.layer,
    )
    suite = known_suite(source.model.name, target.model.name)
    handed_in = ReceivedStates(received=(states,))
    chosen = list(tasks) or suite.tasks_of(pair)
    return PairBench(suite, pair, source, target, chosen, handed_in, seed, batch_size)


def known_concepts(bench: PairBench, mappings: Sequence[LinearMapping]) -> list[list[KnownConcept]]:
    """Every concept that both models can read and score, under every map: [maps][concepts]."""
    directions = bench.random_directions()
    by_map: list[list[KnownConcept]] = [[] for _ in mappings]
    for task in bench.inputs.of_kind(ChoiceTask):
        if len(bench.inputs.contrasts(task)) < 2:
            continue
        vector = bench.inputs.source_states(task).vector.double()
        moved = torch.stack([(mapping.weight @ vector).float() for mapping in mappings])
        native = bench.inputs.target_states(task).vector[None]
        m = _swept(bench, task, torch.cat([native, directions, -directions, moved]))
        if not m.shape[1]:
            continue
        for concepts, concept in zip(by_map, _measured(bench, task, m, moved, directions), strict=True):
            concepts.append(concept)
    return by_map


def _swept(bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Array:
    """Propensities of a few of a task's prompts [v, prompts, ALPHAS], none where none can be scored.

    They are kept: another vector's forecast on the pair leans on the same ones.
    """
    prompts, rows = few(task.choices), 2 * bench.batch_size

    def swept() -> dict[str, Tensor]:
        sweep = Sweep(bench.target, prompts, ALPHAS, bench.spread, rows)
        return {"propensities": sweep.run(vectors)}

    texts = [[row.instruction, row.prompt, row.positive, row.negative] for row in prompts]
    parts = [computed_by(bench.target), texts, list(ALPHAS), bench.spread, rows, vectors]
    return np.asarray(recall("known", parts, swept)["propensities"].double().numpy())


def _measured(
    bench: PairBench, task: ChoiceTask, m: Array, moved: Tensor, directions: Tensor
) -> list[KnownConcept]:
    """One concept under its transferred vectors [maps, d_target], from the propensities of all vectors."""
    delta = m - m[..., ALPHAS.index(0.0), None]
    slope = slopes(m, np.asarray(ALPHAS))
    chance = slice(1, 1 + len(directions))
    steerable, _ = is_steerable(slope[0], slope[chance], replicates=bench.suite.bootstrap, seed=bench.seed)
    lucky = [steering_r2(each, delta[0]) for each in delta[1 : 1 + 2 * len(directions)]]
    transferred = [steering_r2(each, delta[0]) for each in delta[-len(moved) :]]
    return [
        KnownConcept(
            task.name,
            task.concept,
            r2 if r2 is not None else 0.0,
            max((r for r in lucky if r is not None), default=0.0),
            steerable and r2 is not None,
        )
        for r2 in transferred
    ]
