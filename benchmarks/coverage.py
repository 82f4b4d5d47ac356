"""How often the intervals hold the truth, and how often ranks show steps that are none: ``make coverage``.

Boards are simulated from the measured cells of leaderboard/results, a cell being one pair on one task, as
five methods that differ score on it: the concepts that could have been asked for. A board draws cells,
prompts of each cell and fits; the truth is known: the mean over all cells (new concepts), or over the drawn
cells with all their prompts and without the luck of a fit (these tasks).

    python -m benchmarks.coverage [--boards 5000] [--write]

--write puts the table into docs/statistics.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole
from lrt_bench.results.metrics import MIN_CEILING, Array
from lrt_bench.results.statistics import inference, separation
from lrt_bench.results.statistics.inference import GateSample, TaskSample
from lrt_bench.results.storage import read_result

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "leaderboard/results/nano"
PAGE = ROOT / "docs/statistics.md"
METHODS = ("affine-with-bias", "orthogonal", "affine", "autoencoder", "mlp")
TASKS = (10, 20, 40)
EQUAL_ROWS = 10
CLEAR, BORDERLINE = 10.0, (1.5, 4.0)  # native effects, in units of a random direction's
DIRECTIONS = 16  # random ones, which a native effect must be clear of
FAR = 100.0  # of the unsteered model and of random directions, in the same unit
STEP = 0.03  # the difference whose detection is counted as power
BEGIN, END = "<!-- coverage begins -->", "<!-- coverage ends -->"


@dataclass(frozen=True)
class Profile:
    """The prompts of one measured cell: errors {method: [seeds, prompts]}, and what all methods share."""

    errors: dict[str, Array]
    energy: Array
    split_error: Array
    split_energy: Array

    @property
    def ceiling(self) -> float:
        return max(float(1 - self.split_error.sum() / self.split_energy.sum()), MIN_CEILING)

    @property
    def shares(self) -> Array:
        """Of the methods, clipped [methods]."""
        errors = np.array([self.errors[name].mean(0).sum() for name in METHODS])
        return np.asarray(np.clip((1 - errors / self.energy.sum()) / self.ceiling, -1, 1))


@dataclass(frozen=True)
class Population:
    """The concepts that a board draws from.

    shares [cells, methods] : what each method truly reaches; profiles : of each cell, its prompts.
    """

    shares: Array
    profiles: tuple[Profile, ...]


def read_profiles(folder: Path = RESULTS) -> list[Profile]:
    """The measured cells with their prompts; pairs with a planted answer have no spread."""
    pairs = sorted(path for path in folder.iterdir() if not path.name.startswith("planted"))
    return [profile for pair in pairs for profile in profiles_of(pair).values()]


def profiles_of(pair: Path) -> dict[str, Profile]:
    """The measured cells of one pair, by task."""
    profiles = {}
    results = {name: read_result(pair / f"{name}.json") for name in METHODS}
    for task in (task.task for task in results["affine"].tasks if task.steerable):
        rows = {name: next(row.errors for row in result.tasks if row.task == task)
                for name, result in results.items()}  # fmt: skip
        one = rows["affine"]
        errors = {name: row.error for name, row in rows.items()}
        profiles[task] = Profile(errors, one.energy, one.split_error, one.split_energy)
    return profiles


def read_population(results: Path = RESULTS) -> Population:
    """The measured cells: each concept on each pair, as the methods score on it."""
    profiles = read_profiles(results)
    return Population(np.stack([one.shares for one in profiles]), tuple(profiles))


@dataclass(frozen=True)
class Board:
    """One simulated row: its tasks as sampled, and the score that they truly have."""

    tasks: dict[str, TaskSample]
    truth: float


def draw_row(
    population: Population, cells: Array, method: int, rng: np.random.Generator, *, borderline: float = 0.0
) -> Board:
    """Sample a row on tasks made of `cells`: prompts with replacement, as many as were measured, and fits.

    A share is clipped after prompts are drawn, as a score's is: a cell far below -1 stays there whatever is
    drawn. Errors brought to -1 first would lie on the edge, where a draw can only look better than the truth.

    borderline : share of tasks whose native effect barely clears random directions, if it does. The truth is
        then what the score would be on average: each task weighs as much as it is likely to count.
    """
    tasks, weights = {}, []
    for place, cell in enumerate(cells):
        profile = population.profiles[cell]
        prompts = rng.integers(0, len(profile.energy), len(profile.energy))
        gate, likely = _gate(len(prompts), rng, borderline) if borderline else (None, 1.0)
        tasks[str(place)] = sample(profile, method, prompts, rng, gate)
        weights.append(likely)
    return Board(tasks, 100 * float(np.average(population.shares[cells, method], weights=weights)))


def sample(
    profile: Profile, method: int, prompts: Array, rng: np.random.Generator, gate: GateSample | None = None
) -> TaskSample:
    """One task as a board measures it: some of its prompts, and fits of their own."""
    measured = profile.errors[METHODS[method]]
    error = measured.mean(0)[prompts] * _fits(measured, rng)[:, None]
    return TaskSample(
        error, profile.energy[prompts], profile.split_error[prompts], profile.split_energy[prompts], gate
    )


def _fits(measured: Array, rng: np.random.Generator) -> Array:
    """A factor on the error for each fit [seeds], of mean 1 and the measured fits' coefficient of variation;
    lognormal, and independent between tasks, as the measured fits' are."""
    if len(measured) == 1:
        return np.ones(1)
    totals = measured.sum(1)
    width = np.sqrt(np.log1p(totals.var(ddof=1) / totals.mean() ** 2))
    return np.asarray(np.exp(width * rng.normal(size=len(measured)) - width**2 / 2))


