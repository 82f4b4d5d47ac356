"""Regenerate the README's table and figure from results: ``python docs/figures.py [RESULTS]``.

Reads RESULTS/nano (by default the repository's own, leaderboard/results) and rewrites what stands between
the markers in README.md, and docs/nano-S-L.svg. No number in the README is typed in.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from lrt_bench.files.format import DASH, number
from lrt_bench.results.figures.pair_figure import draw_pair
from lrt_bench.results.ranking import RankedRow, ranked
from lrt_bench.results.storage import read_result

ROOT = Path(__file__).parent.parent
PAIRS = ("S-L-early", "M-L-early", "L-S-early", "S-L", "planted-rotation")
FIRST = PAIRS[0]
HELD_AGAINST = ("readout", "affine", "mlp")


def _cell(row: RankedRow | None) -> str:
    if row is None or row.result.transfer_score is None or row.result.ci95 is None:
        return DASH
    low, high = row.result.ci95
    return f"{number(row.result.transfer_score, 1)} [{number(low, 1)}, {number(high, 1)}]"


def table(results: Path) -> str:
    """Transfer Scores of every row on every pair, in the order of the first pair."""
    pairs = {
        pair: ranked([read_result(path) for path in sorted((results / "nano" / pair).glob("*.json"))])
        for pair in PAIRS
    }
    by_name = {pair: {row.result.mapping.name: row for row in rows} for pair, rows in pairs.items()}
    lines = [
        f"| row | {' | '.join(PAIRS)} | rank on {FIRST} | groups | steering R2 | FVU |",
        "| --- |" + " ---: |" * (len(PAIRS) + 4),
    ]
    for row in pairs[FIRST]:
        result = row.result
        name = f"*{result.mapping.name}*" if result.mapping.control else result.mapping.name
        scores = " | ".join(_cell(by_name[pair].get(result.mapping.name)) for pair in PAIRS)
        place = "" if row.rank is None else f"{row.rank}{' =' if row.tied else ''}"
        lines.append(
            f"| {name} | {scores} | {place} | {' '.join(row.place.letters) if row.place else ''} "
            f"| {number(result.steering_r2)} | {number(result.fvu)} |"
        )
    return "\n".join([*lines, "", _beside_readout(by_name)])


def _beside_readout(by_name: dict[str, dict[str, RankedRow]]) -> str:
    """Return a sentence on each pair's readout control, beside the maps that it is held against."""
    parts = []
    for pair in PAIRS[:-1]:
        scores = [f"{number(by_name[pair][name].result.transfer_score, 1)}" for name in HELD_AGAINST]
        parts.append(f"{scores[0]} on `{pair}`, where `affine` has {scores[1]} and `mlp` {scores[2]}")
    return f"`readout` alone has {'; '.join(parts)}."


@click.command()
@click.argument(
    "results", type=click.Path(path_type=Path, exists=True), default=ROOT / "leaderboard" / "results"
)
def main(results: Path) -> None:
    """Rewrite the README's table and figure from RESULTS."""
    readme = ROOT / "README.md"
    begin, end = "<!-- table: docs/figures.py -->", "<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text, count = pattern.subn(lambda _: f"{begin}\n{table(results)}\n{end}", readme.read_text())
    if count != 1:
        raise click.ClickException(f"{readme}: the markers {begin} ... {end} are not there once")
    readme.write_text(text)
    rows = ranked([read_result(path) for path in sorted((results / "nano" / "S-L").glob("*.json"))])
    draw_pair([row.result for row in rows], ROOT / "docs" / "nano-S-L.svg")
    click.echo("rewrote README.md and docs/nano-S-L.svg")


if __name__ == "__main__":
    main()
