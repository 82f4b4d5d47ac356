"""Where commands print: data is text there, never markup, and never commands to the terminal."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console
from rich.text import Text

from lrt_bench.errors import printable


class Screen(Console):
    """A console that shows every string as it is: no markup, no emoji codes, no colours by guess."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Make a string printable; Rich calls this for what is printed, and for every cell of a table."""
        return super().render_str(printable(text), **(settings | {"markup": False, "emoji": False}))


def screen(width: int = 120) -> Screen:
    """Return standard output.

    In a pipe or a file it is as wide as COLUMNS says, or `width` letters, for the tables.
    """
    out = Screen()
    return out if out.is_terminal or os.environ.get("COLUMNS", "").isdecimal() else Screen(width=width)


def print_line(text: str) -> None:
    """Print a line that is not cut to the terminal's width."""
    Screen(soft_wrap=True).print(text)
