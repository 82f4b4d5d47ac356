"""The results of pairs as tables: name and score first, ranked mappings, then controls."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrt_bench.cli.terminal.drawing import ranked_pairs
from lrt_bench.cli.terminal.ladders import ladder_listings
from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.cli.terminal.refusal import refusal_listing
from lrt_bench.files.format import number, shared_rank, signed, with_interval
from lrt_bench.results.figures.paper_table import read_results
from lrt_bench.results.frame import frame, records
from lrt_bench.results.ladders import ladders_of
from lrt_bench.results.ranking import ranked

if TYPE_CHECKING:
    from lrt_bench.evaluation.cells import Cell, Failure
    from lrt_bench.results.ranking import RankedRow
    from lrt_bench.results.schema.result import Result, ResultSummary

ROW = (
    "mapping", "pair", "suite", "track", "control", "transfer_score", "rank", "tied", "complete",
    "steering_r2", "correlation_delta", "fvu", "fit_seconds",
    "unranked", "private_score", "supported_score", "private_gap", "fresh_score",
)  # fmt: skip
SCORED: tuple[Column, ...] = (
    Column("mapping", least=24),
    Column("Transfer Score", right=True),
    Column("rank", right=True, priority=1),
    Column("groups", priority=2),
    Column("track", priority=7),
    Column("FVU", right=True, priority=4),
    Column("fit s", right=True, priority=3),
    Column("r(D)", right=True, priority=6),
    Column("steering\nR2", right=True, priority=5),
    Column("private\nsupports", right=True, priority=1),
    Column("fresh", right=True, priority=2),
)
OPTIONAL = {"private\nsupports": "supported_score", "fresh": "fresh_score"}  # shown where a row has one


def as_rows(cells: Sequence[Cell], failures: Sequence[Failure] = ()) -> list[dict[str, Any]]:
    """Return what `evaluate --json` prints: a flat record a cell; `failure` says why one has no scores."""
    rows = _rows(cells)
    if not failures:
        return rows
    empty = dict.fromkeys(rows[0]) | {"suite": rows[0]["suite"]}
    return rows + [
        empty | {"mapping": f.mapping, "pair": f.pair, "control": False, "failure": f.reason}
        for f in failures
    ]


def _rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    paths = {(c.result.pair.name, c.result.mapping.name): str(c.path) for c in cells}
    ranked_rows = [
        row for rows in ranked_pairs(cells) for row in rows
        if (row.result.pair.name, row.result.mapping.name) in paths
    ]  # fmt: skip
    made = []
    for row, record in zip(ranked_rows, records(frame(ranked_rows)), strict=True):
        interval = None if record["ci95_low"] is None else (record["ci95_low"], record["ci95_high"])
        more: dict[str, Any] = {"ci95": interval, "not_steerable": row.result.not_steerable, "failure": None}
        more["path"] = paths[record["pair"], record["mapping"]]
        made.append({name: record[name] for name in ROW} | more)
    return made


def pair_listings(rows: Sequence[RankedRow]) -> list[Listing]:
    """Return a pair's tables: the scores, where a task gives one, and the refusal tasks."""
    listings = []
    if any(row.result.tasks for row in rows) or not any(row.result.refusal for row in rows):
        listings.append(_scores(rows))
    if any(row.result.refusal for row in rows):
        listings += refusal_listing([row.result for row in rows], title(rows[0].result))
    return listings


def title(result: ResultSummary) -> str:
    """Return the line above a pair's table: suite, pair, and its two sites."""
    sites = [f"{site.model}:{site.where}" for site in (result.pair.source, result.pair.target)]
    return f"{result.suite} / {result.pair.name}   {sites[0]} -> {sites[1]}"


def _scores(ranked_rows: Sequence[RankedRow]) -> Listing:
    rows = records(frame(ranked_rows))
    tracks = len({row["track"] for row in rows if not row["control"]}) > 1
    columns, shown = _shown(rows, set() if tracks else {"track"})
    controls = next((number for number, row in enumerate(rows) if row["control"]), 0)
    return Listing(
        columns, shown, rows, title(ranked_rows[0].result),
        notes=(_footnote(ranked_rows), *_behaviour(ranked_rows), *_side_effects(ranked_rows)),
        sections=frozenset({controls} - {0}),
    )  # fmt: skip


def score(row: dict[str, Any]) -> str:
    """Return a score with its interval, compact: 86.9 [74.0, 97.1]."""
    if row["transfer_score"] is None or row["ci95_low"] is None:
        return "not steerable"
    return with_interval(row["transfer_score"], row["ci95_low"], row["ci95_high"])


