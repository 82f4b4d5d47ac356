"""How names on the Hub look."""

from __future__ import annotations

import re

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")


def visible(text: str) -> str:
    """Return a name or a path as it is.

    Raises ValueError where a letter of it would not be seen: a record of it could not be shown.
    """
    if not text.isprintable():
        raise ValueError("want one line of visible characters")
    return text
