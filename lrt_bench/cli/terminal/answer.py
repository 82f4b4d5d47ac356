"""How `evaluate` ends: what is best, what ties with it, what the controls say, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrt_bench.cli.terminal.drawing import ranked_pairs
from lrt_bench.cli.terminal.formats import write
from lrt_bench.cli.terminal.ladders import ladder_listings
from lrt_bench.cli.terminal.overall import overall_answer, overall_listings
from lrt_bench.cli.terminal.pairs import pair_listings, score
from lrt_bench.cli.terminal.screen import print_line, screen
from lrt_bench.files.format import counted, number
from lrt_bench.results.frame import frame, records
from lrt_bench.results.ladders import ladders_of
from lrt_bench.results.overall import overall_of

if TYPE_CHECKING:
    from lrt_bench.evaluation.cells import Cell, Failure
    from lrt_bench.results.ranking import RankedRow

CHANCE = ("shuffled", "random", "other-concept")  # controls that know nothing of the concept in the target
LEGEND = (
    "Transfer Score: 100 steers as the target's own vector does, 0 as none [95% over other concepts of the "
    "kind]",
    "rank: by paired tests over tasks, = shared; groups: rows with a letter in common are not separable",
    "FVU: variance of the target's states that the map leaves unexplained; fit s: seconds of one fit; r(D): "
    "correlation of effects; steering R2: share of the effect on the choice words",
)


def print_outcome(cells: Sequence[Cell], failures: Sequence[Failure], figures: Sequence[Path]) -> None:
    """Print each pair's tables, the answer, what the columns are, where the files lie, and what is next."""
    pairs = ranked_pairs(cells)
    for rows in pairs:
        write(pair_listings(rows), "table")
    every = [row for rows in pairs for row in rows]
    means = overall_of(every)
    write(ladder_listings(ladders_of(every)) + overall_listings(means), "table")
    out = screen()
    fresh = {(cell.result.pair.name, cell.result.mapping.name) for cell in cells}
    for rows in pairs:
        for line in answer(rows, fresh, named=len(pairs) > 1):
            out.print(line)
    for suite in means:
        for line in overall_answer(suite):
            out.print(line)
    if any(row.result.transfer_score is not None for row in every):
        for line in LEGEND:
            out.print(line, style="dim")
    print_failures(failures)
    computed = sum(cell.computed for cell in cells)
    folders = sorted({str(cell.path.parent.parent) for cell in cells})
    drawn = f", {counted(len(figures), 'figure')} (figure.svg)" if figures else ""
    done = f"{counted(computed, 'cell')} computed, {len(cells) - computed} finished before"
    print_line(f"{done}{drawn}: {', '.join(folders)}")
    for line in next_commands(cells, pairs):
        print_line(f"next: {line}")


def answer(rows: Sequence[RankedRow], fresh: set[tuple[str, str]], named: bool = False) -> Iterator[str]:
    """Yield the lines that answer for one pair.

    Parameters
    ----------
    rows
        The pair's rows, ranked.
    fresh
        (pair, mapping) of the rows that were asked for; the others lay in the folder.
    named
        Whether the lines name the pair.
    """
    result = rows[0].result
    start = f"{result.pair.name}: " if named else ""
    scored = [row for row in rows if not row.result.mapping.control and row.result.transfer_score is not None]
    if not scored:
        if any(row.result.tasks for row in rows):
            yield f"{start}no score: native steering works on none of these tasks"
        yield from _refusals(rows)
        return
    ranks = [row for row in scored if row.rank is not None]
    yield f"{start}{_best(ranks or scored)}{_among(ranks or scored, fresh)}"
    if ranks:
        yield from _submissions(scored, fresh)
    else:
        yield "not ranked: " + (scored[0].unranked or "")
    yield from _controls(scored[0], rows)
    yield from _output_level(rows)
    yield from _refusals(rows)


