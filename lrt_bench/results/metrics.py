"""Arrays to figures: steering R2 and what stands beside it, the Transfer Score, bootstrap and ranks.

Notation: m[i, a] is the propensity of prompt i at alpha a, D[i, a] = m[i, a] - m[i, 0]. `t` is a
transferred vector's, `n` the native one's. A leading axis of seeds is averaged over. Every function is
checked in the tests against a slow loop or scipy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LEVEL = 0.95
MIN_CEILING = 0.05  # below this a native half does not even act like the other half
NORMAL_97_5 = 1.959963984540054
ROUNDING = 1e-6  # points: two rows that differ by less do so by a machine's rounding, on either side of 0
ROWS_AT_ONCE = 256  # of the bootstrap: bounds its memory to some 30 MB a task in ten


def steering_r2(delta_t: Array, delta_n: Array) -> float | None:
    """1 - sum (D_t - D_n)^2 / sum D_n^2, over prompts and alphas; None where native moves nothing.

    delta_t : [prompts, alphas] or [seeds, prompts, alphas]; delta_n : [prompts, alphas].
    1 acts like the native vector, 0 like no steering, negative worse than none.
    """
    energy = float(np.square(delta_n).sum())
    if energy == 0:
        return None
    return 1 - float(np.square(delta_t - delta_n).sum(axis=(-2, -1)).mean()) / energy


def pearson(x: Array, y: Array) -> float | None:
    """Pearson correlation of two flat arrays; None where either is constant."""
    x, y = x.ravel() - x.mean(), y.ravel() - y.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return None if norm < 1e-12 else float(np.clip(x @ y / norm, -1, 1))


def concordance(x: Array, y: Array) -> float | None:
    """Lin's concordance correlation: agreement with the line y = x, location and scale included."""
    x, y = x.ravel(), y.ravel()
    bottom = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return None if bottom < 1e-24 else float(2 * ((x - x.mean()) * (y - y.mean())).mean() / bottom)


def slopes(m: Array, alphas: Array) -> Array:
    """Least-squares slope of m over alpha for each prompt (steerability, Tan et al. 2024).

    m [..., alphas] -> [...], in logits for a spread.
    """
    centred = alphas - alphas.mean()
    return np.asarray((m - m.mean(-1, keepdims=True)) @ centred / (centred @ centred))


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are not None; None where all are."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def by_alpha(m_t: Array, m_n: Array) -> tuple[list[float | None], list[float]]:
    """Pearson correlation and MSE over prompts at each alpha, seeds averaged: the paper's figures.

    m_t [seeds, prompts, alphas], m_n [prompts, alphas].
    """
    columns = range(m_n.shape[1])
    correlation = [mean_of([pearson(seed[:, a], m_n[:, a]) for seed in m_t]) for a in columns]
    error = [float(np.square(m_t[:, :, a] - m_n[:, a]).mean()) for a in columns]
    return correlation, error


def is_steerable(
    native: Array, random: Array, *, replicates: int = 1000, seed: int = 0
) -> tuple[bool, tuple[float, float]]:
    """Whether native steering is clear of chance, by the bootstrap over prompts and random directions.

    native [prompts], random [directions, prompts] : slopes. The native effect must lie outside the range
    that holds 95% of random directions: mean native slope - 1.96 x the root mean square of the random
    directions' mean slopes has an interval above 0. Returns the verdict and that interval.
    """
    rng = np.random.default_rng([seed, 101])
    prompts = rng.integers(0, len(native), (replicates, len(native)))
    directions = rng.integers(0, len(random), (replicates, len(random)))
    effect = native[prompts].mean(1)
    means = random[:, prompts].mean(2)  # [directions, replicates]
    drawn = means[directions, np.arange(replicates)[:, None]]
    low, high = interval(effect - NORMAL_97_5 * np.sqrt(np.square(drawn).mean(1)))
    return low > 0, (low, high)


