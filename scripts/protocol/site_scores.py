"""From the rows of a pair to what its site tests: the gate, controls, maps, and which of them part."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrt_bench.results.metrics import NORMAL_97_5, Array, interval, over_ceiling
from lrt_bench.results.schema.behaviour import TaskBehaviour
from lrt_bench.results.statistics.separation import FALSE_STEPS, separate
from lrt_bench.results.storage import Result

REPLICATES = 2000
SATURATED = 0.9
FIXED = (
    "stage",
    "pair",
    "task",
    "prompts",
    "margin_low",
    "log_margin_low",
    "ceiling",
)  # columns before the rows'
PARTED = ("mlp", "affine", "orthogonal")  # and the weakest: what the suite is to tell apart
READOUTS = ("readout", "unembedding")
CONTROLS = ("random", "shuffled", *READOUTS)


@dataclass(frozen=True)
class Measured:
    """One task on one pair.

    Attributes
    ----------
    margin_low : low end of the margin by which the other half's native vector is nearer to native than no
        steering and random directions are, over native's effect; the task is clear where it is above 0.
    log_margin_low : the same with the logarithms of random directions' divergences (`margin_low`).
    ceiling : the share of that vector.
    shares : of each row, over the ceiling and clipped to [-1, 1]; readout and unembedding among them.
    """

    stage: str
    pair: str
    task: str
    prompts: int
    margin_low: float
    log_margin_low: float
    ceiling: float
    shares: dict[str, float]

    @property
    def clear(self) -> bool:
        """Whether the task counts."""
        return self.margin_low > 0


def margin_low(native: Array, ceiling: Array, random: Array, seed: int) -> tuple[float, float]:
    """Return the low end of the gate's margin, and that of its variant, as shares of native's mean.

    The margin is by how much the ceiling is nearer to native than no steering and than 97.5% of random
    directions: their mean less 1.96 standard deviations, or the same of their logarithms. Divergences are
    positive and skewed: where few directions do much, the mean less 1.96 standard deviations is below 0.

    native, ceiling [prompts]; random [directions, prompts]. By the bootstrap over prompts and directions.
    """
    rng = np.random.default_rng([seed, 909])
    prompts = rng.integers(0, len(native), (REPLICATES, len(native)))
    directions = rng.integers(0, len(random), (REPLICATES, len(random)))
    means = random[:, prompts].mean(2)[directions, np.arange(REPLICATES)[:, None]]
    logs = np.log(means)
    nearest = (
        means.mean(1) - NORMAL_97_5 * means.std(1, ddof=1),
        np.exp(logs.mean(1) - NORMAL_97_5 * logs.std(1, ddof=1)),
    )
    unsteered, own = native[prompts].mean(1), ceiling[prompts].mean(1)
    low, log_low = (interval(np.minimum(unsteered, each) - own)[0] / float(native.mean()) for each in nearest)
    return low, log_low


def measured_tasks(stage: str, pair: str, rows: Sequence[Result], seed: int) -> list[Measured]:
    """Return every task of a pair, from the records of its rows."""
    by_row = {row.mapping.name: {task.task: task for task in row.tasks} for row in rows}
    beside = next(_beside(row) for row in rows)
    measured = []
    for name, random in by_row["random"].items():
        errors = random.errors
        ceiling = errors.ceiling
        own = {row: over_ceiling(tasks[name].errors.r2, ceiling) for row, tasks in by_row.items()}
        controls = {
            "readout": over_ceiling(beside[name].readout_share or 0.0, ceiling),
            "unembedding": over_ceiling(beside[name].unembedding_share or 0.0, ceiling),
        }
        low, log_low = margin_low(errors.energy, errors.split_error, errors.error, seed)
        measured.append(
            Measured(stage, pair, name, len(errors.energy), low, log_low, ceiling, controls | own)
        )
    return measured


def _beside(row: Result) -> dict[str, TaskBehaviour]:
    assert row.behaviour is not None
    return {task.task: task for task in row.behaviour.tasks}


@dataclass(frozen=True)
class Site:
    """What one pair tests, over its clear tasks.

    clear_by_logs : how many tasks would count by `log_margin_low`.
    scores : 100 x mean share over the ceiling of each row; saturated : share of tasks on which every map is
        above 90; parted : whether mlp, affine, orthogonal and the weakest map are all separated.
    neighbours : maps from best to worst, each step with whether the paired tests part it.
    """

    stage: str
    pair: str
    tasks: int
    not_clear: tuple[str, ...]
    clear_by_logs: int
    ceiling: float
    scores: dict[str, float]
    saturated: float
    parted: bool
    neighbours: str

    @property
    def control(self) -> float:
        """The higher of the two readout controls."""
        return max(self.scores[row] for row in READOUTS)

    @property
    def maps(self) -> dict[str, float]:
        """Scores of the maps alone."""
        return {row: score for row, score in self.scores.items() if row not in CONTROLS}

    @property
    def clear(self) -> int:
        """How many tasks count."""
        return self.tasks - len(self.not_clear)


def site_of(measured: Sequence[Measured]) -> Site | None:
    """Return what the tasks of one pair show; None where fewer than two are clear."""
    clear = [one for one in measured if one.clear]
    if len(clear) < 2:
        return None
    rows = clear[0].shares
    maps = [row for row in rows if row not in CONTROLS]
    scores = {row: 100 * float(np.mean([one.shares[row] for one in clear])) for row in rows}
    separation = separate({row: {one.task: one.shares[row] for one in clear} for row in maps})
    adjusted, names = separation.adjusted, list(separation.names)
    wanted = sorted({*PARTED, names[-1]}, key=names.index)
    return Site(
        stage=clear[0].stage,
        pair=clear[0].pair,
        tasks=len(measured),
        not_clear=tuple(one.task for one in measured if not one.clear),
        clear_by_logs=sum(one.log_margin_low > 0 for one in measured),
        ceiling=float(np.mean([one.ceiling for one in clear])),
        scores=scores,
        saturated=float(np.mean([min(one.shares[row] for row in maps) > SATURATED for one in clear])),
        parted=all(
            adjusted[names.index(one), names.index(other)] <= FALSE_STEPS
            for one, other in itertools.combinations(wanted, 2)
        ),
        neighbours="".join(
            (" " if place == 0 else " > " if adjusted[place - 1, place] <= FALSE_STEPS else " ~ ") + name
            for place, name in enumerate(names)
        ).strip(),
    )


def summary(measured: Sequence[Measured]) -> str:
    """One line of what a pair shows."""
    site = site_of(measured)
    if site is None:
        return f"{measured[0].pair}: fewer than two tasks are clear"
    scores = " ".join(f"{row} {score:.1f}" for row, score in site.scores.items())
    return (
        f"{site.pair}: {site.clear} of {site.tasks} clear, ceiling {site.ceiling:.2f}, "
        f"saturated {site.saturated:.0%}, parted {site.parted}; {scores}; {site.neighbours}; "
        f"not clear: {', '.join(site.not_clear)}"
    )


def write(path: Path, measured: Sequence[Measured]) -> None:
    """Write one line a pair and task; rows that a stage does not have stay empty."""
    rows = list(dict.fromkeys(row for one in measured for row in one.shares))
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow([*FIXED, *rows])
        for one in measured:
            fixed = [one.stage, one.pair, one.task, one.prompts]
            numbers = [
                one.margin_low,
                one.log_margin_low,
                one.ceiling,
                *(one.shares.get(row) for row in rows),
            ]
            lines.writerow([*fixed, *("" if value is None else f"{value:.4f}" for value in numbers)])


def read(path: Path) -> list[Measured]:
    """Read what `write` wrote."""
    measured = []
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            stage, pair, task, prompts, low, log_low, ceiling = (line.pop(name) for name in FIXED)
            shares = {row: float(value) for row, value in line.items() if value}
            numbers = float(low), float(log_low), float(ceiling)
            measured.append(Measured(stage, pair, task, int(prompts), *numbers, shares))
    return measured
