"""What the pages show, as plain values: from entries to rows, differences, curves and commands."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrt_bench.files.names import slug
from lrt_bench.leaderboard.entries import MOST_AVERAGED, Board, Entry, PairEntries
from lrt_bench.leaderboard.front.kinds import KINDS, model_kind
from lrt_bench.results import metrics
from lrt_bench.results.frame import records
from lrt_bench.results.ladders import Ladder
from lrt_bench.results.overall import Overall, Standing
from lrt_bench.results.ranking import RANKED_TRACKS
from lrt_bench.results.schema.records import SiteRecord, TaskScores
from lrt_bench.results.schema.result import ResultSummary

if TYPE_CHECKING:
    from pandas import DataFrame, Series

AD_HOC = "-ad-hoc"
DIFFERENCES = 12  # mappings in a pair's table of paired differences
UNSEEN = ["fresh_score", "private_gap", "private_gap_low", "private_gap_high"]
OVERVIEW_MAPPINGS = 40
OVERVIEW_COLUMNS = ["mapping", "pair", "transfer_score", "rank"]


@dataclass(frozen=True)
class Table:
    """One table of the index: the results of a suite and a track, with the controls of its pairs."""

    suite: str
    track: str
    results: DataFrame

    @property
    def id(self) -> str:
        """The table's name in addresses."""
        return f"{slug(self.suite)}--{self.track}"


def tables(results: DataFrame) -> list[Table]:
    """Suite by suite, those of pretrained models first, and track by track.

    A track without a mapping has no table.
    """
    made = []
    suites = sorted(results.groupby("suite", sort=False), key=lambda suite: _place(suite[1]))
    for suite, of_suite in suites:
        for track in RANKED_TRACKS:
            pairs = of_suite["pair"][of_suite["track"] == track]
            shown = of_suite[of_suite["track"].isin([track, "control"]) & of_suite["pair"].isin(pairs)]
            if len(shown):
                made.append(Table(suite, track, shown))
    return made or [Table(suite, "control", of_suite) for suite, of_suite in suites]


def _place(results: DataFrame) -> int:
    """Return where a suite stands: by the first kind of `KINDS` that one of its targets is of."""
    sides = results["source_model"].map(model_kind), results["target_model"].map(model_kind)
    return min(max(KINDS.index(one), KINDS.index(other)) for one, other in zip(*sides, strict=True))


@dataclass(frozen=True)
class Overview:
    """Mappings of a suite and track over its pairs: the mean and its place, then each score and rank.

    overall : the suite's means; None where it has no two pairs to average.
    """

    pairs: list[str]
    overall: Overall | None
    rows: list[tuple[str, list[dict[str, Any] | None], Standing | None]]
    left_out: int


def overviews(results: DataFrame, means: Sequence[Overall]) -> dict[str, list[tuple[str, Overview]]]:
    """Return of each suite the tables of mappings by pairs, one a track, for two to a dozen pairs."""
    by_suite = {one.suite: one for one in means}
    made: dict[str, list[tuple[str, Overview]]] = {}
    for table in tables(results):
        found = overview(table, by_suite.get(table.suite))
        if found is not None:
            made.setdefault(table.suite, []).append((table.track, found))
    return made


def overview(table: Table, overall: Overall | None) -> Overview | None:
    """Return the table of mappings by pairs, best mean first; None for one pair, or for very many."""
    results = table.results[table.results["track"] == table.track]
    pairs, names = list(results["pair"].unique()), list(results["mapping"].unique())
    if not 2 <= len(pairs) <= MOST_AVERAGED:
        return None
    cells = {(row["mapping"], row["pair"]): row for row in records(results[OVERVIEW_COLUMNS])}
    standings = {one.mapping: one for one in overall.of_track(table.track)} if overall else {}
    rows = [(name, [cells.get((name, pair)) for pair in pairs], standings.get(name)) for name in names]
    rows.sort(key=lambda row: (row[2] is None, -(row[2].counted if row[2] else 0), row[0]))
    left_out = max(0, len(rows) - OVERVIEW_MAPPINGS)
    return Overview(pairs, overall if standings else None, rows[:OVERVIEW_MAPPINGS], left_out)


