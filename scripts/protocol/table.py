"""Which candidate separates known-better from known-worse maps: the tables of `docs/protocol.md`.

    python -m scripts.protocol.table --measured build/protocol --out docs/protocol.md

A candidate is a divergence, a number of later tokens, alphas and the first token's weight. Adjacent
rungs of a ladder are compared by the t of their difference over tasks. A candidate is good where that is
large, where few tasks have two rungs in the wrong order, and where chance lies near 0.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from lrt_bench.steering.divergences import DIVERGENCES
from scripts.protocol.measure import ALPHAS
from scripts.protocol.rows import COSINES, FIT_TOKENS, NOISE, PAIRS

Array = NDArray[np.float64]
Measured = dict[str, dict[str, Array]]  # {task: {row: [draws, prompts, alphas, tokens, divergences]}}
LADDERS = {
    "mixture": [f"mixture:{cosine}" for cosine in COSINES],
    "tokens": [f"tokens:{count}" for count in FIT_TOKENS],
    "noise": [f"noise:{level}" for level in NOISE],
}
LATER, FIRST = (4, 8, 12), (1.0, 0.5, 0.25, 0.0)
STRENGTHS = (0.25, 0.5, 1.0)
CHANCE = ("chance:random", "chance:shuffled")
HEADER = (
    "| divergence | first token's weight | later tokens | alphas | median t | right order | chance |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)
BLOCK = re.compile(r"(<!-- table: (?P<name>[\w-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Candidate:
    """One way of measuring behaviour."""

    divergence: str
    later: int
    strength: float
    first: float

    def sums(self, row: Array) -> Array:
        """Weighted divergence of each draw and prompt [draws, prompts], from what was measured."""
        kind = list(DIVERGENCES).index(self.divergence)
        alphas = [place for place, alpha in enumerate(ALPHAS) if abs(alpha) == self.strength]
        chosen = row[..., kind][:, :, alphas, : self.later + 1].astype(np.float64)
        weighted = self.first * chosen[..., 0] + (1 - self.first) * chosen[..., 1:].mean(-1)
        return np.asarray(weighted.sum(2))

    def draws(self, rows: dict[str, Array], name: str) -> Array:
        """Return the shares of a row's draws on one task, floored at -1."""
        native = self.sums(rows["unsteered"][None]).sum()
        return np.maximum(-1.0, 1 - self.sums(rows[name]).sum(1) / native)

    def share(self, rows: dict[str, Array], name: str) -> float:
        """Return a row's share on one task, draws averaged, floored at -1."""
        native = self.sums(rows["unsteered"][None])
        return max(-1.0, float(1 - self.sums(rows[name]).mean(0).sum() / native.sum()))


def candidates() -> Iterator[Candidate]:
    """Every combination."""
    for parts in itertools.product(DIVERGENCES, LATER, STRENGTHS, FIRST):
        yield Candidate(*parts)


def read(folder: Path) -> dict[str, Measured]:
    """Return what was measured, by pair. Raises ClickException where a pair is missing."""
    measured: dict[str, Measured] = {}
    for pair in PAIRS:
        files = sorted(folder.glob(f"{pair}--*.npz"))
        if not files:
            raise click.ClickException(f"{folder}: nothing of {pair}: run scripts.protocol.measure first")
        measured[pair] = {path.stem.partition("--")[2]: dict(np.load(path)) for path in files}
    return measured


def shares(measured: Measured, candidate: Candidate, name: str) -> Array:
    """Return a row's share on each task."""
    return np.array([candidate.share(rows, name) for rows in measured.values()])


def steps(measured: Measured) -> list[tuple[str, str]]:
    """Adjacent rungs, better and worse, of the ladders that were measured."""
    known = next(iter(measured.values()))
    return [
        step for ladder in LADDERS.values() for step in itertools.pairwise(ladder) if set(step) <= set(known)
    ]


def separation(measured: dict[str, Measured], candidate: Candidate) -> tuple[float, float]:
    """Median t over all adjacent rungs of all pairs, and the share of (step, task) in the right order."""
    values, right = [], []
    for pair in measured.values():
        for better, worse in steps(pair):
            difference = shares(pair, candidate, better) - shares(pair, candidate, worse)
            values.append(difference.mean() / (difference.std(ddof=1) / np.sqrt(len(difference)) + 1e-12))
            right.append(difference > 0)
    return float(np.median(values)), float(np.concatenate(right).mean())