def _gate(prompts: int, rng: np.random.Generator, borderline: float) -> tuple[GateSample, float]:
    """Effects in units of a random direction's, and how likely a task with the true one is to count."""
    if rng.random() >= borderline:
        return _effects(CLEAR, prompts, rng), 1.0
    effect = rng.uniform(*BORDERLINE)
    grid, likely = _chances(prompts)
    return _effects(effect, prompts, rng), float(np.interp(effect, grid, likely))


def _effects(effect: float, prompts: int, rng: np.random.Generator) -> GateSample:
    """A native vector that is nearer to native than random directions are, by `effect` of their spread."""
    random = rng.normal(size=(DIRECTIONS, 1)) + 0.5 * rng.normal(size=(DIRECTIONS, prompts))
    return GateSample(np.full(prompts, 1.1 * FAR), FAR - effect + rng.normal(size=prompts), FAR + random)


@functools.cache
def _chances(prompts: int, samples: int = 300) -> tuple[Array, Array]:
    """How often the gate lets a task count, by its true effect."""
    rng, even = np.random.default_rng(9), np.ones(prompts)
    grid = np.linspace(*BORDERLINE, 11)
    likely = []
    for effect in grid:
        tasks = [TaskSample(even[None], even, gate=_effects(effect, prompts, rng)) for _ in range(samples)]
        likely.append(np.mean([inference.counting({"task": task})["task"] for task in tasks]))
    return grid, np.array(likely)


@dataclass
class Tally:
    """How often an interval held the truth, by number of tasks, and how wide it was."""

    held: dict[int, list[bool]] = field(default_factory=dict)
    widths: dict[int, list[float]] = field(default_factory=dict)

    def add(self, tasks: int, interval: tuple[float, float] | None, truth: float) -> None:
        if interval is None:
            return
        low, high = interval
        self.held.setdefault(tasks, []).append(low - 1e-9 <= truth <= high + 1e-9)
        self.widths.setdefault(tasks, []).append(high - low)

    def coverage(self, tasks: int) -> float:
        return float(np.mean(self.held[tasks]))

    def width(self, tasks: int) -> float:
        return float(np.median(self.widths[tasks]))


def cover(
    population: Population,
    boards: int,
    methods: Sequence[str] = METHODS,
    *,
    seed: int = 0,
    borderline: float = 0.0,
) -> dict[str, Tally]:
    """Coverage of both intervals for each method: {"METHOD, INTERVAL": Tally}."""
    tallies: dict[str, Tally] = {}
    for count in TASKS:
        rng = np.random.default_rng([seed, count])
        for _ in range(boards):
            cells = rng.integers(0, len(population.shares), count)
            for name in methods:
                method = METHODS.index(name)
                board = draw_row(population, cells, method, rng, borderline=borderline)
                these = inference.these_tasks(board.tasks, replicates=500)
                tallies.setdefault(f"{name}, these tasks", Tally()).add(count, these, board.truth)
                truth = 100 * float(population.shares[:, method].mean())
                new = inference.new_concepts(board.tasks, draws=1000)
                tallies.setdefault(f"{name}, new concepts", Tally()).add(count, new, truth)
    return tallies


def equal_rows(population: Population, cells: Array, kind: str, rng: np.random.Generator) -> Array:
    """Shares of ten rows whose true means are equal [rows, tasks].

    exchangeable : each row has on each task what some method has there.
    noise : one method's shares with errors of 3 points.
    skewed : the five methods and five mixtures of two, moved to one mean. Rows that are better on most tasks
        are much worse on few, which is the hardest case for a t.
    """
    shares = population.shares
    if kind == "exchangeable":
        return np.asarray(shares[cells, rng.integers(0, len(METHODS), (EQUAL_ROWS, len(cells)))])
    if kind == "noise":
        return np.asarray(
            shares[cells, METHODS.index("affine")] + 0.03 * rng.normal(size=(EQUAL_ROWS, len(cells)))
        )
    mixtures = [
        (shares[:, one] + shares[:, other]) / 2 for one, other in ((0, 1), (0, 2), (1, 4), (2, 4), (1, 3))
    ]
    table = np.column_stack([shares, *mixtures])
    return np.asarray((table - table.mean(0) + shares.mean())[cells].T)


