"""The command line: parse, call, print.

Heavy imports wait until a command needs them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lrt_bench._version import __version__
from lrt_bench.cli.decoder_relation import decoder_relation
from lrt_bench.cli.evaluate import evaluate
from lrt_bench.cli.leaderboard import leaderboard
from lrt_bench.cli.report import reports
from lrt_bench.cli.submit import submit, verify
from lrt_bench.cli.sweep_layers import sweep_layers
from lrt_bench.cli.transfer import fit, transfer
from lrt_bench.cli.try_vector import try_
from lrt_bench.errors import one_line_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Benchmark the transfer of steering vectors between language models.

    Begin with `lrt-bench evaluate`: it scores every built-in mapping on the embedded models.
    """


main.add_command(leaderboard)
main.add_command(reports)


@main.command(name="list")
@click.argument("what", type=click.Choice(["suites", "pairs", "tasks", "mappings"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON list on standard output.")
@one_line_errors
def list_(what: str, as_json: bool) -> None:
    """List the suites, pairs, tasks or mappings that ship with lrt-bench."""
    rows = _described(what)
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    from lrt_bench.cli.terminal import tables as report

    report.print_rows(rows, leave_out=("digest",))


def _described(what: str) -> list[dict[str, Any]]:
    if what == "mappings":
        from lrt_bench.mappings.names import BUILT_IN

        return [{"name": name, "description": entry[2]} for name, entry in BUILT_IN.items()]
    if what == "tasks":
        from lrt_bench.data.task_reading.task_folders import describe_tasks

        return describe_tasks()
    from lrt_bench.data.suites import describe_pairs, describe_suites

    return describe_suites() if what == "suites" else describe_pairs()


@main.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole record on standard output.")
@one_line_errors
def show(result: Path, as_json: bool) -> None:
    """Show one result file: its scores, its tasks, its fidelity, its cost."""
    from lrt_bench.results.storage import read_result

    record = read_result(result)
    if as_json:
        click.echo(record.model_dump_json(indent=1))
        return
    from lrt_bench.cli.terminal import tables as report

    report.print_result(record)


@main.command()
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@one_line_errors
def summary(results: Path) -> None:
    """Print a folder of results as Markdown, for a pull request or a report."""
    from lrt_bench.leaderboard.markdown import markdown

    click.echo(markdown(results), nl=False)


@main.command()
@one_line_errors
def schema() -> None:
    """Print the JSON Schema of a result file."""
    from lrt_bench.results.schema.result import json_schema

    click.echo(json_schema(), nl=False)


main.add_command(decoder_relation)
main.add_command(evaluate)
main.add_command(fit)
main.add_command(submit)
main.add_command(sweep_layers)
main.add_command(transfer)
main.add_command(try_)
main.add_command(verify)
