"""Tables that fit: columns go by their priority where room is short, and no number is ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table

from lrt_bench.errors import printable

EDGE, BETWEEN = 1, 2  # letters before the first column, and beside each


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    head
        What stands above it; a line end breaks it.
    right
        Whether its cells end at the right: numbers.
    priority
        0 is always shown; of the others the highest goes first where room is short.
    least
        Letters down to which its text may be folded; 0 for numbers, which are never cut or folded.
    """

    head: str
    right: bool = False
    priority: int = 0
    least: int = 0

    @property
    def name(self) -> str:
        """The head in one line, as files have it and as a note names the column."""
        return self.head.replace("\n", " ")


@dataclass(frozen=True)
class Listing:
    """A table before it is laid out.

    Attributes
    ----------
    columns, rows
        What is shown, each row as long as `columns`.
    records
        The same and more as values, for CSV and JSON.
    title, notes
        Lines above it and below it.
    sections
        Numbers of the rows before which a gap stands.
    """

    columns: tuple[Column, ...]
    rows: Sequence[tuple[str, ...]]
    records: Sequence[dict[str, Any]] = ()
    title: str = ""
    notes: tuple[str, ...] = ()
    sections: frozenset[int] = field(default_factory=frozenset)


def chosen_columns(listing: Listing, width: int) -> list[int]:
    """Return the numbers of the columns that fit in `width` letters, in their order."""
    needs = [_needs(listing, number) for number in range(len(listing.columns))]
    chosen = list(range(len(listing.columns)))
    while EDGE + sum(needs[number] + BETWEEN for number in chosen) > width:
        last = max(chosen, key=lambda number: (listing.columns[number].priority, number))
        if listing.columns[last].priority == 0:
            break
        chosen.remove(last)
    return chosen


def _needs(listing: Listing, number: int) -> int:
    """Return the letters that a column needs at least."""
    column = listing.columns[number]
    texts = [*column.head.split("\n"), *(printable(row[number]) for row in listing.rows)]
    widest = max(map(cell_len, texts))
    return min(widest, column.least) if column.least else widest


def table(listing: Listing, width: int) -> Table:
    """Lay a listing out in `width` letters."""
    made = Table(
        title=listing.title or None, title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    chosen = chosen_columns(listing, width)
    for column in (listing.columns[number] for number in chosen):
        made.add_column(
            column.head, justify="right" if column.right else "left",
            no_wrap=not column.least, overflow="fold",
        )  # fmt: skip
    for number, row in enumerate(listing.rows):
        if number in listing.sections:
            made.add_section()
        made.add_row(*(row[place] for place in chosen))
    return made


def left_out(listing: Listing, width: int) -> str | None:
    """Return the line that names the columns for which there is no room; None where all are shown."""
    chosen = chosen_columns(listing, width)
    names = [column.name for number, column in enumerate(listing.columns) if number not in chosen]
    if not names:
        return None
    return f"no room for {', '.join(names)}: widen the terminal, or give --format csv"
