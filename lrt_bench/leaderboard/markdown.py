"""A folder of results as Markdown: the table of every pair, and its scores as a figure.

For a pull request's job summary, which shows Markdown and Mermaid but no pictures of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lrt_bench.leaderboard.entries import Entry, PairEntries, read_board
from lrt_bench.leaderboard.numbers import number, seconds

BARS = 20  # more don't fit into the figure


def markdown(results: Path) -> str:
    """The summary of all results under a folder. Raises UserError where there is none."""
    board = read_board(results)
    parts = [part for pair in board.pairs for part in _pair(pair)]
    parts += [f"- left out: {_plain(problem)}" for problem in board.problems]
    return "\n".join(parts) + "\n"


def _pair(pair: PairEntries) -> Iterator[str]:
    source, target = pair.record.source, pair.record.target
    yield f"### {_plain(pair.suite)} / {_plain(pair.name)}"
    yield ""
    yield f"{_plain(source.model)}:{_plain(source.where)} to {_plain(target.model)}:{target.layer}"
    yield ""
    yield "| rank | row | Transfer Score | steering R2 | r(D) | FVU | fit |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: |"
    yield from (_row(entry) for entry in pair.entries)
    yield ""
    yield from _figure([entry for entry in pair.entries if entry.result.transfer_score is not None][:BARS])


def _row(entry: Entry) -> str:
    result = entry.result
    name = f"*{_plain(entry.name)}*" if result.mapping.control else _plain(entry.name)
    rank = f"{entry.rank}{' =' if entry.tied else ''}" if entry.rank else _plain(entry.unranked or "")
    low_high = f" [{number(entry.ci95[0], 1)}, {number(entry.ci95[1], 1)}]" if entry.ci95 else ""
    figures = (result.steering_r2, result.correlation_delta, result.fvu)
    cells = [rank, name, number(result.transfer_score, 1) + low_high, *map(number, figures)]
    return f"| {' | '.join(cells)} | {seconds(result.cost.fit_seconds)} |"


def _figure(entries: list[Entry]) -> Iterator[str]:
    """Scores as bars."""
    names = ", ".join(f'"{_word(entry.name)}"' for entry in entries)
    scores = [entry.result.transfer_score or 0.0 for entry in entries]
    yield "```mermaid"
    yield "xychart-beta horizontal"
    yield f"  x-axis [{names}]"
    yield f'  y-axis "Transfer Score" {min(0, *scores) - 1:.0f} --> 100'
    yield f"  bar [{', '.join(f'{score:.1f}' for score in scores)}]"
    yield "```"
    yield ""


def _plain(text: str) -> str:
    """Text in which nothing is markup, a mention or a link."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~@&$:/-])", r"\\\1", " ".join(text.split()))


def _word(text: str) -> str:
    """A label that can't end its quotes."""
    return re.sub(r"[^\w .+-]", "?", text)[:40]
