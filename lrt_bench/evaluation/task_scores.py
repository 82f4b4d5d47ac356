"""From a row's vectors to its scores on every kind of task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask, GenerationTask, SideEffectTask
from lrt_bench.evaluation.behaviour_scores import MeasuredTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, Vectors
from lrt_bench.evaluation.fidelity import measure as measure_fidelity
from lrt_bench.evaluation.fidelity import reachable_share
from lrt_bench.evaluation.rows import NativeSplit, RandomDirections, Row
from lrt_bench.evaluation.scorers.text import score_text
from lrt_bench.mappings import LinearMapping
from lrt_bench.results import metrics
from lrt_bench.results.metrics import Array
from lrt_bench.results.schema.records import FidelityScores, GenerationScores, SideEffectScores, TaskRecord
from lrt_bench.steering.generation import Written, offsets_for


def _tuple(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@dataclass(frozen=True)
class ChoiceMeasures:
    """What was measured of a row on one choice task.

    Attributes
    ----------
    m
        Propensities [seeds, prompts, swept alphas].
    vectors
        The row's [seeds, d_target].
    behaviour
        What the score is made of, in a suite that measures it.
    """

    m: Tensor
    vectors: Tensor
    behaviour: MeasuredTask | None = None


def choice_record(
    bench: PairBench, row: Row, task: ChoiceTask, reference: Reference, measures: ChoiceMeasures
) -> TaskRecord:
    """Return a choice task's record."""
    m, vectors, behaviour = measures.m, measures.vectors, measures.behaviour
    wanted, over, native_vector = reference.native, reference.over, bench.inputs.target_states(task).vector
    if isinstance(row, NativeSplit):  # one half is steered with, the other is what it is compared with
        wanted, over, native_vector = reference.half_b, reference.half_over, vectors[1]
        m, vectors = m[:1], vectors[:1]
    delta = bench.choice_sweep.delta(m)
    scored = bench.choice_sweep.scored(m)
    alphas = np.asarray(bench.suite.alphas)
    native_m = reference.baseline[:, None] + wanted
    correlation, mse = metrics.by_alpha(scored, native_m)
    correlation_delta, mse_delta = metrics.by_alpha(delta, wanted)
    # random directions are steered both ways; what has a sign is told of those that were drawn
    drawn = slice(bench.suite.random_directions) if isinstance(row, RandomDirections) else slice(None)
    slope, native_slope = metrics.slopes(scored[drawn], alphas), metrics.slopes(native_m, alphas)
    sweep = bench.choice_sweep.of(task)
    squares = reference.errors(delta, wanted)
    errors, counts, effect = squares, reference.steerable and squares.counts, reference.effect
    failures = len(bench.choice_sweep.asked(task)) - len(sweep.encoded)
    if behaviour is not None:
        errors, counts, effect = behaviour.errors, behaviour.scored, behaviour.effect
        failures = behaviour.failures
    return TaskRecord(
        task=task.name,
        version=task.card.version,
        digest=task.digest,
        concept=task.concept,
        prompts=len(errors.energy),
        failures=failures,
        steerable=counts,
        native_effect=effect,
        ceiling_r2=squares.ceiling if squares.moves else None,
        steering_r2=metrics.steering_r2(delta, wanted),
        over_steering_r2=over_steering_r2(bench, m, over),
        correlation=metrics.mean_of([r for r, alpha in zip(correlation, alphas, strict=True) if alpha]),
        correlation_by_alpha=tuple(correlation),
        mse_by_alpha=tuple(mse),
        correlation_delta=metrics.mean_of([metrics.pearson(seed, wanted) for seed in delta[drawn]]),
        correlation_delta_by_alpha=tuple(correlation_delta),
        mse_delta_by_alpha=tuple(mse_delta),
        concordance=metrics.mean_of([metrics.concordance(seed, wanted) for seed in delta[drawn]]),
        slope=float(slope.mean()),
        slope_ratio=_ratio(float(slope.mean()), float(native_slope.mean())),
        anti_steerable=float((slope < 0).mean()),
        cosine=_cosine(vectors[drawn], native_vector),
        norm_ratio=_ratio(float(vectors.norm(dim=1).mean()), float(native_vector.norm())),
        reachable=_reachable(row, native_vector),
        curve_alphas=bench.choice_sweep.swept[: m.shape[-1]],
        curve=_tuple(m[drawn].double().mean((0, 1)).numpy()),
        share=None if behaviour is None or not errors.moves else errors.r2,
        ceiling_share=None if behaviour is None or not errors.moves else errors.ceiling,
        error=tuple(_tuple(seed) for seed in errors.error),
        energy=_tuple(errors.energy),
        split_error=_tuple(errors.split_error),
        split_energy=_tuple(errors.split_energy),
    )


