"""Behaviour in a result: how much of what native steering does to predictions a row does too.

`steering.behaviour` measures the divergences. A row's vector from one half of a concept's pairs is set
against native from the other half, beside native of the first half: the ceiling compares like with like.
"""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_serializer, model_validator

from lrt_bench.results.metrics import (
    MIN_CEILING,
    NORMAL_97_5,
    Array,
    TaskErrors,
    interval,
    slopes,
    transfer_score,
)
from lrt_bench.results.schema.bounds import Count, Name
from lrt_bench.results.schema.records import Record, rounded

OUTPUT_LEVEL = 0.8  # of the ceiling: from where a readout control says that a pair tests the output alone
Divergences = tuple[Annotated[float, Field(ge=0, le=1e9)], ...]


class DamageRecord(Record):
    """The unit of alpha: the length at which the median random direction does `nats` of damage.

    Damage is the mean KL that a vector does to predictions of neutral text, in nats a token. `interval` is
    95% of the length, by the bootstrap over directions; medians, lower, upper : damage at each of `lengths`,
        its quartiles.
    """

    nats: float
    length: Annotated[float, Field(gt=0)]
    interval: tuple[float, float]
    directions: Count
    tokens: Count
    lengths: tuple[float, ...]
    medians: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @model_validator(mode="after")
    def _shapes(self) -> DamageRecord:
        if any(len(values) != len(self.lengths) for values in (self.medians, self.lower, self.upper)):
            raise ValueError(f"medians, lower, upper: want {len(self.lengths)} numbers each, one a length")
        return self


class TaskBehaviour(Record):
    """Behaviour on one task.

    Divergences are sums over alphas for each prompt, the first token and the mean later one weighted.

    divergence : D(native, row), one list a fit seed; native : D(native, unsteered); ceiling : D(native,
        native of the other half). clear, effect : whether native of the other half is nearer to native than
        no steering and random directions are, and the interval of its margin (`clear_of_chance`).
    """

    task: Name
    prompts: Count
    failures: Count
    clear: bool
    effect: tuple[float, float]
    share: float | None
    ceiling_share: float | None
    first_share: float | None
    later_share: float | None
    without_readout: float | None
    without_readout_ceiling: float | None
    readout_share: float | None
    unembedding_share: float | None
    slope_free_r2: float | None
    damage: float | None
    native_damage: float | None
    divergence: Annotated[tuple[Divergences, ...], Field(min_length=1)]
    native: Divergences
    ceiling: Divergences

    @model_validator(mode="after")
    def _shapes(self) -> TaskBehaviour:
        if any(len(values) != self.prompts for values in (*self.divergence, self.native, self.ceiling)):
            raise ValueError(f"divergence, native, ceiling: want {self.prompts} numbers each, one a prompt")
        return self

    @field_serializer("divergence", "native", "ceiling")
    def _shorter(self, value: tuple[object, ...]) -> object:
        return rounded(value)

    @property
    def errors(self) -> TaskErrors:
        """What the task contributes to a score: numerators [seeds, prompts] over denominators [prompts]."""
        native = np.array(self.native, dtype=np.float64)
        return TaskErrors(np.array(self.divergence, dtype=np.float64), native, np.array(self.ceiling), native)


class BehaviourRecord(Record):
    """Behaviour of one row on a pair. `score` is 100 x the mean over clear tasks of share over its ceiling.

    output_level : whether a readout control, which knows nothing but the unembeddings, reaches 80% of the
        ceiling.
    """

    divergence: Name
    alphas: tuple[float, ...]
    tokens: Count
    first: float
    splits: Count
    positions: Literal["all", "but-last", "last"]
    unit: DamageRecord
    score: float | None
    ci95: tuple[float, float] | None
    not_clear: tuple[Name, ...]
    readout_score: float | None
    unembedding_score: float | None
    output_level: bool
    tasks: tuple[TaskBehaviour, ...]

    @model_validator(mode="after")
    def _distinct(self) -> BehaviourRecord:
        if len({task.task for task in self.tasks}) < len(self.tasks):
            raise ValueError("tasks: one stands twice")
        return self


def ratio(row: Array, native: Array) -> float | None:
    """1 - sum D(native, row) [seeds, prompts] / sum D(native, unsteered) [prompts]; or None."""
    whole = float(native.sum())
    return None if whole <= 0 else 1 - float(row.sum()) / len(row) / whole


def clear_of_chance(
    native: Array, ceiling: Array, chance: Array, *, replicates: int, seed: int
) -> tuple[bool, tuple[float, float]]:
    """Whether the other half's native vector is nearer to native than no steering and random directions are.

    native, ceiling [prompts] : D(native, unsteered) and D(native, native of the other half); chance
    [directions, prompts] : D(native, random direction). The margin is the lesser of native's mean and of what
    97.5% of random directions stay above, less the ceiling's mean; its interval, by the bootstrap over
    prompts and directions, must lie above 0. Returns the verdict and that interval.

    Random directions are seldom nearer to native than no steering, but a few are many times as far: their
    spread is that of those below the median, or one direction that breaks the model would hide all tasks.
    """
    rng = np.random.default_rng([seed, 606])
    prompts = rng.integers(0, len(native), (replicates, len(native)))
    directions = rng.integers(0, len(chance), (replicates, len(chance)))
    means = chance[:, prompts].mean(2)[directions, np.arange(replicates)[:, None]]
    median = np.median(means, axis=1)
    below = np.minimum(means - median[:, None], 0)
    spread = np.sqrt(2 * np.square(below).sum(1) / (len(chance) - 1))  # half of a normal's squares lie below
    margin = np.minimum(native[prompts].mean(1), median - NORMAL_97_5 * spread) - ceiling[prompts].mean(1)
    low, high = interval(margin)
    return low > 0, (low, high)


def control_score(tasks: Sequence[TaskBehaviour], shares: Dictionary[str, float | None]) -> float | None:
    """Return a control's score on the clear tasks: 100 x the mean of its share over the ceiling."""
    kept = [
        min(max(share / max(task.ceiling_share, MIN_CEILING), -1.0), 1.0)
        for task in tasks
        if task.clear and task.ceiling_share is not None and (share := shares[task.task]) is not None
    ]
    return 100 * sum(kept) / len(kept) if kept else None


def behaviour_score(tasks: Sequence[TaskBehaviour]) -> float | None:
    """100 x the mean over clear tasks of share over ceiling; None where no task is clear."""
    return transfer_score({task.task: task.errors for task in tasks if task.clear})


def slope_free_r2(row: Array, native: Array, alphas: Array) -> float | None:
    """Return R2 of a row's D against native's, each divided by its own mean slope.

    It asks whether the same prompts move.

    row [seeds, prompts, alphas], native [prompts, alphas]. None where either has no slope.
    """
    own = float(slopes(native, alphas).mean())
    scaled = []
    for seed in row:
        slope = float(slopes(seed, alphas).mean())
        if abs(slope) < 1e-9 or abs(own) < 1e-9:
            return None
        scaled.append(seed / slope)
    wanted = native / own
    energy = float(np.square(wanted).sum())
    return (
        1 - float(np.mean([np.square(seed - wanted).sum() for seed in scaled])) / energy if energy else None
    )
