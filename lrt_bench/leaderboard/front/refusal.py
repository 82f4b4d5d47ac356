"""Refusal tasks of a pair as tables: rows by instructions and intervention, one table a scorer."""

from __future__ import annotations

from dataclasses import dataclass

from lrt_bench.files.format import DASH, number, signed
from lrt_bench.leaderboard.entries import Entry, PairEntries
from lrt_bench.results.frame import chosen_alphas
from lrt_bench.results.schema.refusal_records import Mean, RefusalPoint, RefusalScores

SCORERS = {
    "phrases": "Share refused, by phrases",
    "first-token": "Log-odds of refusing, first token",
    "classifier": "Probability of refusal, by a classifier",
    "judge": "Share refused or harmless, by the judge",
}


@dataclass(frozen=True)
class RefusalTable:
    """One refusal task and scorer on a pair.

    columns : instructions and intervention, at the alphas that validation chose; rows : a cell for each.
    """

    task: str
    scorer: str
    chosen_on: int
    columns: list[str]
    rows: list[tuple[Entry, list[str]]]


def refusal_tables(pair: PairEntries) -> list[RefusalTable]:
    """Return a table for each refusal task and scorer of a pair; none where refusal was not measured."""
    found: dict[str, list[tuple[Entry, RefusalScores]]] = {}
    for entry in pair.entries:
        for task in entry.result.refusal:
            found.setdefault(task.task, []).append((entry, task))
    return [
        table
        for task, rows in found.items()
        for scorer in SCORERS
        if (table := _table(task, scorer, rows)) is not None
    ]


def _table(name: str, scorer: str, rows: list[tuple[Entry, RefusalScores]]) -> RefusalTable | None:
    cells = {entry.name: _cells(task, scorer) for entry, task in rows}
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    if not columns:
        return None
    lines = [(entry, [cells[entry.name].get(column, DASH) for column in columns]) for entry, _ in rows]
    return RefusalTable(name, SCORERS[scorer], rows[0][1].chosen_on, columns, lines)


def _cells(task: RefusalScores, scorer: str) -> dict[str, str]:
    """Return {column: cell} of the points unsteered, at the chosen alphas, and under ablation."""
    shown = {None, 0.0, *chosen_alphas(task)}
    return {
        f"{instructions}, {_intervention(point)}": _cell(point.scores[scorer])
        for instructions, points in (("harmful", task.harmful), ("harmless", task.harmless))
        for point in points
        if point.alpha in shown and scorer in point.scores
    }


def _intervention(point: RefusalPoint) -> str:
    if point.alpha is None:
        return {"ablate": "ablated", "ablate-all": "ablated everywhere"}.get(
            point.intervention, point.intervention
        )
    return "unsteered" if point.alpha == 0 else f"alpha {signed(point.alpha)}"


def _cell(value: Mean) -> str:
    if value.mean is None:
        return f"{DASH} ({value.failures} failed)" if value.failures else DASH
    error = "" if value.standard_error is None else f" ±{number(value.standard_error, 2)}"
    failed = f" ({value.failures} failed)" if value.failures else ""
    return f"{number(value.mean, 2)}{error}{failed}"
