"""Two intervals for a row's score: for these tasks, and for new concepts of their kind.

A row's score is the mean over tasks of a share: 1 - numerator / denominator, over the ceiling's, clipped to
[-1, 1]. Nothing here knows which metric the sums belong to: squared errors and energies for steering R2,
divergences from the natively steered model for a behaviour share.

*These tasks*: the tasks are given; other prompts of theirs, and other fit seeds, could have been drawn.
*New concepts*: the tasks too are a random sample of the concepts that could have been asked for.
`benchmarks/coverage.py` measures how often each holds the truth; docs/statistics.md says what they mean.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lrt_bench.results import metrics
from lrt_bench.results.metrics import MIN_CEILING, NORMAL_97_5, Array, TaskErrors
from lrt_bench.results.statistics.spread import Spread, arms, combined, half_width, jackknife, sums_without

REPLICATES = 1000  # resamples of prompts and directions, which decide whether a task counts
TASK_DRAWS = 4000  # draws of task weights: their Monte Carlo error is a fiftieth of an interval's width
END_WEIGHT = 0.5  # pseudo-tasks at either end of the scale, as in Jeffreys' interval of a proportion
ENDS = (-1.0, 1.0)  # of the scale that shares are clipped to


@dataclass(frozen=True)
class GateSample:
    """What decides whether a task counts: native must be clear of chance on it.

    Attributes
    ----------
    unsteered, ceiling : [prompts]
        How far the unsteered model, and native's vector of the other half, are from native.
    random : [directions, prompts]
        How far random directions are from it.
    """

    unsteered: Array
    ceiling: Array
    random: Array

    def margins(self, weight: Array, directions: Array) -> Array:
        """Return by how much the ceiling is nearer to native than chance is: [replicates].

        Chance is what 97.5% of random directions stay above: their mean less 1.96 standard deviations, where
        a direction that is farther off than the unsteered model is taken to be as far: some directions wreck
        a model, and that is no reason to ask more or less of native. weight [replicates, prompts] sums to 1
        in each replicate; directions [replicates, directions] too.
        """
        unsteered = weight @ self.unsteered
        apart = np.minimum(weight @ self.random.T, unsteered[:, None])
        mean = (directions * apart).sum(1)
        count = len(self.random)
        variance = (directions * np.square(apart - mean[:, None])).sum(1) * count / max(count - 1, 1)
        return np.asarray(mean - NORMAL_97_5 * np.sqrt(variance) - weight @ self.ceiling)


class Sample(Protocol):
    """One task as both intervals read it: a score's own, or a mean's (`MeanSample`)."""

    @property
    def prompts(self) -> int:
        """Number of scored prompts."""

    @property
    def share(self) -> float:
        """The task's share of its ceiling, clipped."""

    @property
    def seed_shares(self) -> Array:
        """The share of each fit alone [seeds]."""

    @property
    def by_definition(self) -> bool:
        """Whether the row has this share on any concept."""

    @property
    def gate(self) -> GateSample | None:
        """What decides whether the task counts; without one it always does."""

    @property
    def shares_without(self) -> Array:
        """The share of the other prompts, without each one in turn [prompts]."""


