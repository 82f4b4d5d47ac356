"""The commands for submissions: `submit new`, `submit check`, `submit pack`, and `verify`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lrt_bench.cli.completion import complete_pairs
from lrt_bench.cli.options import MODELS, OWN_CODE, SEVERAL, TEXT, names, verbosity, with_options
from lrt_bench.errors import UserError, one_line_errors

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite

FOLDER = click.Path(path_type=Path)


def rows_of(
    paths: Sequence[Path],
    suite: Suite,
    seconds: float,
    unsafe: bool,
    purpose: Literal["public", "private", "fresh"] = "public",
) -> list[Any]:
    """Return the rows of `evaluate --submission`."""
    from lrt_bench.submissions.row import submission_rows
    from lrt_bench.submissions.sandbox.launcher import Limits

    return submission_rows(paths, suite, Limits(seconds=seconds), isolate=not unsafe, purpose=purpose)


@click.group()
def submit() -> None:
    """Write, check and pack a submission: a method of your own for the leaderboard."""


@submit.command()
@click.argument("name")
@click.option("--into", type=FOLDER, default=Path("submissions"), show_default=True)
@click.option("--weights", type=FOLDER, help="Safetensors file with weight and bias: submit fitted weights.")
@click.option("--pair", help="The pair that the weights are for.")
@one_line_errors
def new(name: str, into: Path, weights: Path | None, pair: str | None) -> None:
    """Make submissions/NAME with a card to fill in and a method that works."""
    from lrt_bench.submissions.scaffold import new_submission

    for path in new_submission(name, into, weights, pair):
        click.echo(path)
    what = "" if weights else ", write your method in mapping.py"
    click.echo(
        f"next: fill in submission.yaml{what}, then: lrt-bench submit check {shlex.quote(str(into / name))}"
    )


@submit.command()
@click.argument("path", type=FOLDER)
@one_line_errors
def check(path: Path) -> None:
    """Say everything that is wrong with a submission, without running any of it."""
    from lrt_bench.submissions.folder import check as check_folder
    from lrt_bench.submissions.scaffold import unfilled

    report = check_folder(path)
    for note in report.notes:
        click.echo(f"note: {path}: {note}", err=True)
    for problem in report.problems:
        click.echo(f"error: {UserError(f'{path}: {problem}')}", err=True)
    if report.submission is None:
        sys.exit(2)
    if left := unfilled(report.submission.card):
        for problem in left:
            click.echo(f"error: {UserError(f'{path}: {problem}')}", err=True)
        sys.exit(2)
    card = report.submission.card
    click.echo(f"{path}: {card.name}, {card.track} track, {card.licence}: nothing wrong")
    click.echo(f"next: lrt-bench evaluate --submission {shlex.quote(str(path))}")


@submit.command()
@click.argument("path", type=FOLDER)
@click.option("--suite", "suite_spec", default="nano", show_default=True, help="Suite name or YAML file.")
@click.option(
    "--pair", "pairs", multiple=True, callback=names, shell_complete=complete_pairs,
    help=f"Only this pair ({SEVERAL}).",
)  # fmt: skip
@click.option("--unsafe-no-sandbox", is_flag=True, help="Run it as you, without a sandbox.")
@verbosity
@one_line_errors
def pack(path: Path, suite_spec: str, pairs: tuple[str, ...], unsafe_no_sandbox: bool) -> None:
    """Run a submission and write PATH/claimed: what its pull request needs."""
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.submissions.pack import pack_submission

    with progress() as update:
        written = pack_submission(path, suite_spec, pairs, isolate=not unsafe_no_sandbox, report=update)
    for file in written:
        click.echo(file)


@click.command()
@click.argument("path", type=FOLDER)
@click.option("--suite", "suite_spec", help="YAML file of a suite that does not ship with lrt-bench.")
@click.option("--submission", type=FOLDER, help="Its folder; by default submissions/NAME, or above claimed/.")
@click.option("--mapping", help="PATH.py:CLASS of a method that was scored from a file.")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    callback=names,
    help=f"A task that is not the suite's, or its folder ({SEVERAL}).",
)
@with_options((*TEXT, *MODELS, *OWN_CODE))
@verbosity
@one_line_errors
def verify(
    path: Path, suite_spec: str | None, submission: Path | None, mapping: str | None, **settings: Any
) -> None:
    """Compute a result, or a folder of results, again, and say what differs and by how much.

    Tasks, corpus and stand-ins are those that the result records; give them where it keeps a name alone.
    Exit code 0: the same; 1: something differs; 2: bad input.
    """
    from lrt_bench.cli.terminal.progress import progress
    from lrt_bench.data.datasets import stand_ins
    from lrt_bench.submissions.verify import Verification

    for name, flag in (("data", "--data"), ("models", "--model")):
        settings[name] = stand_ins(settings[name], flag)
    given = {name: value for name, value in settings.items() if value}
    with progress() as update:
        outcome = Verification(path, suite_spec, submission, mapping, given, update).run()
    for line in outcome.lines:
        click.echo(line)
    sys.exit(0 if outcome.same else 1)