def _footnote(rows: Sequence[RankedRow]) -> str:
    result = rows[0].result
    counted = [task for task in result.tasks if task.steerable]
    prompts = sum(task.prompts for task in counted)
    failures = sum(task.failures for task in result.tasks)
    text = f"{len(counted)} tasks, {prompts} prompts, {failures} failures"
    if result.not_steerable:
        text += f"; not steerable: {', '.join(result.not_steerable)}"
    if result.not_scorable:
        text += f"; not scorable in its tokenizer: {', '.join(result.not_scorable)}"
    if flagged := [r.result.mapping.name for r in rows if r.result.audit and r.result.audit.rotation_flag]:
        text += f"; rotation audit flags {', '.join(flagged)} (see `lrt-bench show`)"
    if below := [r.result.mapping.name for r in rows if (r.unranked or "").startswith("not verified")]:
        text += f"; not ranked without a private score that agrees: {', '.join(below)} (--private)"
    if not result.complete:
        text += "; incomplete (some of the suite's tasks or prompts alone): not ranked"
    return text


def _behaviour(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Lines that say what the scores are made of, and whether the pair tests the output alone."""
    record = next((row.result.behaviour for row in rows if row.result.behaviour), None)
    if record is None:
        return
    yield (
        f"score: behaviour share over {record.tokens + 1} tokens at alpha "
        f"{', '.join(map(signed, record.alphas))}; alpha 1 costs {record.unit.nats:g} nats "
        f"({number(record.unit.length, 2)} long)"
    )


def _side_effects(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Yield a line for each lm-eval task: its first metric unsteered, and under each row's vectors."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        for task, group in itertools.groupby(row.result.lm_eval, key=lambda metric: metric.task):
            first = next(group)
            start = f"{task} {first.metric}: {number(first.unsteered)} unsteered"
            if first.alphas:
                start += f"; at alpha {', '.join(map(signed, first.alphas))}"
            values = ", ".join(number(value) for value in first.value)
            lines.setdefault(start, []).append(f"{row.result.mapping.name} {values}")
    for start, each in lines.items():
        yield f"{start}: {'; '.join(each)}"


def folder_listings(folder: Path) -> list[Listing]:
    """Return the tables of all results below a folder, a pair after the other, then those of ladders.

    Raises UserError where there is none.
    """
    pairs: dict[tuple[str, str], list[Result]] = {}
    for result in read_results(folder)[0]:
        pairs.setdefault((result.suite, result.pair.name), []).append(result)
    rows = [ranked(results) for results in pairs.values()]
    listings = [listing for of_pair in rows for listing in pair_listings(of_pair)]
    return listings + ladder_listings(ladders_of(row for of_pair in rows for row in of_pair))


def board_listings(table: Sequence[dict[str, Any]]) -> list[Listing]:
    """Return a listing for each pair of rows that were ranked already: records of `results.frame`."""
    groups = itertools.groupby(table, key=lambda row: (row["suite"], row["pair"]))
    return [_of_board(list(rows)) for _, rows in groups]


def _of_board(rows: list[dict[str, Any]]) -> Listing:
    first = rows[0]
    source = f"{first['source_model']}:{first['source_layers'] or first['source_layer']}"
    sites = f"{source} -> {first['target_model']}:{first['target_layer']}"
    return Listing(*_shown(rows), rows, f"{first['suite']} / {first['pair']}   {sites}")


def _shown(
    rows: Sequence[dict[str, Any]], left_out: AbstractSet[str] = frozenset()
) -> tuple[tuple[Column, ...], list[tuple[str, ...]]]:
    """Return the columns that have something to show, and the rows in them."""
    empty = {head for head, name in OPTIONAL.items() if all(row[name] is None for row in rows)}
    kept = [place for place, column in enumerate(SCORED) if column.head not in empty | left_out]
    cells = [_cells(row) for row in rows]
    return tuple(SCORED[place] for place in kept), [tuple(row[place] for place in kept) for row in cells]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what `SCORED` shows of a record of `results.frame`."""
    return (
        row["mapping"], score(row), shared_rank(row["rank"], row["tied"]), row["groups"] or "", row["track"],
        number(row["fvu"]), number(row["fit_seconds"], 2), number(row["correlation_delta"]),
        number(row["steering_r2"]), number(row["supported_score"], 1), number(row["fresh_score"], 1),
    )  # fmt: skip