@dataclass(frozen=True)
class TaskSample:
    """What one task contributes to a score.

    numerator [seeds, prompts] : how far the row is from native, summed over alphas.
    denominator [prompts] : how far the unsteered model is.
    ceiling_numerator, ceiling_denominator [prompts] : the same between the two halves' native vectors; the
        ceiling is 1 without them.
    gate : without one the task always counts.

    Raises ValueError where shapes differ, a number is not finite, or native steering moves nothing.
    """

    numerator: Array
    denominator: Array
    ceiling_numerator: Array | None = None
    ceiling_denominator: Array | None = None
    gate: GateSample | None = None

    def __post_init__(self) -> None:
        ceiling = self.ceiling_numerator, self.ceiling_denominator
        if (ceiling[0] is None) != (ceiling[1] is None):
            raise ValueError("ceiling_numerator, ceiling_denominator: give both or neither")
        parts = [self.denominator, *(part for part in ceiling if part is not None)]
        if self.numerator.ndim != 2 or not len(self.numerator):
            raise ValueError(f"numerator: want [seeds, prompts], got {self.numerator.shape}")
        if self.gate is not None:
            parts += [self.gate.unsteered, self.gate.ceiling, *self.gate.random]
        if any(part.shape != self.numerator.shape[1:] for part in parts):
            raise ValueError(f"want {self.numerator.shape[1]} prompts in every array")
        if not all(np.isfinite(part).all() for part in (self.numerator, *parts)):
            raise ValueError("a NaN or an infinity among the task's numbers")
        bottoms = [part for part in (self.denominator, self.ceiling_denominator) if part is not None]
        if any(part.sum() <= 0 for part in bottoms):
            raise ValueError("denominator: native steering moves nothing; leave the task out")

    @classmethod
    def of_errors(cls, errors: TaskErrors, gate: GateSample | None = None) -> TaskSample:
        """Make a task from the sums that a score is made of; without a gate it always counts.

        Raises ValueError as the class does.
        """
        return cls(errors.error, errors.energy, errors.split_error, errors.split_energy, gate)

    @property
    def prompts(self) -> int:
        """Number of scored prompts."""
        return len(self.denominator)

    @property
    def ceiling(self) -> float:
        """The share of the two halves' native vectors, at least `MIN_CEILING`; 1 without halves."""
        if self.ceiling_numerator is None or self.ceiling_denominator is None:
            return 1.0
        return max(float(1 - self.ceiling_numerator.sum() / self.ceiling_denominator.sum()), MIN_CEILING)

    @property
    def share(self) -> float:
        """The task's share of its ceiling, seeds averaged before it is clipped."""
        value = float(1 - self.numerator.sum() / len(self.numerator) / self.denominator.sum()) / self.ceiling
        return min(max(value, ENDS[0]), ENDS[1])

    @property
    def shares_without(self) -> Array:
        """The share of the other prompts, without each one in turn [prompts]."""
        top, bottom = sums_without(self.numerator.mean(0)), sums_without(self.denominator)
        share = 1 - top / np.maximum(bottom, 1e-300)
        if self.ceiling_numerator is not None and self.ceiling_denominator is not None:
            top, bottom = sums_without(self.ceiling_numerator), sums_without(self.ceiling_denominator)
            share = share / np.maximum(1 - top / np.maximum(bottom, 1e-300), MIN_CEILING)
        return np.asarray(np.clip(share, *ENDS))

    @property
    def by_definition(self) -> bool:
        """Whether the row is what it is compared with: native, its other half, or no steering at all."""
        row, known = self.numerator, [np.zeros(self.prompts), self.denominator]
        known += [] if self.ceiling_numerator is None else [self.ceiling_numerator]
        return any(bool((row == one).all()) for one in known)

    @property
    def seed_shares(self) -> Array:
        """The share of each fit seed alone [seeds]."""
        values = (1 - self.numerator.sum(1) / self.denominator.sum()) / self.ceiling
        return np.asarray(np.clip(values, *ENDS))


def counting(tasks: Dictionary[str, Sample], *, seed: int = 0) -> dict[str, bool]:
    """Which tasks count: those whose margin over chance has an interval above 0."""
    return {name: _counts(name, task.gate, REPLICATES, seed).counts for name, task in tasks.items()}


