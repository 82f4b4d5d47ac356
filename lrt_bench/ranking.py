"""The one implementation of the ranking, read by the command line and by the leaderboard's pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lrt_bench import metrics
from lrt_bench.measure import errors_of
from lrt_bench.metrics import Array, TaskErrors
from lrt_bench.results import Result


def steerable_errors(result: Result) -> dict[str, TaskErrors]:
    """The arrays of the tasks that count: those on which native steering works."""
    return {figures.task: errors_of(figures) for figures in result.tasks if figures.steerable}


@dataclass(frozen=True)
class RankedRow:
    """A result and its place among the ranked rows of its pair and track; no rank for controls,
    incomplete results and results without a score."""

    result: Result
    rank: int | None
    tied: bool


def bootstrap(results: Sequence[Result]) -> dict[str, Array]:
    """Paired bootstrap samples of one pair's rows, by mapping name."""
    settings = results[0].settings
    rows = {result.mapping.name: steerable_errors(result) for result in results}
    return metrics.bootstrap_scores(rows, replicates=settings.bootstrap, seed=settings.seed)


def ranked(results: Sequence[Result]) -> list[RankedRow]:
    """Rows of one suite and pair, best first; mappings are ranked within their track."""
    samples = bootstrap(results)
    places: dict[str, metrics.Standing] = {}
    for track in ("corpus", "task-aware", "weights"):
        scores = {
            result.mapping.name: result.transfer_score
            for result in results
            if result.mapping.track == track
            and result.complete
            and result.transfer_score is not None
            and result.mapping.name in samples
        }
        places |= metrics.rank(scores, samples)
    rows = []
    for result in results:
        place = places.get(result.mapping.name)
        rows.append(RankedRow(result, place.rank if place else None, place.tied if place else False))
    return sorted(rows, key=_order)


def _order(row: RankedRow) -> tuple[bool, float, str]:
    score = row.result.transfer_score
    return row.result.mapping.control, -score if score is not None else 1e9, row.result.mapping.name
