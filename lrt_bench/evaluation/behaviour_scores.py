"""A row's behaviour on every choice task: shares, ceilings, the readout's part, damage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.bench.behaviour import BehaviourReference, BehaviourReferences
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.protocol import DISTURBED
from lrt_bench.evaluation.rows import RandomDirections, Row
from lrt_bench.results.metrics import Array, TaskErrors
from lrt_bench.results.schema.behaviour import (
    OUTPUT_LEVEL,
    BehaviourRecord,
    DamageRecord,
    TaskBehaviour,
    control_score,
    ratio,
    slope_free_r2,
)
from lrt_bench.results.statistics.inference import GateSample, counts
from lrt_bench.steering.behaviour import Behaviour
from lrt_bench.steering.readout import without

DIVERGENCE = "hellinger"


@dataclasses.dataclass(frozen=True)
class ChoiceDeltas:
    """D of the choice sweep: the row's [seeds, prompts, alphas], native's [prompts, alphas]."""

    row: Array
    native: Array


@dataclasses.dataclass(frozen=True)
class MeasuredTask:
    """Behaviour of one row on one task.

    Attributes
    ----------
    errors
        Divergences from the natively steered model: the row's, the unsteered model's, the other half's.
    gate
        What decides whether the task counts.
    counts, effect
        Whether native is clear of chance on the task, and the interval of its lead, as a share of native's
        own divergence.
    failures
        Prompts that cannot be scored, or leave no room for what is written.
    beside
        What the result says beside the share.
    """

    errors: TaskErrors
    gate: GateSample
    counts: bool
    effect: tuple[float, float]
    failures: int
    beside: TaskBehaviour

    @property
    def scored(self) -> bool:
        """Whether the task is part of the score."""
        return self.counts and self.errors.counts


def behaviour_record(bench: PairBench, measured: Sequence[MeasuredTask]) -> BehaviourRecord | None:
    """Return how a pair's behaviour was measured; None where it is not, or no task can be scored."""
    references, spec = bench.behaviour, bench.suite.behaviour
    if references is None or spec is None or not measured:
        return None
    ceilings = {one.beside.task: one.errors.ceiling for one in measured if one.scored}
    readout = control_score(ceilings, {one.beside.task: one.beside.readout_share for one in measured})
    unembedding = control_score(ceilings, {one.beside.task: one.beside.unembedding_share for one in measured})
    return BehaviourRecord(
        divergence=DIVERGENCE,
        alphas=spec.alphas,
        tokens=spec.tokens,
        first=spec.first,
        splits=spec.splits,
        positions=spec.positions,
        unit=DamageRecord(**dataclasses.asdict(references.unit)),
        readout_score=readout,
        unembedding_score=unembedding,
        output_level=max(readout or 0.0, unembedding or 0.0) >= 100 * OUTPUT_LEVEL,
        tasks=tuple(one.beside for one in measured),
    )


def measured_tasks(
    bench: PairBench, row: Row, vectors: Vectors, deltas: Dictionary[str, ChoiceDeltas]
) -> dict[str, MeasuredTask]:
    """Measure a row's behaviour on each choice task, all at once; nothing where the suite measures none.

    vectors {task: [seeds, d_target]} are those of all pairs.
    """
    tasks = bench.choice_sweep.tasks
    if bench.behaviour is None or not tasks:
        return {}
    made = {
        task.name: RowVectors(vectors[task.name], row.half_vectors(bench, task, vectors[task.name]))
        for task in tasks
    }
    bench.behaviour.measure({name: one.halves for name, one in made.items()})
    return {task.name: _measured_task(bench, row, task, made[task.name], deltas[task.name]) for task in tasks}


@dataclasses.dataclass(frozen=True)
class RowVectors:
    """A row's vectors on a task: of all pairs [seeds, d_target], and of halves [seeds, groups, d_target]."""

    whole: Tensor
    halves: Tensor


def _measured_task(
    bench: PairBench, row: Row, task: ChoiceTask, vectors: RowVectors, deltas: ChoiceDeltas
) -> MeasuredTask:
    references = bench.behaviour
    assert references is not None
    reference, halves = references.of(task), vectors.halves
    measured = reference.whole.divergence(halves)
    bare, bare_ceiling = _without_readout(references, reference, halves)
    drawn = slice(bench.suite.random_directions) if isinstance(row, RandomDirections) else slice(None)
    alphas = np.asarray(bench.suite.alphas)
    errors = TaskErrors(
        references.per_prompt(measured), reference.native, reference.ceiling, reference.native
    )
    gate = GateSample(reference.native, reference.ceiling, reference.chance)
    clear, effect = counts(task.name, gate, seed=bench.seed)
    beside = TaskBehaviour(
        task=task.name,
        first_share=_part(measured, reference.whole, slice(1)),
        later_share=_part(measured, reference.whole, slice(1, None)),
        without_readout=bare,
        without_readout_ceiling=bare_ceiling,
        readout_share=reference.readout_share,
        unembedding_share=reference.unembedding_share,
        slope_free_r2=slope_free_r2(deltas.row[drawn], deltas.native, alphas),
        # it takes as long as a row's shares, and nobody asks what a control costs but native and chance
        damage=None if row.control and row.name not in DISTURBED else references.damage(vectors.whole),
        native_damage=reference.damage,
    )
    return MeasuredTask(errors, gate, clear, effect, reference.failures, beside)


def _without_readout(
    references: BehaviourReferences, reference: BehaviourReference, halves: Tensor
) -> tuple[float | None, float | None]:
    """Share and ceiling without the readout's direction; None for both where they are not asked for."""
    bare = reference.without_readout
    if bare is None:
        return None, None
    row = references.per_prompt(bare.behaviour.divergence(without(halves, reference.readout)))
    return ratio(row, bare.native), ratio(bare.ceiling[None], bare.native)


def _part(measured: Tensor, behaviour: Behaviour, tokens: slice) -> float | None:
    """Return the share over some of the tokens alone."""
    row, native = (side[..., tokens, 0].sum((-1, -2)).numpy() for side in (measured, behaviour.unsteered))
    return ratio(row, native)