def interval(samples: Array) -> tuple[float, float]:
    """Return the ends of the central 95% of samples [replicates], interpolated as np.quantile does."""
    ends = [(1 - LEVEL) / 2 * (len(samples) - 1), (1 + LEVEL) / 2 * (len(samples) - 1)]
    places = [min(int(end) + step, len(samples) - 1) for end in ends for step in (0, 1)]
    parted = np.partition(samples, places)  # a tenth of np.quantile's time, and boards ask by the thousand
    low, high = (
        float(parted[below] + (end - int(end)) * (parted[above] - parted[below]))
        for end, below, above in zip(ends, places[::2], places[1::2], strict=True)
    )
    return low, high


@dataclass(frozen=True)
class TaskErrors:
    """What one task contributes to a score: sums over alphas, for each prompt.

    Of behaviour, error [seeds, prompts] : D(native, row) ; energy [prompts] : D(native, unsteered).
    Of steering R2, error : sum_a (D_t - D_n)^2 ; energy : sum_a D_n^2.
    split_error, split_energy [prompts] : the same between the two halves' native vectors.
    """

    error: Array
    energy: Array
    split_error: Array
    split_energy: Array

    @classmethod
    def of_rows(cls, rows: Array) -> TaskErrors:
        """From one array [seeds + 3, prompts]: the errors of each seed, then the other three."""
        return cls(rows[:-3], rows[-3], rows[-2], rows[-1])

    @property
    def moves(self) -> bool:
        """Whether native steering moves anything: without it neither share is defined."""
        return float(self.energy.sum()) > 0 and float(self.split_energy.sum()) > 0

    @property
    def counts(self) -> bool:
        """Whether a score can be made of it: native moves something, and its halves agree."""
        return self.moves and self.ceiling > MIN_CEILING

    @functools.cached_property  # a board's checks and its ranking ask several times
    def r2(self) -> float:
        """1 - error / energy over prompts and alphas, the errors averaged over seeds; at most 1."""
        return float(1 - self.error.sum() / len(self.error) / self.energy.sum())

    @functools.cached_property
    def ceiling(self) -> float:
        """The same of one half's native vector against the other's; at most 1."""
        return float(1 - self.split_error.sum() / self.split_energy.sum())


def transfer_score(tasks: Dictionary[str, TaskErrors]) -> float | None:
    """100 x the mean over tasks of the share over its ceiling, clipped to [-1, 1]; None without a task."""
    if not tasks:
        return None
    return 100 * sum(over_ceiling(task.r2, task.ceiling) for task in tasks.values()) / len(tasks)


def over_ceiling(share: float, ceiling: float) -> float:
    """Return a share over its ceiling, which is at least `MIN_CEILING`, clipped to [-1, 1]."""
    return min(max(share / max(ceiling, MIN_CEILING), -1.0), 1.0)


def bootstrap_scores(
    rows: Dictionary[str, Dictionary[str, TaskErrors]], *, replicates: int = 1000, seed: int = 0
) -> dict[str, Array]:
    """Transfer Scores of each row under the paired hierarchical bootstrap: {row: [replicates]}.

    Tasks are drawn with replacement; within each drawn task its prompts; within each row its fit seeds.
    Tasks and prompts are drawn once for all rows, so that differences between rows are paired.
    """
    names = sorted({name for row in rows.values() for name in row})
    if not names:
        return {}
    counts = tuple(len(next(row[name] for row in rows.values() if name in row).energy) for name in names)
    draws = _draw(counts, replicates, seed)
    whole = {row: tasks for row, tasks in rows.items() if set(tasks) == set(names)}
    samples: dict[str, Array] = {}
    for chunk in _chunks(whole):
        shares = _shares([whole[row] for row in chunk], names, draws.weights, seed)
        flat = shares.reshape(len(chunk), -1)  # [rows, tasks x replicates]
        slots = (draws.tasks * replicates + draws.resample).T
        total = functools.reduce(np.add, (flat.take(slot, axis=1) for slot in slots))
        samples |= dict(zip(chunk, 100 * total / len(names), strict=True))
    return {row: samples[row] for row in whole}


@dataclass(frozen=True)
class _Draws:
    """What the bootstrap drew.

    weights : of each task's prompts [replicates, prompts].
    tasks [replicates, tasks] : the task in each slot of a replicate.
    resample [replicates, tasks] : the resample of prompts that each slot reads.
    """

    weights: tuple[Array, ...]
    tasks: NDArray[np.int64]
    resample: NDArray[np.int64]


