"""The command that sweeps layers, and how lists of layers are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lrt_bench.suites import LayerChoice


def layers(value: str) -> LayerChoice:
    """`all`, or layers counted from 1 with commas between, as an option's value."""
    if value == "all":
        return "all"
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{value!r}: give all, or layers with commas between: 1,2,3")
    return tuple(map(int, parts))
