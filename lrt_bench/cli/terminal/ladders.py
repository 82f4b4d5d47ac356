"""Ladders as tables: a line a mapping, its score at each number of tokens, and the area under it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.files.format import number, with_interval

if TYPE_CHECKING:
    from lrt_bench.results.ladders import Climb, Ladder


def ladder_listings(ladders: Sequence[Ladder]) -> list[Listing]:
    """Return a table for each ladder; without records, since its lines are no results of one pair."""
    return [_listing(ladder) for ladder in ladders]


def _listing(ladder: Ladder) -> Listing:
    source, target = (f"{site.model}:{site.where}" for site in (ladder.record.source, ladder.record.target))
    controls = next((number for number, climb in enumerate(ladder.climbs) if climb.control), 0)
    fits = max(climb.fits for climb in ladder.climbs)
    notes = [
        f"area: under the score over log tokens, {len(ladder.tasks)} tasks, fits a map: {fits}",
        "[95% over other concepts of the kind]; these tasks: over other prompts and other documents alone",
    ]
    if ladder.left_out:
        notes.append(
            f"left out, since they count at some numbers of tokens alone: {', '.join(ladder.left_out)}"
        )
    if ladder.missing:
        notes.append(f"without an area, since a rung is missing: {', '.join(ladder.missing)}")
    return Listing(
        (
            Column("mapping", least=24),
            Column("area", right=True),
            Column("these tasks", right=True, priority=3),
            Column("groups", priority=2),
            *(Column(f"{tokens:,}", right=True, priority=1) for tokens in ladder.tokens),
        ),
        [_cells(climb) for climb in ladder.climbs],
        title=f"{ladder.suite}   {source} -> {target}   by fit tokens",
        notes=tuple(notes),
        sections=frozenset({controls} - {0}),
    )


def _cells(climb: Climb) -> tuple[str, ...]:
    low, high = climb.ci95_these_tasks
    return (
        climb.mapping, with_interval(climb.area, *climb.ci95), f"[{number(low, 1)}, {number(high, 1)}]",
        " ".join(climb.place.letters) if climb.place else "",
        *(number(rung.score, 1) for rung in climb.rungs),
    )  # fmt: skip
