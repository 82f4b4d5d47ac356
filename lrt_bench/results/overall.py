"""A suite as a whole: each row's mean over the pairs that test a representation, and its place by it.

A mean is over the tasks that count on all of these pairs, so that no pair's lost tasks flatter a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lrt_bench.results.columns import DTYPES, OVERALL_COLUMNS
from lrt_bench.results.ladders import on_ladders
from lrt_bench.results.ranking import RANKED_TRACKS, RankedRow
from lrt_bench.results.schema.result import Result, ResultSummary
from lrt_bench.results.statistics import inference, separation
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.statistics.mean_sample import MeanSample

if TYPE_CHECKING:
    from pandas import DataFrame

Ends = tuple[float, float]
PLANTED = "planted-"  # what a target's name begins with where the right map is known


@dataclass(frozen=True)
class Standing:
    """One row of a suite.

    Attributes
    ----------
    scores : on each pair, over the common tasks alone.
    score : their mean. counted : what it is ranked by, less what private scores do not support.
    ci95 : had other concepts of the same kind been asked for; ci95_these_tasks : had other prompts been
        written and other fits made, None where pairs read other prompts.
    place : by paired tests over tasks among the suite's rows of its track; None for a control.
    """

    mapping: str
    control: bool
    track: str
    scores: dict[str, float]
    score: float
    counted: float
    ci95: Ends
    ci95_these_tasks: Ends | None
    place: separation.Place | None = None


@dataclass(frozen=True)
class Overall:
    """The rows of one suite: track by track, highest mean first, controls last.

    Attributes
    ----------
    pairs : that the means are over. apart : the others, each with the reason.
    tasks : that count on all pairs. left_out : that count on some.
    missing : rows that lack a pair, and have no mean.
    """

    suite: str
    pairs: tuple[str, ...]
    apart: dict[str, str]
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    standings: tuple[Standing, ...]

    def of_track(self, track: str) -> tuple[Standing, ...]:
        """Its ranked rows of one track."""
        return tuple(one for one in self.standings if one.track == track and not one.control)


def why_apart(result: ResultSummary) -> str | None:
    """Why a pair's scores say little of a representation; None where they do."""
    if result.pair.target.model.startswith(PLANTED):
        return "a known answer"
    if result.behaviour is not None and result.behaviour.output_level:
        return "output-level"
    return None


def overall_of(rows: Iterable[RankedRow]) -> list[Overall]:
    """Return the means of every suite among ranked rows; a row that cannot be ranked is in none."""
    return overall(row.result for row in rows if row.unranked is None)


def overall(results: Iterable[ResultSummary]) -> list[Overall]:
    """Return the means of every suite that has two pairs or more to average, of whole results.

    The pairs of a ladder differ in tokens alone, and have an area in a mean's place. A pair that was scored
    under another version of the suite than the first pair is left out.
    """
    suites: dict[str, dict[str, list[Result]]] = {}
    given = list(results)
    rungs = {
        (row.suite, row.pair.name) for ladder in on_ladders(given) for rung in ladder.values() for row in rung
    }
    for result in given:
        scored = result.complete and result.transfer_score is not None
        if isinstance(result, Result) and scored and (result.suite, result.pair.name) not in rungs:
            suites.setdefault(result.suite, {}).setdefault(result.pair.name, []).append(result)
    made = (_overall(suite, pairs) for suite, pairs in suites.items())
    return [one for one in made if one is not None]


def _overall(suite: str, pairs: dict[str, list[Result]]) -> Overall | None:
    """Return a suite's means; None where it has no two pairs to average, or no task counts on all."""
    apart = _apart(pairs)
    kept = {name: of_pair for name, of_pair in pairs.items() if name not in apart}
    rows: dict[str, dict[str, Result]] = {}
    for name, of_pair in kept.items():
        for result in of_pair:
            rows.setdefault(result.mapping.name, {})[name] = result
    whole = {name: row for name, row in rows.items() if _one_method(row, len(kept))}
    counted = [
        {task.task for task in one.tasks if task.steerable} for row in whole.values() for one in row.values()
    ]
    common = tuple(sorted(set.intersection(*counted))) if counted else ()
    if len(kept) < 2 or not common:
        return None
    means = {name: _means(_samples(row, common)) for name, row in whole.items()}
    standings = _placed([_standing(whole[name], of) for name, of in means.items()], means)
    return Overall(
        suite=suite,
        pairs=tuple(kept),
        apart=apart,
        tasks=common,
        left_out=tuple(sorted(set.union(*counted) - set(common))),
        missing=tuple(name for name in rows if name not in whole),
        standings=tuple(sorted(standings, key=_order)),
    )


