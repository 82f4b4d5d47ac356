"""The `lrt-bench leaderboard` commands: parse, call, print."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrt_bench.cli.options import names, verbosity
from lrt_bench.errors import UserError, one_line_errors
from lrt_bench.files.format import counted

if TYPE_CHECKING:
    from lrt_bench.leaderboard.entries import Board
    from lrt_bench.leaderboard.front.links import Links
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
repository_option = click.option(
    "--repository", envvar="LRT_BENCH_REPOSITORY", help="Address of the code, for the pages' links."
)


@click.group()
def leaderboard() -> None:
    """Results to pages: build, look, record changes, publish, fetch."""


@leaderboard.command()
@results_option
@out_option
@ledger_option
@repository_option
@click.option("--address", help="Where the site will lie, for the previews of its links.")
@verbosity
@one_line_errors
def build(results: Path, out: Path, ledger: Path | None, repository: str | None, address: str | None) -> None:
    """Render the results as a static site; a bad result file is named and left out (exit code 1)."""
    from lrt_bench.leaderboard.front.links import Links

    board = _build(results, out, ledger, Links(repository, address))
    sys.exit(1 if board.problems else 0)


def _build(results: Path, out: Path, ledger: Path | None, links: Links) -> Board:
    """Read, check against the ledger, render, and say what was made."""
    # one thread a process: the work is shared out to processes, and their threads would fight for the cores
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.leaderboard.entries import read_board
    from lrt_bench.leaderboard.site import build_site, check_replaceable

    check_replaceable(out)
    with progress() as update:
        board = read_board(results, update)
        lines = _states(board, results, ledger)
        files = build_site(board, lines, out, update, links)
    _say_problems(board)
    click.echo(
        f"{counted(len(board.entries), 'result')} on {counted(len(board.pairs), 'pair')}, {files} files: "
        f"{out / 'index.html'}"
    )
    return board


def _say_problems(board: Board) -> None:
    for problem in board.problems:
        click.echo(f"left out: {problem}", err=True)


def _states(board: Board, results: Path, path: Path | None) -> list[Line]:
    """Return the ledger's lines, after the board was checked against them; none where there is no ledger."""
    from lrt_bench.leaderboard.ledger import check, give_states, read_ledger

    if path is not None and not path.is_file():
        raise UserError(f"--ledger {path}: no such file; `lrt-bench leaderboard record` begins one")
    ledger = path or _beside(results)
    if not ledger.is_file():
        return []
    lines = read_ledger(ledger)
    check(board, lines, ledger)
    give_states(board, lines)
    return lines


def _beside(results: Path) -> Path:
    return results.resolve().parent / "ledger.csv"


@leaderboard.command()
@results_option
@ledger_option
@click.option("--reason", required=True, help="Why the board changes, in one line.")
@click.option("--state", type=click.Choice(["claimed", "reproduced", "verified"]), help="Of what changes.")
@click.option(
    "--entry", "entries", multiple=True, callback=names, help="Also give --state to SUITE/PAIR/MAPPING."
)
@one_line_errors
def record(
    results: Path, ledger: Path | None, reason: str, state: str | None, entries: tuple[str, ...]
) -> None:
    """Write the ledger's lines for every addition, re-score, change of state and removal."""
    from lrt_bench.leaderboard import ledger as ledgers
    from lrt_bench.leaderboard.entries import read_board

    path = ledger or _beside(results)
    if not path.parent.is_dir():
        raise UserError(f"--ledger {path}: its folder is not there; make it first")
    board = read_board(results)
    fresh = ledgers.record(board, path, reason=reason, state=state, only=entries)
    _say_problems(board)
    for line in fresh:
        click.echo(f"{line.action}: {'/'.join(line.key)} {line.transfer_score} {line.state}")
    click.echo(f"{len(fresh)} lines written: {path}" if fresh else f"nothing changed: {path}")


@leaderboard.command()
@out_option
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@one_line_errors
def serve(out: Path, port: int) -> None:
    """Show the built site on this machine alone, until Ctrl-C."""
    from lrt_bench.leaderboard.serve import serve as run

    run(out, port, lambda address: click.echo(f"{address} (Ctrl-C ends it)"))


space_option = click.option("--space", help="The static Space, as ORG/NAME.")
dataset_option = click.option("--dataset", help="The dataset repository, as ORG/NAME.")


@leaderboard.command()
@results_option
@out_option
@ledger_option
@space_option
@dataset_option
@repository_option
@click.option("--dry-run", is_flag=True, help="Say what would be sent; send nothing.")
@click.option("--verify", is_flag=True, help="Download everything again, and compare hashes.")
@click.option("--create-pr", is_flag=True, help="Open pull requests on the Hub instead of committing.")
@verbosity
@one_line_errors
def publish(
    results: Path,
    out: Path,
    ledger: Path | None,
    space: str | None,
    dataset: str | None,
    repository: str | None,
    dry_run: bool,
    verify: bool,
    create_pr: bool,
) -> None:
    """Build the site, then publish it as a static Space and the results as a dataset.

    One commit a repository, none where nothing changed. The token comes from HF_TOKEN or `hf auth login`.
    """
    from lrt_bench.data.hub.repository import Destination
    from lrt_bench.leaderboard.front.links import Links
    from lrt_bench.leaderboard.publish import publish_leaderboard, space_address

    for repo in (space, dataset):
        if repo is not None:
            Destination(repo, "space")  # a wrong name is told before anything is built
    if space is None and dataset is None:
        raise UserError("nowhere to publish: give --space ORG/NAME, --dataset ORG/NAME or both")
    board = _build(results, out, ledger, Links(repository, space_address(space) if space else None))
    records = {entry.address: entry.path for entry in board.entries}
    publish_leaderboard(
        records,
        out,
        space=space,
        dataset=dataset,
        dry_run=dry_run,
        verify=verify,
        create_pr=create_pr,
        report=click.echo,
    )
    sys.exit(1 if board.problems else 0)


@leaderboard.command()
@results_option
@ledger_option
@click.option("--to", type=click.Choice(["every-eval-ever"]), required=True, help="Whose form.")
@click.option("--out", type=PATH, default=Path("export"), show_default=True, help="Folder to write below.")
@one_line_errors
def export(results: Path, ledger: Path | None, to: str, out: Path) -> None:
    """Write the ranked results in another project's form: Every Eval Ever's records, schema 0.3.0."""
    from lrt_bench.leaderboard.entries import read_board
    from lrt_bench.leaderboard.exports import every_eval_ever

    board = read_board(results)
    _states(board, results, ledger)
    count = every_eval_ever.export(board, out)
    _say_problems(board)
    click.echo(f"{count} records for {to}: {out / 'data'}")
    sys.exit(1 if board.problems else 0)


@leaderboard.command()
@click.argument("dataset")
@click.option("--out", type=PATH, default=Path("results"), show_default=True, help="Where results go.")
@click.option("--revision", help="A commit, branch or tag of the dataset.")
@one_line_errors
def pull(dataset: str, out: Path, revision: str | None) -> None:
    """Fetch published results from the dataset repository ORG/NAME."""
    from lrt_bench.leaderboard.pull import pull as fetch

    fetch(dataset, out, revision=revision, report=click.echo)