def index_data(shown: Sequence[Table]) -> dict[str, Any]:
    """Return the index's rows as columns, names and dates listed once: a tenth of the table's HTML."""
    unseen = any(bool(table.results[name].notna().any()) for table in shown for name in UNSEEN)
    lists: dict[str, dict[str, int]] = {key: {} for key in ("pair", "name", "kind", "state", "date", "why")}

    def places(key: str, values: Iterable[str]) -> list[int]:
        return [lists[key].setdefault(value, len(lists[key])) for value in values]

    places("why", [""])
    made = []
    for table in shown:
        results = table.results
        pairs = results["pair"].drop_duplicates()
        made.append(
            {
                "id": table.id,
                "suite": table.suite,
                "folder": slug(table.suite),
                "track": table.track,
                "pairs": dict(zip(places("pair", pairs), map(slug, pairs), strict=True)),
                "columns": [
                    places("pair", results["pair"]),
                    places("name", results["mapping"]),
                    places("kind", results["kind"]),
                    places("state", results["state"]),
                    places("date", results["created"].str.slice(0, 10)),
                    places("why", results["unranked"].fillna("")),
                    results["rank"].fillna(0).astype(int).tolist(),
                    results["tied"].astype(int).tolist(),
                    *(_shortened(results[name], 1) for name in ("transfer_score", "ci95_low", "ci95_high")),
                    *(_shortened(results[name], 3) for name in ("steering_r2", "correlation_delta", "fvu")),
                    [float(f"{seconds:.3g}") for seconds in results["fit_seconds"]],
                    *(_shortened(results[name], 1) for name in (UNSEEN if unseen else ())),
                ],
            }
        )
    slugs = {place: slug(name) for name, place in lists["name"].items() if slug(name) != name}
    listed = {key: list(value) for key, value in lists.items()}
    return {"lists": listed, "slugs": slugs, "unseen": unseen, "tables": made}


def _shortened(column: Series, digits: int) -> list[float | None]:
    return [None if math.isnan(value) else round(value, digits) for value in column.tolist()]