@functools.lru_cache(maxsize=4)  # bounded, and of the arguments alone: no run changes it
def _draw(counts: tuple[int, ...], replicates: int, seed: int) -> _Draws:
    rng = np.random.default_rng([seed, 202])
    weights = tuple(rng.multinomial(n, np.full(n, 1 / n), size=replicates) / n for n in counts)
    tasks = rng.integers(0, len(counts), (replicates, len(counts)))
    # Slot s of replicate b reads resample (b + step_s) of its task: two slots that draw the same
    # task then see different resamples of its prompts.
    steps = rng.integers(0, replicates, len(counts))
    return _Draws(weights, tasks, (np.arange(replicates)[:, None] + steps) % replicates)


def _chunks(rows: Dictionary[str, Dictionary[str, TaskErrors]]) -> Iterator[list[str]]:
    """Rows that can be resampled at once: equally many fit seeds, a bounded number."""
    by_seeds: dict[int, list[str]] = {}
    for row, tasks in rows.items():
        by_seeds.setdefault(len(next(iter(tasks.values())).error), []).append(row)
    for names in by_seeds.values():
        for start in range(0, len(names), ROWS_AT_ONCE):
            yield names[start : start + ROWS_AT_ONCE]


def _resampled(rows: Sequence[Array], weight: Array) -> Array:
    """Sum over prompts under each resample [rows, replicates]; equal rows, which are most, only once."""
    places: dict[bytes, int] = {}
    kind = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    different = np.stack([np.frombuffer(content) for content in places]) @ weight.T
    return different if len(places) == 1 else different[kind]


def _shares(
    rows: Sequence[Dictionary[str, TaskErrors]], names: Sequence[str], weights: Sequence[Array], seed: int
) -> Array:
    """Share of the ceiling under each resample of prompts and seeds: [rows, tasks, replicates]."""
    rng = np.random.default_rng([seed, 303])
    shares = np.empty((len(rows), len(names), len(weights[0])))
    for place, (name, weight) in enumerate(zip(names, weights, strict=True)):
        tasks = [row[name] for row in rows]
        seeds = len(tasks[0].error)
        seed_weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(weight)) / seeds
        error = np.concatenate([task.error for task in tasks]) @ weight.T  # [rows x seeds, replicates]
        if seeds > 1:
            error = np.einsum("rsb,bs->rb", error.reshape(len(rows), seeds, len(weight)), seed_weight)
        energy, split_error, split_energy = (
            _resampled([getattr(task, part) for task in tasks], weight)
            for part in ("energy", "split_error", "split_energy")
        )
        ceiling = np.maximum(1 - split_error / np.maximum(split_energy, 1e-300), MIN_CEILING)
        # 1 - error / energy over the ceiling, in place: boards ask for millions of numbers
        np.divide(error, np.maximum(energy, 1e-300), out=error)
        np.subtract(1, error, out=error)
        np.divide(error, ceiling, out=error)
        np.clip(error, -1.0, 1.0, out=shares[:, place])
    return shares


@dataclass(frozen=True)
class Standing:
    """A row's place: rank 1 is best; rows whose paired difference's interval holds 0 share a rank."""

    rank: int
    tied: bool


def rank(scores: Dictionary[str, float], samples: Dictionary[str, Array]) -> dict[str, Standing]:
    """Ranks with tie groups.

    A row joins the group above it unless it is clear of the group's best.

    scores : the point estimates; samples : their paired bootstrap samples.
    """
    order = sorted(scores, key=lambda name: (-scores[name], name))
    ranks: dict[str, int] = {}
    leader = ""
    for place, name in enumerate(order, 1):
        if leader:
            low, high = interval(samples[leader] - samples[name])
            if low <= ROUNDING and high >= -ROUNDING:
                ranks[name] = ranks[leader]
                continue
        leader, ranks[name] = name, place
    held = list(ranks.values())
    return {name: Standing(place, held.count(place) > 1) for name, place in ranks.items()}
