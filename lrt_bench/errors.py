"""The one kind of error that a user is shown: a line that names the file, the field and the mend."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class UserError(Exception):
    """Bad input. The command line prints the message as one line and exits with code 2.

    What a stranger's file holds may stand in the message: characters that are not visible, such as a
    terminal's escape codes, are replaced.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line))


class SubmissionError(UserError):
    """A submission that fails while it is scored: its row is a counted failure, the other rows go on."""


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command's bad input one line on standard error and exit code 2, no traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
            sys.exit(2)

    return run
