"""The commands that set results beside the paper's: `report paper`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrt_bench.errors import one_line_errors

if TYPE_CHECKING:
    from rich.console import Console

    from lrt_bench.results.paper_table import Line, Measured
    from lrt_bench.results.storage import Result


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
    from lrt_bench.results import paper_table
    from lrt_bench.results.refusal_table import draw_refusal, refusal_table

    found = paper_table.read_results(results)
    lines = paper_table.lines(found)
    folder = out or (results if results.is_dir() else results.parent)
    drawn: list[Path | None] = []
    for title, group in paper_table.by_pair(lines):
        name = title.replace(" / ", "--")
        drawn.append(paper_table.draw_distributions(group, title, folder / f"figure5--{name}.svg"))
    refusal = [result for result in found if result.refusal]
    drawn.append(draw_refusal(refusal, folder / "figure4.svg") if refusal else None)
    paths = [path for path in drawn if path]
    if as_json:
        record = {
            "tasks": [asdict(line) | {"published": _published(line)} for line in lines],
            "refusal": refusal_table(found),
            "figures": [str(path) for path in paths],
        }
        click.echo(json.dumps(record, indent=1))
        return
    _print(found, lines, paths)


def _published(line: Line) -> dict[str, Any] | None:
    return asdict(line.published) if line.published else None


def _print(found: list[Result], lines: list[Line], paths: list[Path]) -> None:
    from rich.console import Console

    from lrt_bench.results import paper_table
    from lrt_bench.results import refusal_table as report_refusal

    out = Console()
    out = out if out.is_terminal else Console(width=200)
    for title, group in paper_table.by_pair(lines):
        _print_pair(out, title, group)
    _print_features(out, found)
    for result in found:
        for figures in result.refusal:
            out.print(f"{result.suite} / {result.pair.name}: {result.mapping.name}", highlight=False)
            report_refusal.print_refusal(out, figures)
    for path in paths:
        out.print(f"  {path}", highlight=False, soft_wrap=True)


def _print_pair(out: Console, title: str, group: list[Line]) -> None:
    from rich import box
    from rich.table import Table

    from lrt_bench.results.paper_table import mappings_of

    names = [*mappings_of(group), "random", "shuffled"]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", max_width=40)
    table.add_column("paper: r [95%], MSE", no_wrap=True)
    for name in names:
        table.add_column(f"{name}\nr, MSE, R2", no_wrap=True)
    for line in group:
        row = [_cell(line.rows.get(name)) if line.steerable else "-" for name in names]
        if not line.steerable:
            row[0] = "not steerable"
        table.add_row(line.task, _paper(line), *row)
    out.print(table)
    out.print(
        "r, MSE: the paper's, of raw propensities (MSE in squared logits), mean and standard deviation over "
        "alphas; R2: steering R2. What random and shuffled reach is not transfer.",
        style="dim",
        highlight=False,
    )
    out.print()


def _cell(figures: Measured | None) -> str:
    if figures is None or figures.correlation is None or figures.mse is None:
        return "-"
    r2 = "-" if figures.steering_r2 is None else f"{figures.steering_r2:.2f}"
    return f"{figures.correlation:.3f}±{figures.deviation:.2f}, {figures.mse:.2g}, {r2}"


def _paper(line: Line) -> str:
    row = line.published
    return (
        f"{row.correlation:.3f} [{row.interval[0]:.3f}, {row.interval[1]:.3f}], {row.mse:.3g}" if row else ""
    )


def _print_features(out: Console, found: list[Result]) -> None:
    """Figure 3: a map of features beside the map of states, pair by pair of one suite."""
    suites = {result.suite for result in found if result.pair.source.sae}
    for suite in sorted(suites):
        out.print(f"{suite}: features to states (s2l) beside states to states (l2l)", highlight=False)
        for result in found:
            if result.suite != suite or result.mapping.control or result.transfer_score is None:
                continue
            kind = "s2l" if result.pair.source.sae else "l2l"
            tasks = ", ".join(
                f"{task.task} {task.steering_r2:.2f}" for task in result.tasks if task.steering_r2 is not None
            )
            out.print(
                f"  {kind} {result.pair.name}, {result.mapping.name}: Transfer Score "
                f"{result.transfer_score:.1f}; steering R2 {tasks}",
                highlight=False,
                soft_wrap=True,
            )
