"""Behaviour in a result: how much of what native steering does to predictions a row does too.

`steering.behaviour` measures the divergences. A row's vector from one half of a concept's pairs is set
against native from the other half, beside native of the first half: the ceiling compares like with like.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from lrt_bench.results.metrics import Array, over_ceiling, slopes
from lrt_bench.results.schema.bounds import Count, Name
from lrt_bench.results.schema.records import Record

OUTPUT_LEVEL = 0.8  # of the ceiling: from where a readout control says that a pair tests the output alone


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
    """What stands beside a task's behaviour share; the share and its arrays are in the task's own record.

    first_share, later_share : over the token after the prompt alone, and over those after it.
    without_readout, without_readout_ceiling : with the readout's direction projected out of both sides; None
        where the suite does not ask for it.
    readout_share, unembedding_share : of the controls that know unembeddings only.
    slope_free_r2 : steering R2 after each side's own slope is divided out.
    damage, native_damage : what the vectors do to neutral text, nats a token, mean over alphas.
    """

    task: Name
    first_share: float | None
    later_share: float | None
    without_readout: float | None
    without_readout_ceiling: float | None
    readout_share: float | None
    unembedding_share: float | None
    slope_free_r2: float | None
    damage: float | None
    native_damage: float | None


class BehaviourRecord(Record):
    """How behaviour was measured on a pair, and what stands beside one row's shares.

    readout_score, unembedding_score : what the Transfer Score of these two controls is; with the first
        through the final norm's gain.
    output_level : whether one of them, which knows nothing but the unembeddings, reaches 80% of the ceiling.
    """

    divergence: Name
    alphas: tuple[float, ...]
    tokens: Count
    first: float
    splits: Count
    positions: Literal["all", "but-last", "last"]
    unit: DamageRecord
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


def control_score(ceilings: Dictionary[str, float], shares: Dictionary[str, float | None]) -> float | None:
    """Return a control's score: 100 x the mean of its share over the ceiling, on the tasks with a ceiling."""
    kept = [
        over_ceiling(share, ceiling)
        for task, ceiling in ceilings.items()
        if (share := shares[task]) is not None
    ]
    return 100 * sum(kept) / len(kept) if kept else None


def at_matched_damage(
    slope_ratio: float | None, damage: float | None, native_damage: float | None, unit: DamageRecord
) -> float | None:
    """Return a row's effect over native's, each as long as does the same damage to neutral text.

    A vector that does less damage than native at one length may be longer. How long is read from the unit's
    curve, of the median random direction: log damage is linear in log length between its points and beyond
    them. The effect is taken to be linear in length, so it is the slope ratio times the ratio of lengths.
    None where a number is missing, or a vector does no damage.
    """
    if slope_ratio is None or not damage or not native_damage or min(damage, native_damage) <= 0:
        return None
    curve = _log_curve(unit.medians, unit.lengths)
    if len(curve) < 2:
        return None
    return slope_ratio * math.exp(_log_length(curve, native_damage) - _log_length(curve, damage))


@functools.lru_cache(maxsize=64)  # a table asks for it once a task of every row of a pair
def _log_curve(medians: tuple[float, ...], lengths: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """Return the unit's curve, ascending: (log damage, log length) of its points that do any."""
    known = dict(
        sorted((damage, length) for damage, length in zip(medians, lengths, strict=True) if damage > 0)
    )
    return tuple((math.log(damage), math.log(length)) for damage, length in known.items())


def _log_length(curve: Sequence[tuple[float, float]], damage: float) -> float:
    """Return the logarithm of the length that does a damage, on the line through the two nearest points."""
    wanted = math.log(damage)
    place = min(max(bisect.bisect_left(curve, (wanted,)), 1), len(curve) - 1)
    (low, shorter), (high, longer) = curve[place - 1], curve[place]
    return shorter + (wanted - low) / (high - low) * (longer - shorter)


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