def over_steering_r2(bench: PairBench, m: Tensor, native: Array) -> float | None:
    """Steering R2 at the over-steering alphas alone; never part of a score."""
    start = len(bench.suite.alphas)
    if m.shape[-1] == start:
        return None
    zero = m[..., bench.suite.alphas.index(0.0), None].double()
    return metrics.steering_r2((m[..., start:].double() - zero).numpy(), native)


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if abs(bottom) > 1e-12 else None


def _cosine(vectors: Tensor, native: Tensor) -> float | None:
    """Mean cosine of the seeds' vectors to the native one; None for a zero vector."""
    if not bool(vectors.any(1).all()) or not bool(native.any()):
        return None
    return float(torch.nn.functional.cosine_similarity(vectors, native[None], dim=1).mean())


def _reachable(row: Row, native: Tensor) -> float | None:
    if not row.mappings or not isinstance(row.mappings[0], LinearMapping):
        return None
    return reachable_share(row.mappings[0].weight, native)


def fidelity_scores(bench: PairBench, row: Row) -> FidelityScores | None:
    """State fidelity of the row's first map, stitched where the task is run; None without a map."""
    if not row.mappings:
        return None
    mapping: Callable[[Tensor], Tensor] = row.mappings[0]
    fidelity = measure_fidelity(
        mapping, bench.states.held_out[0], bench.fidelity.own_states, bench.fidelity.stitching
    )
    return FidelityScores(**vars(fidelity))


def generation_scores(
    bench: PairBench, tasks: Sequence[GenerationTask], vectors: Vectors
) -> tuple[GenerationScores, ...]:
    """Steered writing of each task under the first of the row's vectors, alpha 0 first."""
    offsets = [offsets_for(vectors[task.name][0], task.card.alphas, bench.spread) for task in tasks]
    return tuple(
        _writing_scores(task, bench.writer.unsteered(task), written)
        for task, written in zip(tasks, bench.writer.write(tasks, offsets), strict=True)
    )


def _writing_scores(task: GenerationTask, unsteered: Written, written: Written) -> GenerationScores:
    texts = [*unsteered.texts, *written.texts]
    scores = [[score_text(task.scorer, text) for text in row] for row in texts]
    losses = torch.cat([unsteered.cross_entropy, written.cross_entropy])
    return GenerationScores(
        task=task.name,
        version=task.card.version,
        digest=task.digest,
        prompts=len(task.prompts),
        failures=int(losses.isnan().sum()),
        alphas=(0.0, *task.card.alphas),
        score=tuple(float(np.mean(row)) for row in scores),
        cross_entropy=tuple(None if bool(row.isnan().all()) else float(row.nanmean()) for row in losses),
    )


def side_effect_scores(bench: PairBench, task: SideEffectTask, vectors: Vectors) -> SideEffectScores:
    """Return what steering costs neutral text, averaged over the pair's concepts."""
    alphas = task.card.alphas
    concepts = [vectors[choice.name][0] for choice in bench.choice_sweep.tasks]
    offsets = [offsets_for(vector, alphas, bench.spread) for vector in concepts]
    loss = bench.writer.text_loss(task)
    added = (loss(torch.cat(offsets)) - loss.unsteered).view(len(concepts), len(alphas)).mean(0)
    return SideEffectScores(
        task=task.name,
        version=task.card.version,
        digest=task.digest,
        concepts=len(concepts),
        alphas=alphas,
        added_cross_entropy=_tuple(added.numpy()),
    )
