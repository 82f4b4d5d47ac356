"""Regenerate what README.md and docs/index.md say of the results: ``python docs/figures.py [RESULTS]``.

Reads RESULTS (by default the repository's own, leaderboard/results) as the leaderboard does, and
docs/steered.json. Writes the README's finding, table and picture, the table of docs/index.md, and
docs/nano-S-L.svg. The pair that leads the leaderboard leads here: one of pretrained models as soon as there
is one. No number is typed in.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.rows import controls
from lrt_bench.files.format import DASH, number, with_interval
from lrt_bench.files.templates import template_environment
from lrt_bench.leaderboard.entries import Board, Entry, read_board
from lrt_bench.leaderboard.front.kinds import KIND_WORDS, facts, pair_kind
from lrt_bench.leaderboard.front.panels import Panel, groups, lead
from lrt_bench.results.figures.pair_figure import draw_pair
from lrt_bench.results.ranking import ranked
from lrt_bench.results.storage import read_result

ROOT = Path(__file__).parent.parent
SUITE = "nano"  # of the table in docs/index.md, which the reader has just run
FIRST = "S-L-early"
COLUMNS = 3  # pairs in the README's table
LINE = 44  # characters of the picture's sentences
HYPOTHESIS = "`affine`, the hypothesis: least squares"
STANDING = tuple(row.name for row in controls())  # that every run has
CONTROLS = {
    "readout": "`readout`, no map: writes the answer's words",
    "random": "`random` directions",
}


def _score(entry: Entry | None) -> str:
    if entry is None or entry.result.transfer_score is None or entry.ci95 is None:
        return DASH
    return with_interval(entry.result.transfer_score, *entry.ci95)


def finding(board: Board) -> str:
    """Return the README's finding: the leading pair, its best map, the hypothesis, and what knows no map."""
    panel = _lead(board)
    best, *tied = panel.first or panel.rows[:1]
    text = (
        f"**A steering vector carried from {panel.source} to {panel.target} ({_kind(panel)}) does "
        f"{_score(best)} "
        f"of the 100 that the target's own vector does, by the best map, `{best.name}`.** "
    )
    if tied:
        names = ", ".join(f"`{entry.name}`" for entry in tied)
        text += f"Not separable from it: {names}. "
    if panel.hypothesis is not None:
        text += f"The affine map of the hypothesis: {_score(panel.hypothesis)}. "
    if readout := panel.pair.by_name.get("readout"):
        text += f"A direction that knows no map and only writes the answer's words: {_score(readout)}. "
    text += "Brackets are 95% intervals over other concepts of the kind."
    return textwrap.fill(text, 115, break_long_words=False, break_on_hyphens=False)


def _lead(board: Board) -> Panel:
    panel = lead(groups(board))
    if panel is None:
        raise click.ClickException("no pair of the results has a ranked map")
    return panel


def _kind(panel: Panel) -> str:
    """Return what the models of a pair are, with their sizes: toy models, 480k and 2.95M parameters."""
    _, sizes, *_ = facts(panel.pair.record).split(" · ")
    return f"{KIND_WORDS[pair_kind(panel.pair.record)]}, {sizes.replace(' → ', ' and ')}"


def short_table(board: Board) -> str:
    """Four rows: the best map, the hypothesis, and two controls, on the first pairs of the leading kind."""
    panel = _lead(board)
    kind = pair_kind(panel.pair.record)
    of_kind = next(group for group in groups(board) if group.kind == kind)
    # the paper's own tasks have few prompts here and stand on the page of pretrained pairs
    told = [one for one in of_kind.panels if not one.output_level and not one.pair.suite.startswith("paper-")]
    panels = told[:COLUMNS] or [panel]
    best = panel.rows[0]
    rows = {
        best.name: f"`{best.name}`: {best.result.mapping.description or 'the best map'}",
        "affine": HYPOTHESIS,
    }
    lines = [
        f"| map | {' | '.join(one.title for one in panels)} |",
        f"| --- |{' ---: |' * len(panels)}",
    ]
    for name, words in (rows | CONTROLS).items():
        cells = " | ".join(_score(one.pair.by_name.get(name)) for one in panels)
        lines.append(f"| {words} | {cells} |")
    return "\n".join(lines)


def table(board: Board) -> str:
    """Transfer Scores of the suite `nano`, its own rows, on every pair, in the order of the first pair."""
    pairs = {pair.name: pair for pair in board.suites[SUITE]}
    first = pairs[FIRST]
    lines = [
        f"| row | {' | '.join(pairs)} | rank on {FIRST} | groups | steering R2 | FVU |",
        "| --- |" + " ---: |" * (len(pairs) + 4),
    ]
    shown = [entry for entry in first.entries if entry.name in (*_default_maps(), *STANDING)]
    for entry in sorted(shown, key=lambda entry: entry.result.mapping.control):
        result = entry.result
        name = f"*{result.mapping.name}*" if result.mapping.control else result.mapping.name
        scores = " | ".join(_score(pair.by_name.get(entry.name)) for pair in pairs.values())
        place = "" if entry.rank is None else f"{entry.rank}{' =' if entry.tied else ''}"
        lines.append(
            f"| {name} | {scores} | {place} | {' '.join(entry.place.letters) if entry.place else ''} "
            f"| {number(result.steering_r2)} | {number(result.fvu)} |"
        )
    return "\n".join([*lines, "", _beside_readout(pairs)])


def _default_maps() -> tuple[str, ...]:
    """Return the maps that the suite runs unless others are asked for; docs/maps.md has all."""
    return find_suite(SUITE).mappings


