"""Ladders: one pair's maps fitted on more and more tokens, and the area under each map's score.

Pairs of one suite that have the same two sites, and whose maps were fitted on different numbers of tokens,
are the rungs of a ladder. A row's area counts the tasks that count at every rung.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lrt_bench.results.columns import DTYPES, LADDER_COLUMNS
from lrt_bench.results.ranking import RANKED_TRACKS, RankedRow
from lrt_bench.results.schema.records import PairRecord
from lrt_bench.results.schema.result import Result, ResultSummary
from lrt_bench.results.statistics import inference, separation
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.statistics.ladder import log_weights
from lrt_bench.results.statistics.mean_sample import MeanSample

if TYPE_CHECKING:
    from pandas import DataFrame

Ends = tuple[float, float]
Key = tuple[str, ...]


@dataclass(frozen=True)
class Rung:
    """A row's score on one pair of a ladder, over the tasks that count on all of them."""

    pair: str
    tokens: int
    score: float
    ci95: Ends


@dataclass(frozen=True)
class Climb:
    """One row of a ladder.

    Attributes
    ----------
    fits : draws of documents, or seeds, that every rung is a mean over.
    area : under the score over log tokens, over their range: on the Transfer Score's scale.
    ci95 : had other concepts of the same kind been asked for; ci95_these_tasks : had other prompts and other
        documents been drawn.
    place : by paired tests over tasks among the ladder's rows of its track; None for a control.
    """

    mapping: str
    control: bool
    track: str
    fits: int
    rungs: tuple[Rung, ...]
    area: float
    ci95: Ends
    ci95_these_tasks: Ends
    place: separation.Place | None = None


