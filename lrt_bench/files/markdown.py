"""Markdown: files with YAML front matter, as the Hub reads them, and text in which nothing is markup."""

from __future__ import annotations

import re
from typing import Any

import yaml

from lrt_bench.errors import printable

PAPER = "https://arxiv.org/abs/2506.00653"


def card(front: dict[str, Any], title: str, text: str) -> bytes:
    """Write a card: YAML front matter, a title and a text, in UTF-8."""
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{matter}---\n\n# {title}\n\n{text}".encode()


def escaped(text: str) -> str:
    """Return text in which Markdown finds no markup, mention or link."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~@&$:/-])", r"\\\1", printable(" ".join(text.split())))
