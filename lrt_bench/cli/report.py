"""The commands that set results beside the paper's: `report paper`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.errors import one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from lrt_bench.results.figures.paper_table import Line, Measured
    from lrt_bench.results.schema.result import Result


@click.group(name="report")
def reports() -> None:
    """Results as tables and figures."""


@reports.command()
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the figures.  [default: RESULTS]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@one_line_errors
def paper(results: Path, out: Path | None, as_json: bool) -> None:
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
        drawn.append(paper_table.draw_distributions(group, title, folder / f"figure5--{name}.svg"))
    refusal = [result for result in read if result.refusal]
    drawn.append(draw_refusal(refusal, folder / "figure4.svg") if refusal else None)
    paths = [path for path in drawn if path]
    if as_json:
        record = {
            "tasks": [asdict(line) | {"published": _published(line)} for line in lines],
            "refusal": records(refusal_frame(read)),
            "figures": [str(path) for path in paths],
        }
        click.echo(json.dumps(record, indent=1))
    else:
        _print(read, lines, paths)
    if problems:
        sys.exit(1)


def _published(line: Line) -> dict[str, Any] | None:
    return asdict(line.published) if line.published else None


def _print(results: list[Result], lines: list[Line], paths: list[Path]) -> None:
    from lrt_bench.cli.terminal.refusal import print_refusal
    from lrt_bench.cli.terminal.screen import print_line, screen
    from lrt_bench.results.figures import paper_table

    out = screen(width=200)
    for title, group in paper_table.by_pair(lines):
        _print_pair(out, title, group)
    for text in _feature_lines(results):
        print_line(text)
    for result in results:
        for task in result.refusal:
            out.print(f"{result.suite} / {result.pair.name}: {result.mapping.name}")
            print_refusal(out, task)
    for path in paths:
        print_line(f"  {path}")


def _print_pair(out: Console, title: str, group: list[Line]) -> None:
    from rich import box
    from rich.table import Table

    from lrt_bench.files.format import DASH
    from lrt_bench.results.figures.paper_table import mappings_of

    names = [*mappings_of(group), "random", "shuffled"]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", max_width=40)
    table.add_column("paper: r [95%], MSE", no_wrap=True)
    for name in names:
        table.add_column(f"{name}\nr, MSE, R2", no_wrap=True)
    for line in group:
        row = [_cell(line.rows.get(name)) if line.steerable else DASH for name in names]
        if not line.steerable:
            row[0] = "not steerable"
        table.add_row(line.task, _paper(line), *row)
    out.print(table)
    out.print(
        "r, MSE: the paper's, of raw propensities (MSE in squared logits), mean and standard deviation over "
        "alphas; R2: steering R2. What random and shuffled reach is not transfer.",
        style="dim",
    )
    out.print()


def _cell(measured: Measured | None) -> str:
    from lrt_bench.files.format import DASH, number

    if measured is None or measured.correlation is None or measured.mse is None:
        return DASH
    r = f"{number(measured.correlation)}±{number(measured.deviation, 2)}"
    return f"{r}, {measured.mse:.2g}, {number(measured.steering_r2, 2)}"


def _paper(line: Line) -> str:
    row = line.published
    return (
        f"{row.correlation:.3f} [{row.interval[0]:.3f}, {row.interval[1]:.3f}], {row.mse:.3g}" if row else ""
    )


def _feature_lines(results: list[Result]) -> Iterator[str]:
    """Figure 3: a map of features beside the map of states, pair by pair of one suite."""
    from lrt_bench.files.format import number

    for suite in sorted({result.suite for result in results if result.pair.source.sae}):
        yield f"{suite}: features to states (s2l) beside states to states (l2l)"
        for result in results:
            if result.suite != suite or result.mapping.control or result.transfer_score is None:
                continue
            kind = "s2l" if result.pair.source.sae else "l2l"
            tasks = ", ".join(f"{task.task} {number(task.steering_r2, 2)}" for task in result.tasks)
            score = number(result.transfer_score, 1)
            pair, mapping = result.pair.name, result.mapping.name
            yield f"  {kind} {pair}, {mapping}: Transfer Score {score}; steering R2 {tasks}"
