"""Options that every command that runs models takes: its text, its stand-ins, where and how it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

TEXT = (
    click.option("--corpus", help="Text that maps are fitted on: file, folder or Hub data set id."),
    click.option(
        "--data", multiple=True, help="ID=PATH: a file or folder in the place of a data set (repeatable)."
    ),
)
MODELS = (
    click.option(
        "--model", "models", multiple=True, help="ID=PATH: in the place of a model of the suite (repeatable)."
    ),
)
OUT = (click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True),)
WHERE = (
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, auto."),
    click.option("--device-map", help="Spread models over devices (accelerate), for instance auto."),
    click.option(
        "--trust-remote-code", is_flag=True,
        help="Run code that lies beside a model's weights: only code that you have read.",
    ),
    click.option(
        "--bos", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
        help="Begin texts with BOS: where the tokenizer defines one, always (or refuse), never.",
    ),
)  # fmt: skip
SEED = (click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),)
OPTIONS = (*TEXT, *MODELS, *OUT, *WHERE, *SEED)


def computing(command: Command) -> Command:
    """The command with `OPTIONS`, shown in their order."""
    return with_options(OPTIONS)(command)


def with_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    """A decorator that adds options, shown in their order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
