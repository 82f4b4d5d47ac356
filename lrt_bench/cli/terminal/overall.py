"""A suite as a whole: a line a mapping, its mean over the pairs, and its score on each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.files.format import counted, number, with_interval

if TYPE_CHECKING:
    from lrt_bench.results.overall import Overall, Standing

RAN = 6  # pairs that have a column of their own


def overall_listings(suites: Sequence[Overall]) -> list[Listing]:
    """Return a table for each suite; without records, since its lines are no results of one pair."""
    return [_listing(suite) for suite in suites]


def overall_answer(suite: Overall) -> Iterator[str]:
    """Yield a line for each track: the row with the highest mean, and what is not separable from it."""
    tracks = dict.fromkeys(one.track for one in suite.standings if not one.control)
    for track in tracks:
        best, *others = suite.of_track(track)
        letters = set(best.place.letters) if best.place else set()
        ties = [one.mapping for one in others if one.place and letters & set(one.place.letters)]
        name = f"{suite.suite}, mean of {counted(len(suite.pairs), 'pair')}" + (
            f", {track} track" if len(tracks) > 1 else ""
        )
        tied = f", not separable from {', '.join(ties)}" if ties else ""
        yield f"{name}: best: {best.mapping} {with_interval(best.score, *best.ci95)}{tied}"


def _listing(suite: Overall) -> Listing:
    shown = suite.pairs[:RAN]
    tracks = len({one.track for one in suite.standings if not one.control}) > 1
    controls = next((place for place, one in enumerate(suite.standings) if one.control), 0)
    return Listing(
        (
            Column("mapping", least=24),
            Column("mean", right=True),
            Column("rank", right=True, priority=1),
            Column("groups", priority=2),
            *([Column("track", priority=7)] if tracks else []),
            *(Column(pair, right=True, priority=4) for pair in shown),
        ),
        [_cells(one, shown, tracks=tracks) for one in suite.standings],
        title=f"{suite.suite}   mean of {counted(len(suite.pairs), 'pair')}: {', '.join(suite.pairs)}",
        notes=tuple(_notes(suite)),
        sections=frozenset({controls} - {0}),
    )


def _cells(one: Standing, pairs: Sequence[str], *, tracks: bool) -> tuple[str, ...]:
    place = one.place
    return (
        one.mapping, with_interval(one.score, *one.ci95), str(place.best) if place else "",
        " ".join(place.letters) if place else "", *([one.track] if tracks else []),
        *(number(one.scores[pair], 1) for pair in pairs),
    )  # fmt: skip


def _notes(suite: Overall) -> Iterator[str]:
    yield f"over the {counted(len(suite.tasks), 'task')} that count on all of these pairs"
    if suite.left_out:
        yield f"left out, since they count on some pairs alone: {', '.join(suite.left_out)}"
    if suite.apart:
        yield "in no mean: " + ", ".join(f"{pair} ({why})" for pair, why in suite.apart.items())
    if suite.missing:
        yield f"without a mean, since a pair is missing: {', '.join(suite.missing)}"
