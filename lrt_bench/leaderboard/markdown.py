"""A folder of results as Markdown: the table of every pair, and its scores as a picture.

For a pull request's job summary, which shows Markdown and Mermaid but no pictures of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrt_bench.files.format import number, seconds, shared_rank, with_interval
from lrt_bench.files.markdown import escaped
from lrt_bench.leaderboard.entries import read_board
from lrt_bench.results.frame import records
from lrt_bench.results.ladders import Ladder

Row = dict[str, Any]  # of `Board.frame`
UNSEEN = {  # columns that are shown where a row has something in them, with the ends of their intervals
    "private": ("private_score", "private_low", "private_high"),
    "gap": ("private_gap", "private_gap_low", "private_gap_high"),
    "fresh concepts": ("fresh_score", "fresh_low", "fresh_high"),
}
BARS = 20  # more don't fit into the figure


def markdown(results: Path) -> str:
    """Return the summary of all results under a folder.

    Raises UserError where there is none.
    """
    board = read_board(results)
    rows = records(board.frame())
    parts = [part for _, pair in itertools.groupby(rows, _pair_of) for part in _pair(list(pair))]
    parts += [part for ladder in board.ladders for part in _ladder(ladder)]
    parts += [f"- left out: {escaped(problem)}" for problem in board.problems]
    return "\n".join(parts) + "\n"


def _pair_of(row: Row) -> tuple[str, str]:
    return row["suite"], row["pair"]


def _pair(rows: list[Row]) -> Iterator[str]:
    first = rows[0]
    source, target = (escaped(first[f"{side}_model"]) for side in ("source", "target"))
    layers = escaped(first["source_layers"] or str(first["source_layer"]))
    yield f"### {escaped(first['suite'])} / {escaped(first['pair'])}"
    yield ""
    yield f"{source}:{layers} to {target}:{first['target_layer']}"
    yield ""
    shown = [title for title, (name, *_) in UNSEEN.items() if any(row[name] is not None for row in rows)]
    heads = ["rank", "row", "Transfer Score", *shown, "steering R2", "r(D)", "FVU", "fit"]
    yield f"| {' | '.join(heads)} |"
    yield f"| --- | --- | --- |{' --- |' * len(shown)} ---: | ---: | ---: | ---: |"
    yield from (_row(row, shown) for row in rows)
    yield ""
    if scored := [row for row in rows if row["transfer_score"] is not None]:
        yield from _figure(scored[:BARS])


def _row(row: Row, unseen: Sequence[str]) -> str:
    name = f"*{escaped(row['mapping'])}*" if row["control"] else escaped(row["mapping"])
    rank = shared_rank(row["rank"], row["tied"]) or escaped(row["unranked"] or "")
    score = with_interval(row["transfer_score"], row["ci95_low"], row["ci95_high"])
    scores = [number(row[column]) for column in ("steering_r2", "correlation_delta", "fvu")]
    beside = [with_interval(*(row[name] for name in UNSEEN[title])) for title in unseen]
    return f"| {' | '.join([rank, name, score, *beside, *scores])} | {seconds(row['fit_seconds'])} |"


def _ladder(ladder: Ladder) -> Iterator[str]:
    """Areas over log tokens, and the scores under which they lie."""
    source, target = ladder.record.source, ladder.record.target
    yield f"### {escaped(ladder.suite)}: area over log tokens"
    yield ""
    yield f"{escaped(source.model)}:{source.where} to {escaped(target.model)}:{target.where}"
    yield ""
    yield f"| rank | row | area | {' | '.join(f'{tokens:,}' for tokens in ladder.tokens)} |"
    yield f"| --- | --- | --- |{' ---: |' * len(ladder.tokens)}"
    for climb in ladder.climbs:
        name = f"*{escaped(climb.mapping)}*" if climb.control else escaped(climb.mapping)
        rank = str(climb.place.best) if climb.place else ""
        scores = [number(rung.score, 1) for rung in climb.rungs]
        yield f"| {' | '.join([rank, name, with_interval(climb.area, *climb.ci95), *scores])} |"
    yield ""


def _figure(rows: list[Row]) -> Iterator[str]:
    """Scores of one row or more as bars."""
    names = ", ".join(f'"{_word(row["mapping"])}"' for row in rows)
    scores = [row["transfer_score"] for row in rows]
    yield "```mermaid"
    yield "xychart-beta horizontal"
    yield f"  x-axis [{names}]"
    yield f'  y-axis "Transfer Score" {min(0, *scores) - 1:.0f} --> 100'
    yield f"  bar [{', '.join(f'{score:.1f}' for score in scores)}]"
    yield "```"
    yield ""


def _word(text: str) -> str:
    """Return a label that can't end its quotes."""
    return re.sub(r"[^\w .+-]", "?", text)[:40]