def _submissions(scored: Sequence[RankedRow], fresh: set[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each submission of this run that has no rank: its score, how far it lies, and why."""
    best = next(row for row in scored if row.rank is not None)
    for row in scored:
        result = row.result
        name = result.mapping.name
        if row.rank is None and _is_submission(row) and (result.pair.name, name) in fresh:
            below = (best.result.transfer_score or 0) - (result.transfer_score or 0)
            way = "below" if below >= 0 else "above"
            far = f"{number(abs(below), 1)} {way} {best.result.mapping.name}"
            yield f"{name} {_score(row)}, {far}; no rank: {row.unranked}"
            yield "a submission is ranked once the maintainers have scored it on models that nobody has seen"


def _is_submission(row: RankedRow) -> bool:
    return row.result.mapping.origin == "submission"


def _score(row: RankedRow) -> str:
    return score(records(frame([row]))[0])


def _best(scored: Sequence[RankedRow]) -> str:
    """Return the best row with its score, and the rows that the tests cannot tell from it."""
    from lrt_bench.results.ranking import RANKED_TRACKS

    present = {row.result.mapping.track for row in scored}
    tracks = [track for track in RANKED_TRACKS if track in present]
    parts = []
    for track in tracks:
        of_track = [row for row in scored if row.result.mapping.track == track]
        best = of_track[0]
        text = f"{best.result.mapping.name} {_score(best)}"
        if best.place is not None:
            letters = set(best.place.letters)
            ties = [r.result.mapping.name for r in of_track[1:] if r.place and letters & set(r.place.letters)]
            if ties:
                text += f", not separable from {', '.join(ties)}"
        parts.append(text if len(tracks) == 1 else f"{track} track: {text}")
    return f"best: {'; '.join(parts)}"


def _among(scored: Sequence[RankedRow], fresh: set[tuple[str, str]]) -> str:
    """Return how many rows were compared, and how many of them were not asked for in this run."""
    before = sum((row.result.pair.name, row.result.mapping.name) not in fresh for row in scored)
    if before:
        return f" (of {len(scored)}, {before} of them from the folder)"
    return f" (of these {len(scored)})" if len(scored) > 1 else " (the only one)"


def _controls(best: RankedRow, rows: Sequence[RankedRow]) -> Iterator[str]:
    controls = {row.result.mapping.name: row for row in rows if row.result.mapping.control}
    chance = [controls[name] for name in CHANCE if name in controls]
    chance = [row for row in chance if row.result.transfer_score is not None]
    if not chance:
        return
    text = ", ".join(f"{row.result.mapping.name} {number(row.result.transfer_score, 1)}" for row in chance)
    highest = max(chance, key=lambda row: row.ci95[1] if row.ci95 else float("-inf"))
    if best.ci95 and highest.ci95:
        low, high = best.ci95[0], highest.ci95[1]
        name = best.result.mapping.name
        text += (
            f": {name} is clear of them all"
            if low > high
            else f": the interval of {name} overlaps that of {highest.result.mapping.name}"
        )
    yield f"controls: {text}"


def _output_level(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Yield what the two unembeddings alone reach; a warning where it is most of the ceiling."""
    record = next((row.result.behaviour for row in rows if row.result.behaviour), None)
    if record is not None:
        readout, unembedding = number(record.readout_score, 1), number(record.unembedding_score, 1)
        text = f"of the ceiling's 100 the readout alone has {readout}, the unembeddings' map {unembedding}"
        yield (
            f"output-level: {text}; the pair says little of a representation" if record.output_level else text
        )
        return
    words = next((row.result for row in rows if row.result.mapping.name == "readout"), None)
    if words is not None and words.transfer_score is not None:
        yield f"the choice words' unembedding alone: {number(words.transfer_score, 1)}"


def _refusals(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Yield for each refusal task which mapping moves the target furthest towards answering."""
    from lrt_bench.cli.terminal.refusal import towards_answering

    for task in dict.fromkeys(task.task for row in rows for task in row.result.refusal):
        scores = {
            row.result.mapping.name: value
            for row in rows
            if (value := towards_answering(row.result, task)) is not None
        }
        names = {row.result.mapping.name for row in rows if not row.result.mapping.control}
        mapped = {name: value for name, value in scores.items() if name in names}
        if not mapped:
            continue
        best = min(mapped, key=lambda name: mapped[name])
        others = ", ".join(f"{n} {number(v, 2)}" for n, v in scores.items() if n not in names)
        yield f"{task}: furthest towards answering is {best} {number(mapped[best], 2)} (controls: {others})"


def next_commands(cells: Sequence[Cell], pairs: Sequence[Sequence[RankedRow]]) -> Iterator[str]:
    """Yield the commands that go on from here: the own submission's row first, else the best one's."""
    paths = {(cell.result.pair.name, cell.result.mapping.name): cell.path for cell in cells}
    shown = sorted((row for rows in pairs for row in rows), key=lambda row: not _is_submission(row))
    best = [
        paths[row.result.pair.name, row.result.mapping.name]
        for row in shown
        if not row.result.mapping.control and (row.result.pair.name, row.result.mapping.name) in paths
    ]
    if best:
        yield f"lrt-bench show {shlex.quote(str(best[0]))}"
    if cells:
        out = cells[0].path.parent.parent.parent
        yield f"lrt-bench leaderboard build --results {shlex.quote(str(out))}"


def print_failures(failures: Sequence[Failure]) -> None:
    """Print the submissions that could not be scored, and why."""
    for failure in failures:
        print_line(f"failed: {failure.mapping} on {failure.pair}: {failure.reason}")
    if failures:
        print_line(f"{len(failures)} failed")
