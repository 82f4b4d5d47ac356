"""The paper's table 1 on pretrained pairs: what `page.md.j2` shows of suite `paper-pocket`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrt_bench.data.suites import find_suite
from lrt_bench.files.format import number
from lrt_bench.results.figures.paper_table import TABLE_1, Line, lines
from lrt_bench.results.metrics import over_ceiling
from lrt_bench.results.ranking import RankedRow, ranked
from lrt_bench.results.schema.result import Result
from lrt_bench.results.storage import read_result

SUITE = "paper-pocket"
MAPS = ("affine", "affine-with-bias", "ridge")
FLOORS = ("readout", "random", "shuffled")


@dataclass(frozen=True)
class PaperPair:
    """One pair's table: its rows by name, and a line a task."""

    name: str
    rows: dict[str, RankedRow]
    lines: list[Line]

    @property
    def first(self) -> Result:
        """Any of its results: what all have in common is read from it."""
        result = next(iter(self.rows.values())).result
        assert isinstance(result, Result)
        return result

    @property
    def shown(self) -> list[str]:
        """The rows that the table has."""
        return [name for name in (*MAPS, *FLOORS) if name in self.rows]

    @property
    def counted(self) -> list[Line]:
        """The tasks on which native steering is clear of chance."""
        return [line for line in self.lines if line.steerable]

    @property
    def prompts(self) -> int:
        """Prompts of a task."""
        return max(task.prompts for task in self.first.tasks)

    def correlation(self, line: Line, name: str) -> str:
        """The paper's r of a row on a task."""
        return number(line.rows[name].correlation if name in line.rows else None, 2)

    def mean(self, name: str) -> float:
        """Mean of the paper's r over the tasks that count."""
        values = [line.rows[name].correlation for line in self.counted]
        return float(np.mean([value for value in values if value is not None]))

    def share(self, line: Line, name: str) -> str:
        """A row's behaviour share over its ceiling on a task, of 100."""
        result = self.rows[name].result
        [task] = [task for task in result.tasks if task.task == line.task]
        if task.share is None or task.ceiling_share is None:
            return "–"
        return number(100 * over_ceiling(task.share, task.ceiling_share), 0)


def paper_pairs(results: Path) -> Iterator[PaperPair]:
    """Yield the pairs that have results, in the suite's order."""
    for pair in find_suite(SUITE).pairs:
        paths = sorted((results / SUITE / pair.name).glob("*.json"))
        if paths:
            read = [read_result(path) for path in paths]
            rows = {row.result.mapping.name: row for row in ranked(read)}
            yield PaperPair(pair.name, rows, [line for line in lines(read) if line.task in TABLE_1])