def _order(one: Standing) -> tuple[bool, int, float, str]:
    """Put mappings before controls, track by track, highest mean first."""
    place = RANKED_TRACKS.index(one.track) if one.track in RANKED_TRACKS else len(RANKED_TRACKS)
    return one.control, place, -one.counted, one.mapping


def _apart(pairs: dict[str, list[Result]]) -> dict[str, str]:
    """Return the pairs that are in no mean, each with the reason."""
    first = next(iter(pairs.values()))[0]
    found = {}
    for name, (result, *_) in pairs.items():
        other = (result.suite_version, result.suite_digest) != (first.suite_version, first.suite_digest)
        if why := "another version of the suite" if other else why_apart(result):
            found[name] = why
    return found


def _one_method(row: dict[str, Result], pairs: int) -> bool:
    """Whether a row has every pair, from the same code, with as many fits on each."""
    alike = {(result.mapping.digest, result.mapping.track, result.mapping.seeds) for result in row.values()}
    return len(row) == pairs and len(alike) == 1


def _samples(row: dict[str, Result], tasks: Sequence[str]) -> dict[str, list[TaskSample]]:
    """Return a row's samples of each task, one a pair."""
    by_pair = [{task.task: task.errors for task in result.tasks} for result in row.values()]
    return {task: [TaskSample.of_errors(one[task]) for one in by_pair] for task in tasks}


def _means(samples: dict[str, list[TaskSample]]) -> dict[str, MeanSample]:
    """Return each task's mean over the pairs."""
    return {
        task: MeanSample(tuple(parts), np.full(len(parts), 1 / len(parts))) for task, parts in samples.items()
    }


def _standing(row: dict[str, Result], means: dict[str, MeanSample]) -> Standing:
    first = next(iter(row.values()))
    mapping, settings = first.mapping, first.settings
    by_task = [[part.share for part in mean.parts] for mean in means.values()]
    scores = dict(zip(row, (100 * np.mean(by_task, axis=0)).tolist(), strict=True))
    score, ends = inference.score(means), inference.new_concepts(means, seed=settings.seed)
    assert score is not None
    assert ends is not None
    these = None
    if all(mean.same_prompts for mean in means.values()):
        these = inference.these_tasks(means, replicates=settings.bootstrap, seed=settings.seed)
    counted = score - _unsupported(row)
    return Standing(mapping.name, mapping.control, mapping.track, scores, score, counted, ends, these)


def _unsupported(row: dict[str, Result]) -> float:
    """Points of a row's mean that private scores do not support."""
    return float(np.mean([result.unsupported for result in row.values()]))


def _placed(standings: list[Standing], means: dict[str, dict[str, MeanSample]]) -> list[Standing]:
    """Give the rows of each ranked track their places."""
    places: dict[str, separation.Place] = {}
    for track in RANKED_TRACKS:
        rows = [one for one in standings if one.track == track and not one.control]
        if rows:
            places |= separation.separate(
                {
                    one.mapping: {
                        task: mean.share - (one.score - one.counted) / 100
                        for task, mean in means[one.mapping].items()
                    }
                    for one in rows
                },
                fits={one.mapping: inference.seed_spread(means[one.mapping])[0] for one in rows},
            ).places
    return [replace(one, place=places[one.mapping]) if one.mapping in places else one for one in standings]


def overall_frame(made: Iterable[Overall]) -> DataFrame:
    """Make the table of means: a line a row and pair, as `columns.OVERALL_COLUMNS` describes it."""
    import pandas

    lines = [line for one in made for standing in one.standings for line in _lines(one, standing)]
    return pandas.DataFrame(
        {
            name: pandas.Series([line[name] for line in lines], dtype=DTYPES[kind])
            for name, (kind, _) in OVERALL_COLUMNS.items()
        }
    )


def _lines(of: Overall, standing: Standing) -> Iterable[dict[str, Any]]:
    place, these = standing.place, standing.ci95_these_tasks or (None, None)
    for pair, score in standing.scores.items():
        yield {
            "suite": of.suite, "pair": pair, "mapping": standing.mapping, "track": standing.track,
            "control": standing.control, "transfer_score": score,
            "mean": standing.score, "mean_low": standing.ci95[0], "mean_high": standing.ci95[1],
            "mean_these_tasks_low": these[0], "mean_these_tasks_high": these[1],
            "rank": place.best if place else None, "groups": " ".join(place.letters) if place else None,
            "tasks": len(of.tasks),
        }  # fmt: skip