def _beside_readout(pairs: dict) -> str:
    """Return a sentence on each pair's readout control, beside the maps that it is held against."""
    parts = []
    for name, pair in pairs.items():
        if pair_kind(pair.record) == "planted":
            continue
        scores = [number(pair.by_name[row].result.transfer_score, 1) for row in ("readout", "affine", "mlp")]
        parts.append(f"{scores[0]} on `{name}`, where `affine` has {scores[1]} and `mlp` {scores[2]}")
    return f"`readout` alone has {'; '.join(parts)}."


@dataclass(frozen=True)
class Sentence:
    """One line of the picture: what steered, what was written before and after the prompt's end."""

    by: str
    kind: str
    prompt: list[str]
    lines: list[str]


@dataclass(frozen=True)
class Bar:
    """One bar of the picture, in scores."""

    name: str
    kind: str
    score: float
    low: float
    high: float


def picture(board: Board, steered: dict) -> tuple[str, str]:
    """Return the README's picture as SVG, and its text alternative."""
    panel = _matching(board, steered)
    drawn = steered["sentences"][steered["drawn"]]
    concept = drawn["concept"].removeprefix("everyday-").removeprefix("topic-")
    said = {
        "unsteered": ("no steering", drawn["unsteered"]),
        "native": ("its own vector", drawn["native"]),
        "carried": (f"a vector carried from {panel.source} by {steered['mapping']}", drawn["carried"]),
    }
    sentences = [
        Sentence(by, kind, *_wrapped(drawn["prompt"], " ".join(text.split())))
        for kind, (by, text) in said.items()
    ]
    others = [panel.pair.by_name[name] for name in ("affine", "readout") if name in panel.pair.by_name]
    bars = _bars([panel.rows[0], *others])
    environment = template_environment(Path(__file__).parent)
    words = " · ".join(facts(panel.pair.record).split(" · ")[:2])
    values = {
        "panel": panel,
        "words": words,
        "concept": concept,
        "sentences": sentences,
        "bars": bars,
        "number": number,
    }
    svg = environment.get_template("steering.svg.j2").render(**values)
    quoted = "; ".join(
        f"{one.by}: “{drawn['prompt']} {' '.join(drawn[one.kind].split())}”" for one in sentences
    )
    scores = ", ".join(f"{bar.name} {number(bar.score, 1)}" for bar in bars)
    alternative = (
        f"{panel.target} writes on from one prompt under {quoted}. Beside it Transfer Scores between 0, no "
        f"steering, and 100, its own vector: {scores}"
    )
    return svg, alternative.replace("[", "(").replace("]", ")")


def _bars(rows: Sequence[Entry]) -> list[Bar]:
    made = {}
    for entry in rows:
        if entry.result.transfer_score is not None and entry.ci95 is not None:
            kind = "floor" if entry.result.mapping.control else "map"
            made[entry.name] = Bar(entry.name, kind, entry.result.transfer_score, *entry.ci95)
    return list(made.values())


def _wrapped(prompt: str, text: str) -> tuple[list[str], list[str]]:
    """Cut prompt and continuation into lines of the picture; the continuation follows the prompt."""
    joined = "" if re.match(r"[,.!?;:']", text) else " "
    lines = textwrap.wrap(f"{prompt}{joined}{text}", LINE)
    first = lines[0]
    head = first[: len(prompt)] if first.startswith(prompt) else first
    return [head], [first[len(head) :], *lines[1:3]]


def _matching(board: Board, steered: dict) -> Panel:
    """Return the panel of the two models that the sentences are of; the leading one where none is."""
    models = tuple(steered[side].rpartition(":")[0] for side in ("source", "target"))
    for panel in (panel for group in groups(board) for panel in group.panels):
        record = panel.pair.record
        if (record.source.model, record.target.model) == models and not panel.output_level:
            return panel
    raise click.ClickException(f"docs/steered.json: {' and '.join(models)} are on no pair of the results")


def replaced(path: Path, name: str, text: str) -> str:
    """Return the page with what stands between two markers replaced."""
    begin, end = f"<!-- {name}: docs/figures.py -->", "<!-- end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    made, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", path.read_text(encoding="utf-8"))
    if count != 1:
        raise click.ClickException(f"{path}: the markers {begin} ... {end} are not there once")
    return made


@click.command()
@click.argument(
    "results", type=click.Path(path_type=Path, exists=True), default=ROOT / "leaderboard" / "results"
)
def main(results: Path) -> None:
    """Rewrite README.md, docs/index.md and the pictures from RESULTS."""
    board = read_board(results)
    svg, alternative = picture(
        board, json.loads((ROOT / "docs" / "steered.json").read_text(encoding="utf-8"))
    )
    (ROOT / "docs" / "steering.svg").write_text(svg, encoding="utf-8")
    readme, index = ROOT / "README.md", ROOT / "docs" / "index.md"
    parts = {
        "picture": f"![{alternative}](docs/steering.svg)",
        "finding": finding(board),
        "scores": short_table(board),
    }
    for name, text in parts.items():
        readme.write_text(replaced(readme, name, text), encoding="utf-8")
    index.write_text(replaced(index, "table", table(board)), encoding="utf-8")
    kept = {*_default_maps(), *STANDING}
    late = ranked([
        read_result(path) for path in sorted((results / SUITE / "S-L").glob("*.json")) if path.stem in kept
    ])  # fmt: skip
    draw_pair([row.result for row in late], ROOT / "docs" / "nano-S-L.svg")
    click.echo("rewrote README.md, docs/index.md, docs/steering.svg and docs/nano-S-L.svg")


if __name__ == "__main__":
    main()
