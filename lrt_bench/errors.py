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

    The message may quote a stranger's file: control characters in it are written as escapes.
    """

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        if not line.isprintable():
            line = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
        super().__init__(line)


class SubmissionError(UserError):
    """A submission that fails while it is scored: its row is a counted failure, the other rows go on."""


def plainly(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose bad input is one line on standard error and exit code 2, never a traceback."""

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
