"""Markdown files with YAML front matter, as the Hub reads them."""

from __future__ import annotations

from typing import Any

import yaml

PAPER = "https://arxiv.org/abs/2506.00653"


def card(front: dict[str, Any], title: str, text: str) -> bytes:
    """Write a card: YAML front matter, a title and a text, in UTF-8."""
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{matter}---\n\n# {title}\n\n{text}".encode()