def chance(measured: dict[str, Measured], candidate: Candidate) -> tuple[float, float]:
    """Return the lowest and the highest mean share over tasks of one draw of a chance row, on any pair."""
    means = [
        np.mean([candidate.draws(rows, name) for rows in pair.values()], axis=0)
        for pair in measured.values()
        for name in CHANCE
    ]
    every = np.concatenate(means)
    return float(every.min()), float(every.max())


def best_table(measured: dict[str, Measured]) -> str:
    """For each divergence and first weight the best later tokens and strength, by the median t."""
    lines = [
        *HEADER,
    ]
    scored = {candidate: separation(measured, candidate) for candidate in candidates()}
    for kind, first in itertools.product(DIVERGENCES, FIRST):
        chosen = [
            candidate for candidate in scored if (candidate.divergence, candidate.first) == (kind, first)
        ]
        best = max(chosen, key=scored.__getitem__)
        lines.append(_line(best, scored[best], chance(measured, best)))
    return "\n".join(lines) + "\n"


def _line(candidate: Candidate, scored: tuple[float, float], luck: tuple[float, float]) -> str:
    return (
        f"| {candidate.divergence} | {candidate.first:g} | {candidate.later} | ±{candidate.strength:g} | "
        f"{scored[0]:.1f} | {scored[1]:.0%} | {luck[0]:.2f} to {luck[1]:.2f} |"
    )


def settings_table(measured: dict[str, Measured], chosen: Candidate) -> str:
    """Return the chosen candidate, and each of its settings changed alone."""
    lines = [
        *HEADER,
    ]
    varied = [chosen]
    varied += [Candidate(kind, chosen.later, chosen.strength, chosen.first) for kind in DIVERGENCES]
    varied += [Candidate(chosen.divergence, later, chosen.strength, chosen.first) for later in LATER]
    varied += [Candidate(chosen.divergence, chosen.later, strength, chosen.first) for strength in STRENGTHS]
    varied += [Candidate(chosen.divergence, chosen.later, chosen.strength, first) for first in FIRST]
    varied += [Candidate(kind, chosen.later, max(STRENGTHS), chosen.first) for kind in DIVERGENCES]
    lines += [
        _line(candidate, separation(measured, candidate), chance(measured, candidate))
        for candidate in dict.fromkeys(varied)
    ]
    return "\n".join(lines) + "\n"


def rows_table(measured: dict[str, Measured], chosen: Candidate) -> str:
    """Mean share over tasks of every row on every pair, under the chosen candidate."""
    names = list(dict.fromkeys(name for pair in measured.values() for name in next(iter(pair.values()))))
    names = [name for name in names if name != "unsteered"]
    lines = ["| row | " + " | ".join(measured) + " |", "| --- |" + " ---: |" * len(measured)]
    for name in names:
        cells = [
            f"{shares(pair, chosen, name).mean():.2f}" if name in next(iter(pair.values())) else ""
            for pair in measured.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def fill(page: Path, tables: dict[str, str]) -> None:
    """Write tables between the marks that name them; others stay as they are."""
    text = page.read_text(encoding="utf-8")
    filled = BLOCK.sub(
        lambda match: match[1] + tables[match["name"]] if match["name"] in tables else match[0], text
    )
    page.write_text(filled, encoding="utf-8")


@click.command()
@click.option("--measured", type=click.Path(path_type=Path), default=Path("build/protocol"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/protocol.md"))
@click.option("--divergence", type=click.Choice(list(DIVERGENCES)), required=True)
@click.option("--later", type=int, required=True)
@click.option("--strength", type=float, required=True)
@click.option("--first", type=float, required=True)
def main(measured: Path, out: Path, divergence: str, later: int, strength: float, first: float) -> None:
    """Write the tables between the marks of the page."""
    results, chosen = read(measured), Candidate(divergence, later, strength, first)
    tables = {
        "best": best_table(results),
        "settings": settings_table(results, chosen),
        "rows": rows_table(results, chosen),
    }
    fill(out, tables)


if __name__ == "__main__":
    main()