@dataclass(frozen=True)
class Ladder:
    """The rows of one ladder, largest area first, controls last.

    Attributes
    ----------
    pairs : of its rungs, {name: tokens}, ascending in tokens.
    record : of its first pair; all have the same sites.
    tasks : that count at every rung. left_out : that count at some.
    missing : rows that lack a rung, and have no area.
    """

    suite: str
    pairs: dict[str, int]
    record: PairRecord
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    missing: tuple[str, ...]
    climbs: tuple[Climb, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens that were fitted on, ascending."""
        return tuple(self.pairs.values())


def on_ladders(results: Iterable[ResultSummary]) -> list[dict[int, list[ResultSummary]]]:
    """Group results into ladders: {tokens: results of one pair}, two rungs or more each, ascending in tokens.

    Rows that fit nothing are on no ladder, nor is a row that read other tokens than its pair's other rows.
    """
    found: dict[Key, dict[str, list[ResultSummary]]] = {}
    for result in results:
        if result.cost.fit_tokens and result.complete and result.transfer_score is not None:
            found.setdefault(_key(result), {}).setdefault(result.pair.name, []).append(result)
    made = []
    for pairs in found.values():
        rungs: dict[int, list[ResultSummary]] = {}
        for rows in pairs.values():
            [(tokens, _)] = Counter(row.cost.fit_tokens for row in rows).most_common(1)
            rungs.setdefault(tokens, [row for row in rows if row.cost.fit_tokens == tokens])
        if len(rungs) > 1:
            made.append(dict(sorted(rungs.items())))
    return made


def _key(result: ResultSummary) -> Key:
    source, target = result.pair.source, result.pair.target
    return (
        result.suite, str(result.suite_version), result.suite_digest, source.digest, source.where,
        str(source.sae), target.digest, target.where,
    )  # fmt: skip


def ladders_of(rows: Iterable[RankedRow]) -> list[Ladder]:
    """Return every ladder among ranked rows of whatever pairs; a row that is not ranked is on none."""
    return ladders(row.result for row in rows if row.unranked is None)


def ladders(results: Iterable[ResultSummary]) -> list[Ladder]:
    """Return every ladder among whole results of whatever pairs, all of which can be ranked."""
    made = []
    for rungs in on_ladders(results):
        whole = {tokens: [one for one in rung if isinstance(one, Result)] for tokens, rung in rungs.items()}
        if (ladder := _ladder(whole)) is not None:
            made.append(ladder)
    return made


def _ladder(rungs: dict[int, list[Result]]) -> Ladder | None:
    """Return a ladder; None where no task counts on all of it, or no row has all rungs."""
    rows: dict[str, dict[int, Result]] = {}
    for tokens, results in rungs.items():
        for result in results:
            rows.setdefault(result.mapping.name, {})[tokens] = result
    whole = {name: list(row.values()) for name, row in rows.items() if _one_method(row, rungs)}
    counted = [{task.task for task in one.tasks if task.steerable} for row in whole.values() for one in row]
    common = tuple(sorted(set.intersection(*counted))) if counted else ()
    if not common:
        return None
    first = next(iter(whole.values()))
    climbs = _placed([_climb(row, common) for row in whole.values()], whole, common)
    return Ladder(
        suite=first[0].suite,
        pairs={result.pair.name: result.cost.fit_tokens for result in first},
        record=first[0].pair,
        tasks=common,
        left_out=tuple(sorted(set.union(*counted) - set(common))),
        missing=tuple(name for name in rows if name not in whole),
        climbs=tuple(sorted(climbs, key=lambda climb: (climb.control, -climb.area, climb.mapping))),
    )


def _one_method(row: dict[int, Result], rungs: dict[int, list[Result]]) -> bool:
    """Whether a row has every rung, from the same code, with as many fits on each."""
    alike = {(result.mapping.digest, result.mapping.track, result.mapping.seeds) for result in row.values()}
    return len(row) == len(rungs) and len(alike) == 1


def _samples(result: Result, tasks: Sequence[str]) -> dict[str, TaskSample]:
    return {task.task: TaskSample.of_errors(task.errors) for task in result.tasks if task.task in tasks}


def _areas(row: Sequence[Result], tasks: Sequence[str]) -> dict[str, MeanSample]:
    """Return each task's area: {task: sample}."""
    weights = log_weights([result.cost.fit_tokens for result in row])
    by_rung = [_samples(result, tasks) for result in row]
    return {task: MeanSample(tuple(rung[task] for rung in by_rung), weights) for task in tasks}


def _climb(row: Sequence[Result], tasks: Sequence[str]) -> Climb:
    areas, settings, mapping = _areas(row, tasks), row[0].settings, row[0].mapping
    area = inference.score(areas)
    ends = inference.new_concepts(areas, seed=settings.seed)
    these = inference.these_tasks(areas, replicates=settings.bootstrap, seed=settings.seed)
    assert area is not None
    assert ends is not None
    assert these is not None
    rungs = tuple(_rung(result, tasks) for result in row)
    return Climb(mapping.name, mapping.control, mapping.track, mapping.seeds, rungs, area, ends, these)


def _rung(result: Result, tasks: Sequence[str]) -> Rung:
    """Return a rung's score: the pair's own where all its tasks count on the ladder."""
    score, ends = result.transfer_score, result.ci95
    if {task.task for task in result.tasks if task.steerable} != set(tasks):
        samples = _samples(result, tasks)
        score = inference.score(samples)
        ends = inference.new_concepts(samples, seed=result.settings.seed)
    assert score is not None
    assert ends is not None
    return Rung(result.pair.name, result.cost.fit_tokens, score, ends)


def _placed(climbs: list[Climb], whole: dict[str, list[Result]], tasks: Sequence[str]) -> list[Climb]:
    """Give the rows of each ranked track their places."""
    places: dict[str, separation.Place] = {}
    for track in RANKED_TRACKS:
        names = [climb.mapping for climb in climbs if climb.track == track and not climb.control]
        areas = {name: _areas(whole[name], tasks) for name in names}
        if areas:
            places |= separation.separate(
                {name: {task: one.share for task, one in of.items()} for name, of in areas.items()},
                fits={name: inference.seed_spread(of)[0] for name, of in areas.items()},
            ).places
    return [
        replace(climb, place=places[climb.mapping]) if climb.mapping in places else climb for climb in climbs
    ]


def ladder_frame(made: Iterable[Ladder]) -> DataFrame:
    """Make the table of ladders: a line a rung of each row, as `columns.LADDER_COLUMNS` describes it."""
    import pandas

    lines = [line for ladder in made for climb in ladder.climbs for line in _lines(ladder, climb)]
    return pandas.DataFrame(
        {
            name: pandas.Series([line[name] for line in lines], dtype=DTYPES[kind])
            for name, (kind, _) in LADDER_COLUMNS.items()
        }
    )


def _lines(ladder: Ladder, climb: Climb) -> Iterable[dict[str, Any]]:
    source, target = ladder.record.source, ladder.record.target
    place = climb.place
    for rung in climb.rungs:
        yield {
            "suite": ladder.suite, "pair": rung.pair, "mapping": climb.mapping, "track": climb.track,
            "control": climb.control,
            "source": f"{source.model}:{source.where}", "target": f"{target.model}:{target.where}",
            "fit_tokens": rung.tokens, "fits": climb.fits, "transfer_score": rung.score,
            "ci95_low": rung.ci95[0], "ci95_high": rung.ci95[1],
            "area": climb.area, "area_low": climb.ci95[0], "area_high": climb.ci95[1],
            "area_these_tasks_low": climb.ci95_these_tasks[0],
            "area_these_tasks_high": climb.ci95_these_tasks[1],
            "rank": place.best if place else None, "groups": " ".join(place.letters) if place else None,
            "tasks": len(ladder.tasks),
        }  # fmt: skip
