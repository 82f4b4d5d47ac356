"""One listing, five formats: a table for the screen, Markdown, LaTeX, CSV and JSON for what reads on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import click

from lrt_bench.cli.options import Format
from lrt_bench.cli.terminal.layout import Listing, left_out, table
from lrt_bench.cli.terminal.screen import screen
from lrt_bench.errors import printable
from lrt_bench.files.format import latex_signs
from lrt_bench.files.markdown import escaped


def write(listings: Sequence[Listing], form: Format, whole: Any = None) -> None:
    """Print listings on standard output.

    Parameters
    ----------
    whole
        What JSON holds, where that is more than the listings' records.
    """
    if form == "table":
        _write_tables(listings)
        return
    records = [record for listing in listings for record in listing.records]
    if form == "json":
        click.echo(json.dumps(records if whole is None else whole, indent=1, allow_nan=False))
    elif form == "csv":
        click.echo(_csv(records), nl=False)
    else:
        make = _markdown if form == "markdown" else _latex
        click.echo("\n".join(line for listing in listings for line in make(listing)))


def _write_tables(listings: Sequence[Listing]) -> None:
    out = screen()
    for listing in listings:
        out.print(table(listing, out.width))
        for note in (left_out(listing, out.width), *listing.notes):
            if note:
                out.print(note, style="dim")
        if listing.notes:
            out.print()


def _csv(records: Sequence[dict[str, Any]]) -> str:
    from pandas import DataFrame

    flat = [
        {name: json.dumps(value) if isinstance(value, dict | list | tuple) else value
         for name, value in record.items()}
        for record in records
    ]  # fmt: skip
    text: str = DataFrame(flat, dtype=object).to_csv(index=False, lineterminator="\n")
    return text


def _markdown(listing: Listing) -> Iterator[str]:
    if listing.title:
        yield f"### {escaped(listing.title)}"
        yield ""
    yield f"| {' | '.join(column.name or ' ' for column in listing.columns)} |"
    yield f"| {' | '.join('---:' if column.right else '---' for column in listing.columns)} |"
    for row in listing.rows:
        yield f"| {' | '.join(map(escaped, row))} |"
    yield ""
    for note in listing.notes:
        yield escaped(note)
        yield ""


def _latex(listing: Listing) -> Iterator[str]:
    from pandas import DataFrame

    heads = [column.name for column in listing.columns]
    rows = [[printable(cell) for cell in row] for row in listing.rows]
    sides = "".join("r" if column.right else "l" for column in listing.columns)
    made: str = DataFrame(rows, columns=heads).to_latex(index=False, escape=True, column_format=sides)
    if listing.title:
        yield f"% {printable(listing.title)}"
    yield latex_signs(made)
