"""How names on the Hub look."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def visible(text: str) -> str:
    """Return a name or a path as it is.

    Raises ValueError where a letter of it would not be seen: a record of it could not be shown.
    """
    if not text.isprintable():
        raise ValueError("want one line of visible characters")
    return text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the close match of a name as the end of a sentence: `` (did you mean ridge?)``; else nothing.

    Upper and lower case are the same.
    """
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower()[:200], by_lower, 1, 0.6)
    return f" (did you mean {by_lower[close[0]]}?)" if close else ""
