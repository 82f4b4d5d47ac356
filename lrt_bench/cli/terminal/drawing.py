"""Cells by pair: ranked beside what lies in the folder already, and drawn while the run goes on."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from lrt_bench.errors import UserError
from lrt_bench.files.process import switch_interval
from lrt_bench.results.ranking import RankedRow, ranked
from lrt_bench.results.storage import read_result

if TYPE_CHECKING:
    from lrt_bench.evaluation.cells import Cell
    from lrt_bench.results.schema.result import Result

SWITCH = 5e-4  # seconds for which a drawing thread may keep the run's own from going on


def by_pair(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells grouped by pair, in the order in which they were run."""
    return [list(group) for _, group in itertools.groupby(cells, key=lambda c: c.result.pair.name)]


def ranked_pairs(cells: Sequence[Cell]) -> list[list[RankedRow]]:
    """Rank the results of each pair, best first, beside those of other mappings that lie in its folder.

    A stored result that cannot be ranked beside them (another suite's version, other weights) is left out.
    """
    pairs = []
    for group in by_pair(cells):
        own = [cell.result for cell in group]
        rows = ranked([*own, *_stored(group)])
        pairs.append([row for row in rows if row.rank is not None or any(row.result is one for one in own)])
    return pairs


def _stored(cells: Sequence[Cell]) -> Iterator[Result]:
    """Yield the results of mappings that lie beside a pair's cells and are not among them."""
    names = {cell.result.mapping.name for cell in cells}
    of_pair = cells[0].result.suite, cells[0].result.pair.name
    for path in sorted(cells[0].path.parent.glob("*.json")):
        if path.stem in names:
            continue
        try:
            result = read_result(path)
        except UserError:  # a file that somebody put there: the run does not need it
            continue
        if (result.suite, result.pair.name) == of_pair and result.mapping.name not in names:
            yield result


def draw(cells: Sequence[Cell]) -> list[Path]:
    """Draw a picture for each pair beside its results; return the pictures' paths."""
    from lrt_bench.results.figures.pair_figure import draw_pair

    drawn = []
    for group, rows in zip(by_pair(cells), ranked_pairs(cells), strict=True):
        own = {cell.result.mapping.name for cell in group if cell.computed}
        drawn.append(draw_pair([row.result for row in rows], group[0].path.parent / "figure.svg", own))
    return drawn


class Drawing:
    """Draws pairs' figures beside the run that makes their results; all are there when it is left."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._thread = ThreadPoolExecutor(1)
        self._drawn: list[Future[list[Path]]] = []
        self._settings = contextlib.ExitStack()

    def add(self, cells: Sequence[Cell]) -> None:
        """Have a pair's results drawn."""
        self._drawn.append(self._thread.submit(draw, cells))

    def __enter__(self) -> Drawing:
        self._settings.enter_context(switch_interval(SWITCH))
        return self

    def __exit__(self, *raised: object) -> None:
        with self._settings:
            self._thread.shutdown()
        if raised[0] is None:
            self.paths = [path for drawn in self._drawn for path in drawn.result()]