def false_steps(
    population: Population, boards: int, kind: str, tasks: int, *, seed: int = 0
) -> tuple[float, float]:
    """Boards of ten equal rows that show any step; and pairs that differ if tested alone."""
    rng = np.random.default_rng([seed, tasks, 7])
    pairs = np.triu_indices(EQUAL_ROWS, 1)
    stepped, alone = 0, 0.0
    for _ in range(boards):
        cells = rng.integers(0, len(population.shares), tasks)
        rows = equal_rows(population, cells, kind, rng)
        separated = separation.separate(_named(rows))
        stepped += any(place.best > 1 for place in separated.places.values())
        p = separation.paired_p_values(rows[pairs[0]] - rows[pairs[1]])
        alone += float((p <= separation.FALSE_STEPS).mean())
    return stepped / boards, alone / boards


def power(
    population: Population, boards: int, tasks: int, rows: tuple[str, str], *, seed: int = 0
) -> tuple[float, float]:
    """How often two rows that are truly 3 points apart are separated: on a board of two, and of ten.

    Their differences scatter as those of `rows` do, moved to a mean of 3 points.
    """
    rng = np.random.default_rng([seed, tasks, 8])
    one, other = (population.shares[:, METHODS.index(name)] for name in rows)
    differences = one - other - (one - other).mean() + STEP
    p = separation.paired_p_values(rng.choice(differences, (boards, tasks)))
    of_ten = EQUAL_ROWS * (EQUAL_ROWS - 1) / 2
    return float((p <= separation.FALSE_STEPS).mean()), float((p <= separation.FALSE_STEPS / of_ten).mean())


def _named(rows: Array) -> dict[str, dict[str, float]]:
    return {
        f"row {row}": {str(task): float(share) for task, share in enumerate(shares)}
        for row, shares in enumerate(rows)
    }


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def tables(population: Population, boards: int) -> Iterator[str]:
    """The page's lines."""
    head = " | ".join(f"{count} tasks" for count in TASKS)
    rule = "| --- |" + " ---: |" * len(TASKS)
    yield f"{boards} boards a cell; nominal 95%; the median width in points stands in brackets."
    yield ""
    yield f"| coverage | {head} |"
    yield rule
    for label, tally in cover(population, boards).items():
        cells = (f"{_percent(tally.coverage(count))} ({tally.width(count):.1f})" for count in TASKS)
        yield f"| {label} | {' | '.join(cells)} |"
    borderline = cover(population, max(boards // 2, 1), ("affine",), borderline=0.2)
    for label in ("affine, these tasks", "affine, new concepts"):
        cells = (
            f"{_percent(borderline[label].coverage(count))} ({borderline[label].width(count):.1f})"
            for count in TASKS
        )
        yield f"| {label}, a fifth of the tasks borderline | {' | '.join(cells)} |"
    from benchmarks.coverage_of_means import cover_means, read_concepts

    for label, tally in cover_means(read_concepts(), boards).items():
        cells = (f"{_percent(tally.coverage(count))} ({tally.width(count):.1f})" for count in TASKS)
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""
    yield f"| ten equal rows: boards with a false step (pairs, tested alone) | {head} |"
    yield rule
    for kind in ("exchangeable", "noise", "skewed"):
        rates = (false_steps(population, boards, kind, count) for count in TASKS)
        yield f"| {kind} | {' | '.join(f'{_percent(any_)} ({_percent(alone)})' for any_, alone in rates)} |"
    yield ""
    yield f"| 3 points apart: separated on a board of two (of ten) | {head} |"
    yield rule
    for rows in (("mlp", "autoencoder"), ("affine", "orthogonal"), ("mlp", "affine")):
        rates = (power(population, 10 * boards, count, rows) for count in TASKS)
        cells = (f"{_percent(two)} ({_percent(ten)})" for two, ten in rates)
        yield f"| differences like those of {rows[0]} and {rows[1]} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--boards", type=int, default=3000, help="simulated boards of each cell: %(default)s")
    parser.add_argument("--write", action="store_true", help="put the table into docs/statistics.md")
    arguments = parser.parse_args()
    if arguments.boards < 1:
        parser.error(f"--boards {arguments.boards}: give 1 or more")
    try:
        lines = []
        for line in tables(read_population(), arguments.boards):
            print(line, flush=True)
            lines.append(line)
        if arguments.write:
            write_table(PAGE, lines)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write_table(page: Path, lines: list[str]) -> None:
    """Put lines between the page's two marks. Raises UserError where one is missing."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{page}: no line {BEGIN} and {END}: put them where the table belongs")
    write_whole(page, "\n".join([before + BEGIN, "", *lines, "", END + after]).encode())


if __name__ == "__main__":
    main()
