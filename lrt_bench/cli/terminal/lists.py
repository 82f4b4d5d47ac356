"""What `list` shows: suites, pairs, tasks and mappings that ship with lrt-bench."""

from __future__ import annotations

import itertools
from typing import Any

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.errors import UserError, did_you_mean

WHAT = ("suites", "pairs", "tasks", "mappings")


def listings(what: str | None) -> list[Listing]:
    """Return what there is of a kind; of all kinds, how many, where none is named.

    Raises UserError for another word.
    """
    if what is None:
        counts = [(kind, str(len(_records(kind))), f"lrt-bench list {kind}") for kind in WHAT]
        columns = (Column("what"), Column("how many", right=True), Column("more"))
        return [Listing(columns, counts, [{"name": kind, "count": int(count)} for kind, count, _ in counts])]
    kind = _kind(what)
    rows = _records(kind)
    if kind == "pairs":
        return [_pairs(suite, list(of_suite)) for suite, of_suite in itertools.groupby(rows, _suite)]
    return [_described(rows)]


def whole(what: str | None) -> list[dict[str, Any]] | None:
    """Return the records that JSON holds; None for those of the listings."""
    return None if what is None else _records(_kind(what))


def _kind(what: str) -> str:
    """Return the plural of a word: `task` is `tasks`."""
    word = what if what.endswith("s") else f"{what}s"
    if word not in WHAT:
        raise UserError(f"list {what}: no such list{did_you_mean(word, WHAT)}; give {', '.join(WHAT)}")
    return word


def _records(kind: str) -> list[dict[str, Any]]:
    if kind == "mappings":
        from lrt_bench.mappings.names import BUILT_IN

        return [{"name": name, "description": entry[2]} for name, entry in BUILT_IN.items()]
    if kind == "tasks":
        from lrt_bench.data.task_reading.task_folders import describe_tasks

        return describe_tasks()
    from lrt_bench.data.suites import describe_pairs, describe_suites

    return describe_suites() if kind == "suites" else describe_pairs()


def _suite(row: dict[str, Any]) -> str:
    return str(row["suite"])


def _pairs(suite: str, rows: list[dict[str, Any]]) -> Listing:
    columns = (Column("name"), Column("source", least=20), Column("target", least=20))
    shown = [(row["name"], _site(row, "source"), _site(row, "target")) for row in rows]
    return Listing(columns, shown, rows, suite)


def _site(row: dict[str, Any], side: str) -> str:
    layer = row[f"{side}_layer"]
    return str(row[side]) if layer is None else f"{row[side]}:{layer}"


def _described(rows: list[dict[str, Any]]) -> Listing:
    """Return a table of rows with a name and a description: numbers between them, by priority."""
    middle = [name for name in rows[0] if name not in ("name", "description", "digest")]
    columns = (
        Column("name", least=24),
        *(Column(name, right=isinstance(rows[0][name], int), priority=9 - place)
          for place, name in enumerate(middle)),
        Column("description", least=30),
    )  # fmt: skip
    shown = [
        (row["name"], *("" if row[name] is None else str(row[name]) for name in middle), row["description"])
        for row in rows
    ]
    return Listing(columns, shown, rows)
