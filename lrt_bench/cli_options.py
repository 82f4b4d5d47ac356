"""Options that every command that runs models takes: its text, its stand-ins, where and how it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option("--corpus", help="Text that maps are fitted on: file, folder or Hub data set id."),
    click.option(
        "--data", multiple=True, help="ID=PATH: a file or folder in the place of a data set (repeatable)."
    ),
    click.option(
        "--model", "models", multiple=True, help="ID=PATH: in the place of a model of the suite (repeatable)."
    ),
    click.option("--out", type=click.Path(path_type=Path), default=Path("results"), show_default=True),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, mps."),
    click.option("--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, auto."),
    click.option("--device-map", help="Spread models over devices (accelerate), for instance auto."),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
)


def computing(command: Command) -> Command:
    """The command with `OPTIONS`, shown in their order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
