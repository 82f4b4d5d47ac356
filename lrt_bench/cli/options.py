"""Options that commands share: text, stand-ins, where and how models run, which engine computes cells."""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from lrt_bench.errors import UserError
from lrt_bench.files.cache.folder import CACHE_SIZE

Command = TypeVar("Command", bound=Callable[..., Any])
Format = Literal["table", "markdown", "latex", "csv", "json"]
FORMATS: tuple[Format, ...] = ("table", "markdown", "latex", "csv", "json")


def names(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Take the values of a list: repeated, with commas between, or both; a path that exists stays whole."""
    parts = [
        part.strip()
        for value in values
        for part in ([value] if Path(value).exists() else value.split(","))
    ]  # fmt: skip
    if values and not any(parts):
        raise click.BadParameter("name at least one")
    return tuple(part for part in parts if part)


def mapping_names(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """Take a list of mappings, as `names` does; ``all`` stands for every built-in one."""
    from lrt_bench.mappings.names import BUILT_IN

    given = names(context, parameter, values)
    if "all" not in given:
        return given
    return tuple(dict.fromkeys([*BUILT_IN, *(name for name in given if name != "all")]))


def paths(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[Path, ...]:
    """Take a list of paths, as `names` does."""
    return tuple(map(Path, names(context, parameter, values)))


def stand_in_list(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[str, ...]:
    """Take ID=PATH values: repeated, or with commas between; a comma in a path stays."""
    return tuple(part for value in values for part in re.split(r",(?=[^,=]+=)", value))


def numbers(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[float, ...]:
    """Take numbers: repeated, or with commas between."""
    try:
        return tuple(float(part) for part in names(context, parameter, values))
    except ValueError as error:
        raise click.BadParameter(f"{', '.join(values)!r}: give numbers, as -0.5,0.5") from error


SEVERAL = "repeatable, or with commas"
TEXT = (
    click.option("--corpus", help="Text that maps are fitted on: file, folder or Hub data set id."),
    click.option("--corpus-column", help="Column of its text.  [default: text, content, messages, ...]"),
    click.option(
        "--data",
        multiple=True,
        callback=stand_in_list,
        help="ID=PATH: a file or folder in the place of a data set (repeatable).",
    ),
)
MODELS = (
    click.option(
        "--model",
        "models",
        multiple=True,
        callback=stand_in_list,
        help="ID=PATH: in the place of a model of the suite (repeatable).",
    ),
)
OUT = (click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True),)
OWN_CODE = (
    click.option(
        "--trust-remote-code", is_flag=True,
        help="Run code that lies beside a model's weights: only code that you have read.",
    ),
)  # fmt: skip
WHERE = (
    click.option("--device", default="cpu", show_default=True, help="cpu, gpu, cuda:1, mps."),
    click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, auto."),
    click.option("--device-map", help="Spread models over devices (accelerate), for instance auto."),
    *OWN_CODE,
    click.option(
        "--bos", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
        help="Begin texts with BOS: where the tokenizer defines one, always (or refuse), never.",
    ),
)  # fmt: skip
SEED = (click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),)
OPTIONS = (*TEXT, *MODELS, *OUT, *WHERE, *SEED)  # of a command that runs models, shown in this order
ENGINE = (
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
        help="Compute here, or by workers of a Ray cluster.",
    ),
    click.option("--address", help="The cluster's, for instance auto; without it workers of this machine."),
    click.option("--workers", type=click.IntRange(min=1), help="Processes to share the work.  [as it pays]"),
    click.option("--worker-cpus", type=click.IntRange(min=1), help="Processors of one worker."),
    click.option("--worker-gpus", type=click.FloatRange(min=0), help="GPUs of one worker."),
    click.option("--worker-memory", type=click.FloatRange(min=0), help="GiB that one worker asks for."),
)  # fmt: skip


CACHE = (
    click.option("--no-cache", is_flag=True, help="Read nothing that earlier runs kept, and keep nothing."),
    click.option(
        "--cache-size", type=click.FloatRange(min=0), default=CACHE_SIZE, show_default=True,
        help="GiB that is kept of runs for later ones (`lrt-bench cache info`).",
    ),
)  # fmt: skip


def with_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """Return a decorator that adds options, shown in their order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def layers(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> tuple[int, ...] | Literal["all"] | None:
    """Take `all`, or layers counted from 1: repeated, or with commas between."""
    parts = names(context, parameter, values)
    if not parts:
        return None
    if parts == ("all",):
        return "all"
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{','.join(parts)!r}: give all, or layers with commas between: 1,2,3")
    return tuple(map(int, parts))


def format_option(default: Format = "table") -> Callable[[Command], Command]:
    """Return the options `--format` and `--json`, which is short for one; the parameter is `form`."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_form(*args: Any, as_json: bool, form: Format, **options: Any) -> Any:
            return command(*args, form="json" if as_json else form, **options)

        for option in (
            click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
            click.option(
                "--format", "form", type=click.Choice(FORMATS), default=default, show_default=True,
                help="How to print it; CSV and JSON hold every column.",
            ),
        ):  # fmt: skip
            with_form = option(with_form)
        return cast("Command", with_form)

    return add


class _StandardError(logging.Handler):
    """Writes each message as a line to what standard error is by then: a progress bar may stand before it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        print(self.format(record), file=sys.stderr, flush=True)


def verbosity(command: Command) -> Command:
    """Add `--quiet` and `-v`: the level of what the package logs, which goes to standard error."""

    @functools.wraps(command)
    def at_level(*args: Any, quiet: bool, verbose: int, **options: Any) -> Any:
        log = logging.getLogger("lrt_bench")
        if not any(isinstance(handler, _StandardError) for handler in log.handlers):
            log.addHandler(_StandardError())
        log.setLevel(logging.ERROR if quiet else max(logging.DEBUG, logging.WARNING - 10 * verbose))
        return command(*args, **options)

    for option in (
        click.option("--verbose", "-v", count=True, help="Say each step; -vv more."),
        click.option("--quiet", "-q", is_flag=True, help="No progress, no notes: errors and results alone."),
    ):
        at_level = option(at_level)
    return cast("Command", at_level)


def check_hub(sites: tuple[str | None, ...], settings: dict[str, Any]) -> None:
    """Raise UserError where something must be fetched and the Hub gives nothing; before torch is imported.

    A layer that is none is told later, with what else is wrong.
    """
    from lrt_bench.data.datasets import stand_ins
    from lrt_bench.files.hub import check_data, check_models
    from lrt_bench.files.names import parse_site

    try:
        specs = [parse_site(site)[0] for site in sites if site]
    except UserError:
        return
    check_models(specs, stand_ins(settings["models"], "--model"))
    if settings["corpus"]:
        check_data([settings["corpus"]], stand_ins(settings["data"], "--data"))