def counts(
    name: str, gate: GateSample, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[bool, tuple[float, float]]:
    """Whether a task counts, and the 95% interval of its margin over chance, as a share of `unsteered`.

    name : the task's; every row of a pair draws the same resamples for it.
    """
    decided = _counts(name, gate, replicates, seed)
    whole = float(gate.unsteered.mean()) or 1.0
    return decided.counts, (decided.interval[0] / whole, decided.interval[1] / whole)


def score(tasks: Dictionary[str, Sample], *, seed: int = 0) -> float | None:
    """100 x the mean share of the tasks that count; None where none does."""
    return _mean_share(_counted(tasks, seed))


def _counted(tasks: Dictionary[str, Sample], seed: int) -> list[Sample]:
    counts = counting(tasks, seed=seed)
    return [task for name, task in tasks.items() if counts[name]]


def _mean_share(tasks: list[Sample]) -> float | None:
    shares = [task.share for task in tasks]
    return 100 * sum(shares) / len(shares) if shares else None


def these_tasks(
    tasks: Dictionary[str, Sample], *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95% interval of a row's score on its own tasks; None where no task counts.

    A score is a mean of independent tasks. The jackknife over a task's prompts tells what other prompts would
    do to its share; the unbiased variance between seeds tells what other fits would do. Their sum has a t
    interval, longer on the side that it is skewed to (`spread.arms`). Resamples of prompts and of random
    directions tell which tasks might count: their percentiles join in quadrature (Zou and Donner 2008).
    """
    counts = counting(tasks, seed=seed)
    counted = [task for name, task in tasks.items() if counts[name]]
    value = _mean_share(counted)
    if value is None:
        return None
    decided = np.stack([_counts(name, task.gate, replicates, seed).resampled for name, task in tasks.items()])
    weight = _weights_of_tasks(decided, list(counts.values()))
    by_task = [
        jackknife(task.shares_without).weighted(float(np.square(one).mean()), float(np.power(one, 3).mean()))
        for one, task in zip(weight, tasks.values(), strict=True)
    ]
    spread = combined([*(one.spread for one in by_task), *_seed_spread(counted)])
    below, above = arms(spread, sum(one.third for one in by_task))
    ends = value - 100 * below, value + 100 * above
    apart = np.array([task.share - value / 100 for task in tasks.values()])  # 0 to the bit where all agree
    low, high = metrics.interval(100 * apart @ weight)
    return _joined(value, ends, (value + min(low, 0.0), value + max(high, 0.0)))


def new_concepts(
    tasks: Dictionary[str, Sample], *, draws: int = TASK_DRAWS, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95% interval of a row's score over concepts like its own; None where no task counts.

    Tasks get random weights (the Bayesian bootstrap of Rubin 1981) beside half a pseudo-task at either end of
    the scale, at -1 and at 1. Of shares that are all 0 or 1 on a scale from 0 to 1 this makes Jeffreys'
    interval of a proportion; a t interval fails here, since shares crowd below 1 and the few low ones that
    decide the mean are missing from most small samples. What prompts and seeds do to single tasks is in the
    spread between tasks; variance that seeds share across tasks, and which tasks count, is added. A row that
    is what it is compared with has its score on any concept.
    """
    counted = _counted(tasks, seed)
    value = _mean_share(counted)
    if value is None:
        return None
    if all(task.by_definition for task in counted):
        return value, value
    shares = np.array([task.share for task in tasks.values()])
    spread = float(np.var([task.share for task in counted]))
    counts = np.ones((draws, len(shares)))
    if any(task.gate for task in tasks.values()):
        counts = np.stack(
            [_counts(name, task.gate, draws, seed).resampled for name, task in tasks.items()], 1
        )
    weight = _task_weights(len(shares), draws, seed)
    body = weight[:, :-2] * counts
    total = body.sum(1) + weight[:, -2:].sum(1)
    low, high = metrics.interval(100 * (body @ shares + weight[:, -2:] @ np.array(ENDS)) / total)
    shared, _ = _seed_spread(counted)
    others = max(len(counted) - 1, 1)
    freedom = combined([Spread(spread / others, others), shared]).freedom
    arm = 100 * half_width(Spread(shared.variance, freedom))
    return _joined(value, (min(low, value), max(high, value)), (value - arm, value + arm))


def seed_spread(tasks: Dictionary[str, Sample], *, seed: int = 0) -> tuple[Spread, Spread]:
    """Variance of a row's score (as a share) between fits: what seeds share across tasks, and the rest.

    The rest is each task's own unbiased variance between seeds, summed as for independent tasks; what the
    variance of the seeds' scores has beyond that is shared. Raises ValueError where tasks differ in seeds.
    """
    return _seed_spread(_counted(tasks, seed))


def _seed_spread(tasks: list[Sample]) -> tuple[Spread, Spread]:
    by_task = [task.seed_shares for task in tasks]
    fits = {len(one) for one in by_task}
    if len(fits) > 1:
        raise ValueError(f"want equally many fits for every task, got {sorted(fits)}")
    nothing = Spread(0.0, 1.0)
    if not fits or fits == {1}:
        return nothing, nothing
    table = np.stack(by_task)  # [tasks, seeds]
    n, k = table.shape
    own = combined([Spread(float(row.var(ddof=1)) / (k * n * n), k - 1) for row in table])
    direct = float(table.mean(0).var(ddof=1)) / k
    return Spread(max(direct - own.variance, 0.0), k - 1), own


@dataclass(frozen=True)
class _Decided:
    """Whether a task counts, whether it does in each resample [replicates], its margin's interval."""

    counts: bool
    resampled: Array
    interval: tuple[float, float]


def _counts(name: str, gate: GateSample | None, replicates: int, seed: int) -> _Decided:
    """Decide whether a task counts.

    It counts where the margin's interval lies above 0, so where the margin exceeds the interval's lower arm;
    a resample's margin is held against the same arm.
    """
    if gate is None:
        return _Decided(True, np.ones(replicates), (0.0, 0.0))
    prompts, directions = len(gate.unsteered), len(gate.random)
    drawn = _weights(f"directions of {name}", directions, replicates, seed)
    margins = gate.margins(_weights(name, prompts, replicates, seed), drawn)
    even = np.full((1, prompts), 1 / prompts), np.full((1, directions), 1 / directions)
    low, high = metrics.interval(margins)
    arm = float(gate.margins(*even)[0]) - low
    return _Decided(low > 0, (margins > arm).astype(np.float64), (low, high))


@functools.lru_cache(maxsize=256)
def _weights(name: str, count: int, replicates: int, seed: int) -> Array:
    """Bootstrap weights [replicates, count]; of a task the same for every row, so that rows are paired."""
    rng = np.random.default_rng([seed, 404, zlib.crc32(name.encode())])
    return np.asarray(rng.multinomial(count, np.full(count, 1 / count), size=replicates) / count)


@functools.lru_cache(maxsize=8)
def _task_weights(tasks: int, draws: int, seed: int) -> Array:
    """Dirichlet weights of the tasks, then of the two pseudo-tasks [draws, tasks + 2]."""
    rng = np.random.default_rng([seed, 606])
    drawn = rng.gamma([1.0] * tasks + [END_WEIGHT] * 2, size=(draws, tasks + 2))
    return np.asarray(drawn / drawn.sum(1, keepdims=True))


def _weights_of_tasks(decided: Array, counted: list[bool]) -> Array:
    """Return what each task weighs in a score, for each resample in which at least one counts.

    decided [tasks, replicates] : 1 where a task counts in a resample, else 0; counted : whether it does in
    the sample itself, which is taken where it counts in none.
    """
    some = decided[:, decided.any(0)]
    if not some.shape[1]:
        some = np.array(counted, dtype=np.float64)[:, None]
    return np.asarray(some / some.sum(0))


def _joined(value: float, one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Join two intervals around `value`, of independent errors, in quadrature, and clip to the scale."""
    low, high = (float(np.hypot(one[end] - value, other[end] - value)) for end in (0, 1))
    return max(value - low, 100 * ENDS[0]), min(value + high, 100 * ENDS[1])
