"""The one kind of error that a user is shown: a line that names the file, the field and the mend."""

from __future__ import annotations

import functools
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
ARGUMENTS = {"task": "tasks", "mapping": "mappings", "model": "models.local", "device": "models.device"}


LONGEST = 2000  # letters of a message: a field of a stranger's file may be of any length
# commands to a terminal, letters that turn the direction of writing, and halves of letters
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace what would command a terminal instead of being shown on it, letter by letter."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str, most: int) -> str:
    """Return a stranger's text as one line of at most `most` letters: what is not printable is replaced."""
    line = " ".join(text[:most].split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message that is not blank, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the close match of a name as the end of a sentence: `` (did you mean ridge?)``; else nothing.

    Upper and lower case are the same.
    """
    import difflib

    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower()[:200], by_lower, 1, 0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""


def line_in(error: BaseException, path: str | None) -> str:
    """Return where in a file an error was raised, as the end of a sentence: `` (mine.py, line 24)``.

    Nothing where it was raised without the file.
    """
    if path is None:
        return ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines.append(error.lineno)
    return f" ({path.rpartition('/')[2]}, line {lines[-1]})" if lines else ""


class _Printable(logging.Filter):
    """Makes what is logged a line that commands no terminal: a stranger's names may stand in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(" ".join(record.getMessage().split())), ()
        return True


logging.getLogger("lrt_bench").addFilter(_Printable())


class UserError(Exception):
    """Bad input.

    The command line prints the message as one line and exits with code 2.

    What a stranger's file holds may stand in the message: characters that are not visible, such as a
    terminal's escape codes, are replaced, and a line is cut at `LONGEST` letters.
    """

    def __init__(self, message: str) -> None:
        line = printable(" ".join(message[: 4 * LONGEST].split()))
        super().__init__(line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ...")


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
        except ValueError as error:  # a record that was made of what a user gave, and refuses it
            from pydantic import ValidationError

            if not isinstance(error, ValidationError):
                raise
            problem = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(map(str, problem["loc"]))
            print(f"error: {error.title}: {field}: {UserError(problem['msg'])}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
            sys.exit(2)

    return run


def names_arguments(call: Callable[P, R]) -> Callable[P, R]:
    """Make errors of what the command line shares speak of arguments: `corpus_column`, no flag."""

    @functools.wraps(call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except UserError as error:
            if "--" not in str(error):
                raise
            text = FLAG.sub(lambda match: ARGUMENTS.get(match[1], match[1].replace("-", "_")), str(error))
            raise type(error)(text) from error

    return run
