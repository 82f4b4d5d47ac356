"""The project's docstrings, where `name : what it is` explains a name, as Markdown for the API pages."""

from __future__ import annotations

import inspect
import itertools
import re
from typing import Any

import griffe

SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
# one or more names, each perhaps with its shape, before " : "
ENTRY = re.compile(r"^(?P<names>[`\w]+(?: ?\[[^\]]*\])?(?:, [`\w]+(?: ?\[[^\]]*\])?)*) ?: (?P<text>\S.*)$")

# numpy's way: the names by themselves, what they are indented below
NAMES = re.compile(r"^(?P<names>[`*\w]+(?:, [`*\w]+)*)$")
INDEXED = re.compile(r"\w+(?:\[[^\]\n]*\])+")


def markdown(docstring: str) -> str:
    """Headings of sections as bold lines, entries as a list; the rest stays as it is."""
    lines: list[str] = []
    inside = False
    source = SECTION.sub(r"**\1**\n", inspect.cleandoc(docstring)).splitlines()
    for line, following in itertools.zip_longest(source, source[1:], fillvalue=""):
        if (names := NAMES.match(line)) and following.startswith("    "):
            lines += [] if inside else [""]
            lines.append(f"- `{names['names'].replace('`', '')}`:")
            inside = True
        elif entry := ENTRY.match(line):
            if not inside:
                lines.append("")
            lines.append(f"- `{entry['names'].replace('`', '')}`: {entry['text']}")
            inside = True
        elif inside and line.startswith("    "):
            lines.append(f"    {line.strip()}")
        else:
            if inside and line.strip():
                lines.append("")
            inside = inside and not line.strip()
            lines.append(line)
    return _indexed("\n".join(lines).replace("``", "`"))


def _indexed(text: str) -> str:
    """`texts[v][p]` as code: in Markdown it would be a link."""
    parts = text.split("`")
    parts[::2] = [INDEXED.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


class Docstrings(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
