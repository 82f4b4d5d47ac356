"""The command line's groups: a wrong word is one line that names the right one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from lrt_bench.errors import did_you_mean, printable


class Group(click.Group):
    """A group that suggests the command that was meant, and tells what is wrong in one line."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command.

        Raises
        ------
        click.UsageError
            Naming the close match of a word that is no command.
        """
        word = str(args[0])
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            names = self.list_commands(ctx)
            close = did_you_mean(word, names)
            raise click.UsageError(f"{word}: no such command{close}; give {', '.join(names)}", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run the command line; what click finds wrong with it is one line and exit code 2."""
        if not extra.pop("standalone_mode", True):
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            print(f"error: {_line(error)}", file=sys.stderr)
            sys.exit(error.exit_code)
        except click.Abort:
            print("stopped", file=sys.stderr)
            sys.exit(1)
        sys.exit(code if isinstance(code, int) else 0)


def _line(error: click.ClickException) -> str:
    text = printable(" ".join(error.format_message().split()))
    context = getattr(error, "ctx", None)
    return f"{text} ({context.command_path} --help)" if context is not None else text