def _short(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def result_data(entry: Entry) -> dict[str, Any]:
    """Return what the charts and the comparison read of one result."""
    result = entry.result
    return {
        "name": entry.name,
        "control": result.mapping.control,
        "score": result.transfer_score,
        "ci95": entry.ci95,
        "rank": entry.rank,
        "samples": None if entry.samples is None else pack_samples(entry.samples),
        "fidelity": None if result.fidelity is None else 1 - result.fidelity.fvu,
        "tasks": [_task_data(task) for task in result.tasks],
    }


def pack_samples(samples: metrics.Array) -> str:
    """Bootstrap samples to a hundredth of a point, as base64 of little-endian 16-bit integers."""
    return base64.b64encode(np.rint(samples * 100).astype("<i2").tobytes()).decode()


def _task_data(task: TaskScores) -> dict[str, Any]:
    points = sorted(zip(task.curve_alphas, task.curve, strict=True))
    return {
        "task": task.task,
        "steerable": task.steerable,
        "share": _short(task.measure, 4),
        "ceiling": _short(task.ceiling, 4),
        "curve": [[alpha, float(f"{m:.5g}")] for alpha, m in points],
    }


@dataclass(frozen=True)
class Difference:
    """Transfer Score of one mapping less another's, with the paired 95% interval.

    clear : whether the tests behind the ranks part the two.
    """

    value: float
    low: float
    high: float
    clear: bool


def differences(pair: PairEntries) -> tuple[list[Entry], list[list[Difference | None]]]:
    """Paired differences, row less column, among the pair's best mappings."""
    best = pair.ranked[:DIFFERENCES]
    return best, [[_difference(row, column) for column in best] for row in best]


def _difference(row: Entry, column: Entry) -> Difference | None:
    a, b = row.result.transfer_score, column.result.transfer_score
    if row is column or row.samples is None or column.samples is None or a is None or b is None:
        return None
    low, high = metrics.interval(row.samples - column.samples)
    letters = [set(entry.place.letters) if entry.place else set() for entry in (row, column)]
    clear = not letters[0] & letters[1] if letters[0] else low > 0 or high < 0  # very long boards have none
    return Difference(a - b, low, high, clear)


def task_of(entry: Entry, name: str) -> TaskScores | None:
    """Return an entry's scores on a task; None where it has none."""
    return next((task for task in entry.result.tasks if task.task == name), None)


def best_on(pair: PairEntries, name: str) -> Entry | None:
    """Return the mapping with the highest share on one task; no rank follows from it."""
    scores = [(task.measure, e) for e in pair.ranked if (task := task_of(e, name)) and task.measure]
    return max(scores, key=lambda one: one[0], default=(None, None))[1]


def task_names(board: Board) -> list[str]:
    """Every choice task of the board, then the tasks that make text."""
    names: dict[str, None] = {}
    for pair in board.pairs:
        reference = pair.entries[0].result
        names |= dict.fromkeys(task.task for task in reference.tasks)
        names |= dict.fromkeys(task.task for task in reference.generation)
    return list(names)


def models(board: Board) -> list[SiteRecord]:
    """Return each model of the board once, pretrained ones first, then by size."""
    records = [pair.record for pair in board.pairs]
    sites = {site.model: site for record in records for site in (record.source, record.target)}
    return sorted(
        sites.values(), key=lambda site: (KINDS.index(model_kind(site.model)), site.parameters, site.model)
    )


def by_mapping(board: Board) -> dict[str, list[tuple[PairEntries, Entry]]]:
    """Each mapping's entries over suites and pairs."""
    entries: dict[str, list[tuple[PairEntries, Entry]]] = {}
    for pair in board.pairs:
        for entry in pair.entries:
            entries.setdefault(entry.name, []).append((pair, entry))
    return entries


def scaling_points(results: DataFrame) -> list[dict[str, Any]]:
    """Return a point for each ranked mapping of each pair but planted ones: score against size ratio."""
    ratio = results["target_parameters"] / results["source_parameters"].clip(lower=1)
    names = {"transfer_score": "score", "ci95_low": "low", "ci95_high": "high"}
    points = results.assign(ratio=ratio.astype("float64")).rename(columns=names)
    columns = ["suite", "pair", "mapping", "ratio", "score", "low", "high", "output_level"]
    planted = points["target_model"].map(model_kind) == "planted"
    return records(points.loc[points["rank"].notna() & ~planted, columns])


def without_rungs(results: DataFrame, board: Board) -> DataFrame:
    """Leave out the pairs of ladders: a mean over them, or their place by size, would say nothing."""
    keys = zip(results["suite"], results["pair"], strict=True)
    return results[[key not in board.rungs for key in keys]]


def ladder_data(made: Sequence[Ladder]) -> list[dict[str, Any]]:
    """Return what the charts of ladders read: a line a row, a point a rung."""
    return [
        {
            "rows": [
                {
                    "mapping": climb.mapping,
                    "control": climb.control,
                    "points": [
                        [rung.tokens, *(round(value, 2) for value in (rung.score, *rung.ci95))]
                        for rung in climb.rungs
                    ],
                }
                for climb in ladder.climbs
            ],
        }
        for ladder in made
    ]


def reproduce(result: ResultSummary) -> str:
    """Return the command that computes a result again."""
    words = ["lrt-bench", "evaluate", "--suite", result.suite.removesuffix(AD_HOC)]
    if result.suite.endswith(AD_HOC):
        source, target = result.pair.source, result.pair.target
        words += ["--source", source.model]
        if source.layers is None:
            words += ["--source-layer", str(source.layer)]
        else:
            words += ["--source-layers", ",".join(map(str, source.layers))]
        if source.sae_name is not None:
            words += ["--source-sae", source.sae_name]
        words += ["--target", target.model, "--target-layer", str(target.layer)]
        words += ["--corpus", result.provenance.corpus]
    else:
        words += ["--pair", result.pair.name]
    words += _method(result)
    settings = result.settings
    for flag, value, default in (
        ("--seed", settings.seed, 0),
        ("--dtype", settings.dtype, "float32"),
        ("--device", settings.device, "cpu"),
        ("--batch-size", settings.batch_size, 64),
    ):
        if value != default:
            words += [flag, str(value)]
    return shlex.join(words)


def _method(result: ResultSummary) -> Iterable[str]:
    mapping = result.mapping
    if mapping.control:
        return []  # controls are part of every run
    if mapping.origin == "submission":
        return ["--submission", f"submissions/{mapping.name}"]
    if mapping.origin == "file":
        stem, _, name = mapping.name.rpartition(".")
        return ["--mapping", f"{stem}.py:{name}"]
    return ["--mapping", mapping.name]
