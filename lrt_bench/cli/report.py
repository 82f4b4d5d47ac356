"""The commands that set results beside the paper's: `report paper`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.cli.options import Format, format_option
from lrt_bench.errors import one_line_errors
from lrt_bench.files.format import counted

if TYPE_CHECKING:
    from lrt_bench.results.figures.paper_table import Line
    from lrt_bench.results.schema.result import Result


@click.group(name="report")
def reports() -> None:
    """Results as tables and figures."""


@reports.command()
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the figures.  [default: RESULTS]")
@click.option(
    "--figure-format", type=click.Choice(["pdf", "svg", "png"]), default="svg", show_default=True,
    help="How the figures are written.",
)  # fmt: skip
@format_option()
@one_line_errors
def paper(results: Path, out: Path | None, figure_format: str, form: Format) -> None:
    """Our table beside the paper's table 1, and its figures 3, 4 and 5, with random and shuffled controls."""
    from lrt_bench.results.figures import paper_table
    from lrt_bench.results.figures.refusal_figure import draw_refusal
    from lrt_bench.results.frame import records, refusal_frame

    read, problems = paper_table.read_results(results)
    for problem in problems:
        click.echo(f"left out: {problem}", err=True)
    lines = paper_table.lines(read)
    folder = out or (results if results.is_dir() else results.parent)
    drawn: list[Path | None] = []
    for title, group in paper_table.by_pair(lines):
        name = title.replace(" / ", "--").replace("/", "-")
        drawn.append(
            paper_table.draw_distributions(group, title, folder / f"figure5--{name}.{figure_format}")
        )
    refusal = [result for result in read if result.refusal]
    drawn.append(draw_refusal(refusal, folder / f"figure4.{figure_format}") if refusal else None)
    paths = [path for path in drawn if path]
    record = {
        "tasks": [asdict(line) | {"published": _published(line)} for line in lines],
        "refusal": records(refusal_frame(read)),
        "figures": [str(path) for path in paths],
    }
    _print(read, lines, paths, form, record)
    if problems:
        sys.exit(1)


def _published(line: Line) -> dict[str, Any] | None:
    return asdict(line.published) if line.published else None


def _print(
    results: list[Result], lines: list[Line], paths: list[Path], form: Format, record: dict[str, Any]
) -> None:
    from lrt_bench.cli.terminal.formats import write
    from lrt_bench.cli.terminal.pairs import title
    from lrt_bench.cli.terminal.paper import feature_lines, paper_listings
    from lrt_bench.cli.terminal.refusal import refusal_listing
    from lrt_bench.cli.terminal.screen import print_line
    from lrt_bench.results.figures import paper_table

    listings = [
        listing for name, group in paper_table.by_pair(lines) for listing in paper_listings(name, group)
    ]
    of_pair: dict[str, list[Result]] = {}
    for result in results:
        if result.refusal:
            of_pair.setdefault(title(result), []).append(result)
    listings += [listing for name, group in of_pair.items() for listing in refusal_listing(group, name)]
    write(listings, form, record)
    if form == "table":
        for text in feature_lines(results):
            print_line(text)
        if paths:
            names = ", ".join(path.name for path in paths)
            print_line(f"{counted(len(paths), 'figure')} in {paths[0].parent}: {names}")
