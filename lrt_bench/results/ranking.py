"""The one implementation of the ranking, read by the command line and by the leaderboard's pages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lrt_bench.results import metrics
from lrt_bench.results.metrics import Array, TaskErrors
from lrt_bench.results.schema.result import Result, ResultSummary
from lrt_bench.results.statistics import inference, separation
from lrt_bench.results.statistics.inference import TaskSample

RANKED_TRACKS = ("corpus", "target-aware", "task-aware", "unpaired", "weights")
SAME_ENERGY = 0.02  # how far another machine's sums of squares may lie from ours, relatively


@dataclass(frozen=True)
class ScoredResult:
    """A result and the arrays of the tasks that count: those on which native steering works."""

    result: ResultSummary
    errors: dict[str, TaskErrors]

    @classmethod
    def of(cls, result: Result) -> ScoredResult:
        """Make one of a whole result, from the arrays of its steerable tasks."""
        return cls(result, {row.task: row.errors for row in result.tasks if row.steerable})


def _places(rows: Sequence[ScoredResult]) -> dict[str, separation.Place]:
    """Place the rows of one pair and track, all on the same tasks, without what no private score supports."""
    named = {row.result.mapping.name: row for row in rows}
    samples = {
        name: {task: TaskSample.of_errors(one) for task, one in row.errors.items()}
        for name, row in named.items()
    }
    less = {name: row.result.unsupported / 100 for name, row in named.items()}
    return separation.separate(
        {
            name: {task: one.share - less[name] for task, one in tasks.items()}
            for name, tasks in samples.items()
        },
        fits={name: inference.seed_spread(tasks)[0] for name, tasks in samples.items()},
    ).places


@dataclass(frozen=True)
class RankedRow:
    """A result and its place among the ranked rows of its pair and track.

    Attributes
    ----------
    rank : one more than the rows of its track that are found better; None for a control, and for a row that
        `unranked` tells why it has none.
    tied : whether another row has the same rank.
    samples : the Transfer Score under the pair's bootstrap [replicates], without what no private score
        supports; None without one.
    place : what paired tests over tasks say of it; None where it has no rank.
    """

    result: ResultSummary
    rank: int | None
    tied: bool
    unranked: str | None
    samples: Array | None
    place: separation.Place | None = None

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Of the score, had other concepts of the same kind been asked for."""
        return self.result.ci95


def ranked(results: Sequence[Result]) -> list[RankedRow]:
    """Results of one suite and pair, best first, controls last; mappings are ranked within their track."""
    return ranked_rows([ScoredResult.of(result) for result in results])


def ranked_rows(rows: Sequence[ScoredResult]) -> list[RankedRow]:
    """Rank as `ranked` does, for results whose arrays were read apart."""
    reference = _reference(rows)
    excluded = {row.result.mapping.name: _why_not(row, reference) for row in rows}
    settings = reference.result.settings
    samples = metrics.bootstrap_scores(
        {row.result.mapping.name: row.errors for row in rows if excluded[row.result.mapping.name] is None},
        replicates=settings.bootstrap,
        seed=settings.seed,
    )
    for row in rows:
        if row.result.unsupported and row.result.mapping.name in samples:
            samples[row.result.mapping.name] = samples[row.result.mapping.name] - row.result.unsupported
    places: dict[str, separation.Place] = {}
    for track in RANKED_TRACKS:
        members = [row for row in rows if row.result.mapping.track == track]
        places |= _places([row for row in members if row.result.mapping.name in samples])
    held = Counter((row.result.mapping.track, places[row.result.mapping.name].best)
                   for row in rows if row.result.mapping.name in places)  # fmt: skip
    made = []
    for row in rows:
        mapping = row.result.mapping
        place = places.get(mapping.name)
        why = None if mapping.control else excluded[mapping.name]
        tied = place is not None and held[mapping.track, place.best] > 1
        rank = None if place is None else place.best
        made.append(RankedRow(row.result, rank, tied, why, samples.get(mapping.name), place))
    return sorted(made, key=_order)


def _reference(rows: Sequence[ScoredResult]) -> ScoredResult:
    """Return the native row, whose settings and digests the pair's others must share; else the first."""
    native = [row for row in rows if row.result.mapping.name == "native" and row.result.mapping.control]
    return (native or list(rows))[0]


def _why_not(row: ScoredResult, reference: ScoredResult) -> str | None:
    """Why a row can't be ranked beside its pair's native row; None if it can."""
    result, native = row.result, reference.result
    if not result.complete:
        return "incomplete: some of the suite's tasks were not run"
    tasks = [{task.task: task.digest for task in side.tasks} for side in (result, native)]
    versions = [(side.suite_digest, side.suite_version) for side in (result, native)]
    if versions[0] != versions[1] or tasks[0] != tasks[1]:
        return "another version of the suite or of its tasks"
    sites = [(pair.source.digest, pair.source.where, pair.target.digest, pair.target.layer)
             for pair in (result.pair, native.pair)]  # fmt: skip
    if sites[0] != sites[1]:
        return "other weights or layers than the pair's native row"
    alphas = [side.settings.alphas for side in (result, native)]
    spreads = [side.settings.spread for side in (result, native)]
    if alphas[0] != alphas[1] or not math.isclose(*spreads, rel_tol=SAME_ENERGY):
        return "other alphas, or another unit of them, than in the pair's native row"
    if set(row.errors) != set(reference.errors):
        return "other tasks count as steerable than in the pair's native row"
    if not all(
        _same_prompts(task, reference.errors[name])
        # native-split is held against one half's vector, all others against the native one
        and (result.mapping.control or _same(task.energy, reference.errors[name].energy))
        for name, task in row.errors.items()
    ):
        return "the native effect differs from that of the pair's native row"
    return _not_verified(result) if row.errors else "native steering works on no task"


def _not_verified(result: ResultSummary) -> str | None:
    """Why a submission's score is not known to hold on models that nobody has seen; None where it is."""
    if not result.wants_private:
        return None
    if result.private is None:
        return "not verified: no score on a private pair"
    if result.private.gap_ci95[0] > 0:
        return f"not verified: {result.private.gap:.1f} points above what its private score supports"
    return None if result.private.tells else "not verified: the private pair tells too little of its score"


def _same_prompts(task: TaskErrors, native: TaskErrors) -> bool:
    """Whether both have the same ceiling on the same prompts, but for rounding."""
    return _same(task.split_energy, native.split_energy) and (
        task.split_error.tobytes() == native.split_error.tobytes()
        or math.isclose(
            task.split_error.sum(),
            native.split_error.sum(),
            rel_tol=0.2,
            abs_tol=1e-3 * native.split_energy.sum(),
        )
    )


def _same(one: Array, other: Array) -> bool:
    """Equal arrays of a row's prompts, as on one machine; or but for another machine's rounding."""
    if one.tobytes() == other.tobytes():
        return True
    return len(one) == len(other) and math.isclose(one.sum(), other.sum(), rel_tol=SAME_ENERGY)


def _order(row: RankedRow) -> tuple[bool, bool, float, str]:
    """Put mappings before controls, those that are not verified below the others, best first."""
    result, score = row.result, row.result.transfer_score
    below = _not_verified(result) is not None
    counted = 1e9 if score is None else result.unsupported - score
    return result.mapping.control, below, counted, result.mapping.name
