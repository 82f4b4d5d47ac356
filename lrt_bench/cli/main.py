"""The command line: parse, call, print.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

from pathlib import Path

import click

from lrt_bench._version import __version__
from lrt_bench.cli.cache import cache
from lrt_bench.cli.decoder_relation import decoder_relation
from lrt_bench.cli.evaluate import evaluate
from lrt_bench.cli.group import Group
from lrt_bench.cli.leaderboard import leaderboard
from lrt_bench.cli.options import Format, format_option
from lrt_bench.cli.report import reports
from lrt_bench.cli.submit import submit, verify
from lrt_bench.cli.sweep_layers import sweep_layers
from lrt_bench.cli.transfer import fit, transfer
from lrt_bench.cli.try_vector import try_
from lrt_bench.errors import one_line_errors


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Benchmark the transfer of steering vectors between language models.

    Begin with `lrt-bench evaluate`: it scores every built-in mapping on the embedded models.
    """


main.add_command(leaderboard)
main.add_command(reports)


@main.command(name="list")
@click.argument("what", required=False)
@format_option()
@one_line_errors
def list_(what: str | None, form: Format) -> None:
    """List the suites, pairs, tasks or mappings that ship with lrt-bench; alone, how many of each."""
    from lrt_bench.cli.terminal.formats import write
    from lrt_bench.cli.terminal.lists import listings, whole

    write(listings(what), form, whole(what))


@main.command()
@click.argument("result", type=click.Path(path_type=Path))
@format_option()
@one_line_errors
def show(result: Path, form: Format) -> None:
    """Show one result file in full, or a folder of results: a table a pair."""
    from lrt_bench.cli.terminal.formats import write

    if result.is_dir():
        from lrt_bench.cli.terminal.pairs import folder_listings

        write(folder_listings(result), form)
        return
    from lrt_bench.cli.terminal.one_result import result_listings
    from lrt_bench.results.storage import read_result

    record = read_result(result)
    if form == "json":
        click.echo(record.model_dump_json(indent=1))
    else:
        write(result_listings(record), form)


@main.command()
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@format_option("markdown")
@one_line_errors
def summary(results: Path, form: Format) -> None:
    """Print a folder of results as Markdown, for a pull request or a report, or as --format says."""
    if form == "markdown":
        from lrt_bench.leaderboard.markdown import markdown

        click.echo(markdown(results), nl=False)
        return
    from lrt_bench.cli.terminal.formats import write
    from lrt_bench.cli.terminal.ladders import ladder_listings
    from lrt_bench.cli.terminal.overall import overall_listings
    from lrt_bench.cli.terminal.pairs import board_listings
    from lrt_bench.leaderboard.entries import read_board
    from lrt_bench.results.frame import records

    board = read_board(results)
    for problem in board.problems:
        click.echo(f"left out: {problem}", err=True)
    suites = ladder_listings(board.ladders) + overall_listings(board.overall)
    write(board_listings(records(board.frame())) + suites, form)


@main.command()
@one_line_errors
def schema() -> None:
    """Print the JSON Schema of a result file."""
    from lrt_bench.results.schema.result import json_schema

    click.echo(json_schema(), nl=False)


main.add_command(cache)
main.add_command(decoder_relation)
main.add_command(evaluate)
main.add_command(fit)
main.add_command(submit)
main.add_command(sweep_layers)
main.add_command(transfer)
main.add_command(try_)
main.add_command(verify)
