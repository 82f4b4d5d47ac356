"""A row's behaviour on every choice task: shares, ceilings, the readout's part, damage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping as Dictionary

import numpy as np
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.evaluation.bench.behaviour import BehaviourReference, BehaviourReferences
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.rows import RandomDirections, Row
from lrt_bench.results import metrics
from lrt_bench.results.metrics import Array
from lrt_bench.results.schema.behaviour import (
    OUTPUT_LEVEL,
    BehaviourRecord,
    DamageRecord,
    TaskBehaviour,
    behaviour_score,
    clear_of_chance,
    control_score,
    ratio,
    slope_free_r2,
)
from lrt_bench.steering.behaviour import Behaviour
from lrt_bench.steering.readout import without

DIVERGENCE = "hellinger"


@dataclasses.dataclass(frozen=True)
class ChoiceDeltas:
    """D of the choice sweep: the row's [seeds, prompts, alphas], native's [prompts, alphas]."""

    row: Array
    native: Array


def behaviour_record(
    bench: PairBench, row: Row, vectors: Vectors, deltas: Dictionary[str, ChoiceDeltas]
) -> BehaviourRecord | None:
    """Return a row's behaviour on the pair; None where it is not measured, or no task can be scored."""
    references, spec = bench.behaviour, bench.suite.behaviour
    if references is None or spec is None or not bench.choice_sweep.tasks:
        return None
    references.measure({
        task.name: row.half_vectors(bench, task, vectors[task.name]) for task in bench.choice_sweep.tasks
    })  # fmt: skip
    tasks = tuple(
        task_behaviour(bench, row, task, vectors[task.name], deltas[task.name])
        for task in bench.choice_sweep.tasks
    )
    readout = control_score(tasks, {task.task: task.readout_share for task in tasks})
    unembedding = control_score(tasks, {task.task: task.unembedding_share for task in tasks})
    errors = {task.task: task.errors for task in tasks if task.clear}
    samples = metrics.bootstrap_scores({row.name: errors}, replicates=bench.suite.bootstrap, seed=bench.seed)
    return BehaviourRecord(
        divergence=DIVERGENCE,
        alphas=spec.alphas,
        tokens=spec.tokens,
        first=spec.first,
        splits=spec.splits,
        positions=spec.positions,
        unit=DamageRecord(**dataclasses.asdict(references.unit)),
        score=behaviour_score(tasks),
        ci95=metrics.interval(samples[row.name]) if errors else None,
        not_clear=tuple(task.task for task in tasks if not task.clear),
        readout_score=readout,
        unembedding_score=unembedding,
        output_level=max(readout or 0.0, unembedding or 0.0) >= 100 * OUTPUT_LEVEL,
        tasks=tasks,
    )


def task_behaviour(
    bench: PairBench, row: Row, task: ChoiceTask, vectors: Tensor, deltas: ChoiceDeltas
) -> TaskBehaviour:
    """Return a row's behaviour on one task; vectors [seeds, d_target] are those of all pairs."""
    references = bench.behaviour
    assert references is not None
    reference = references.of(task)
    halves = row.half_vectors(bench, task, vectors)
    measured = reference.whole.divergence(halves)
    divergence = references.per_prompt(measured)
    clear, effect = clear_of_chance(
        reference.native,
        reference.ceiling,
        reference.chance,
        replicates=bench.suite.bootstrap,
        seed=bench.seed,
    )
    ceiling_share = ratio(reference.ceiling[None], reference.native)
    without_readout, without_readout_ceiling = _without_readout(references, reference, halves)
    drawn = slice(bench.suite.random_directions) if isinstance(row, RandomDirections) else slice(None)
    alphas = np.asarray(bench.suite.alphas)
    return TaskBehaviour(
        task=task.name,
        prompts=reference.whole.prompts,
        failures=reference.failures,
        clear=clear and ceiling_share is not None,
        effect=effect,
        share=ratio(divergence, reference.native),
        ceiling_share=ceiling_share,
        first_share=_part(measured, reference.whole, slice(1)),
        later_share=_part(measured, reference.whole, slice(1, None)),
        without_readout=without_readout,
        without_readout_ceiling=without_readout_ceiling,
        readout_share=reference.readout_share,
        unembedding_share=reference.unembedding_share,
        slope_free_r2=slope_free_r2(deltas.row[drawn], deltas.native, alphas),
        damage=references.damage(vectors),
        native_damage=reference.damage,
        divergence=tuple(map(_floats, divergence)),
        native=_floats(reference.native),
        ceiling=_floats(reference.ceiling),
    )


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


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
