"""The `lrt-bench leaderboard` commands: parse, call, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrt_bench.errors import UserError, plainly

if TYPE_CHECKING:
    from lrt_bench.leaderboard.entries import Board
    from lrt_bench.leaderboard.ledger import Line

PATH = click.Path(path_type=Path)
results_option = click.option(
    "--results", type=PATH, default=Path("results"), show_default=True, help="Folder of result files."
)
out_option = click.option(
    "--out", type=PATH, default=Path("site"), show_default=True, help="Folder of the site."
)
ledger_option = click.option(
    "--ledger", type=PATH, help="The ledger; ledger.csv beside the results folder if it is there."
)


@click.group()
def leaderboard() -> None:
    """Results to pages: build, look, record changes, publish, fetch."""


@leaderboard.command()
@results_option
@out_option
@ledger_option
@plainly
def build(results: Path, out: Path, ledger: Path | None) -> None:
    """Render the results as a static site; a bad result file is named and left out (exit code 1)."""
    board = _build(results, out, ledger)
    sys.exit(1 if board.problems else 0)


def _build(results: Path, out: Path, ledger: Path | None) -> Board:
    """Read, check against the ledger, render, and say what was made."""
    from lrt_bench import report
    from lrt_bench.leaderboard.entries import read_board
    from lrt_bench.leaderboard.site import build_site, check_replaceable

    check_replaceable(out)
    with report.progress() as update:
        update("leaderboard: reading", 0, 1)
        board = read_board(results)
        lines = _states(board, results, ledger)
        files = build_site(board, lines, out, update)
    _say_problems(board)
    click.echo(
        f"{len(board.entries)} results on {len(board.pairs)} pairs, {files} files: {out / 'index.html'}"
    )
    return board


def _say_problems(board: Board) -> None:
    for problem in board.problems:
        click.echo(f"left out: {problem}", err=True)


def _states(board: Board, results: Path, path: Path | None) -> list[Line]:
    """The ledger's lines, after the board was checked against them; none where there is no ledger."""
    from lrt_bench.leaderboard.ledger import check, give_states, read_ledger

    if path is not None and not path.is_file():
        raise UserError(f"--ledger {path}: no such file; `lrt-bench leaderboard record` begins one")
    found = path or _beside(results)
    if not found.is_file():
        return []
    lines = read_ledger(found)
    check(board, lines, found)
    give_states(board, lines)
    return lines


def _beside(results: Path) -> Path:
    return results.resolve().parent / "ledger.csv"


@leaderboard.command()
@results_option
@ledger_option
@click.option("--reason", required=True, help="Why the board changes, in one line.")
@click.option("--state", type=click.Choice(["claimed", "reproduced", "verified"]), help="Of what changes.")
@click.option("--entry", "entries", multiple=True, help="Also give --state to SUITE/PAIR/MAPPING.")
@plainly
def record(
    results: Path, ledger: Path | None, reason: str, state: str | None, entries: tuple[str, ...]
) -> None:
    """Write the ledger's lines for every addition, re-score, change of state and removal."""
    from lrt_bench.leaderboard import ledger as ledgers
    from lrt_bench.leaderboard.entries import read_board

    path = ledger or _beside(results)
    board = read_board(results)
    fresh = ledgers.record(board, path, reason=reason, state=state, only=entries)
    _say_problems(board)
    for line in fresh:
        click.echo(f"{line.action}: {'/'.join(line.key)} {line.transfer_score} {line.state}")
    click.echo(f"{len(fresh)} lines written: {path}" if fresh else f"nothing changed: {path}")


@leaderboard.command()
@out_option
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@plainly
def serve(out: Path, port: int) -> None:
    """Show the built site on this machine alone, until Ctrl-C."""
    from lrt_bench.leaderboard.serve import serve as run

    run(out, port, lambda address: click.echo(f"{address} (Ctrl-C ends it)"))
