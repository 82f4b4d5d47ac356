"""How names on the Hub look, and names as parts of paths."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def slug(name: str) -> str:
    """Return a name as part of a path: itself if it is plain, else what is plain of it and a hash."""
    if PLAIN.fullmatch(name):
        return name
    letters = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "name"
    return f"{letters}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def pair_slug(suite: str, pair: str) -> str:
    """Return suite and pair as one plain part of a path; the pair's name as a task of the benchmark."""
    return f"{slug(suite)}--{slug(pair)}"


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
