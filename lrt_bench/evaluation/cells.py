"""Cells, one row of one pair each: where a result lies, when it is finished, how it is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.evaluation.protocol import STATES_WEIGHT
from lrt_bench.evaluation.rows import Row
from lrt_bench.results.storage import Result, pack_propensities, read_propensities, read_result, write_result


@dataclass(frozen=True)
class Cell:
    """A finished cell: one row of one pair, where it lies, and whether this run computed it."""

    result: Result
    path: Path
    computed: bool


@dataclass(frozen=True)
class Failure:
    """A submission's cell that could not be computed, and why, in one line."""

    mapping: str
    pair: str
    reason: str


def cell_path(out: Path, suite: Suite, pair: PairSpec, row: Row) -> Path:
    """Where a cell's result lies."""
    return out / suite.name / pair.name / f"{row.name}.json"


def finished(path: Path, key: str) -> Result | None:
    """Return the result that lies there, if it is under that key and its propensities are with it."""
    if not path.exists():
        return None
    result = read_result(path)
    if result.key != key or read_propensities(path, result) is None:
        return None
    return result


def store(path: Path, result: Result, arrays: dict[str, Tensor]) -> Cell:
    """Write a computed cell."""
    data, digest = pack_propensities(arrays)
    result = result.model_copy(update={"propensities": digest})
    write_result(path, result, data)
    return Cell(result, path, computed=True)


PHASES = ("vectors", "sweep", "behaviour", "rest")  # of a cell, in their order


@dataclass
class Phases:
    """How much of a cell is done: each phase counts as the time that it took in the cells before.

    begun : called with the share of the cell that lies before the phase which begins.
    """

    begun: Callable[[float], None] = lambda share: None
    clock: Callable[[], float] = time.monotonic
    _seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})
    _running: tuple[str, float] | None = None

    def begin(self, phase: str) -> None:
        """Begin a phase, and end the one before."""
        self.end()
        self._running = phase, self.clock()
        means = [sum(each) / max(1, len(each)) for each in self._seconds.values()]
        total, before = sum(means), sum(means[: PHASES.index(phase)])
        self.begun(before / total if total else 0.0)

    def end(self) -> None:
        """End the phase that is running, if there is one."""
        if self._running is not None:
            phase, began = self._running
            self._seconds[phase].append(self.clock() - began)
            self._running = None


@dataclass
class Tally:
    """How much of a run is done, in cells; what was finished before is taken out of the total.

    report : called with (what is being done, done, in all); neither `done` nor its share ever falls.
    """

    total: float
    report: Callable[[str, float, float], None]
    _what: str = "starting"
    _cells: float = 0.0
    _within: float = 0.0
    _states: float = 0.0  # share of this pair's pass over the corpus

    def begin(self, what: str) -> None:
        """Begin a step."""
        self._what = what
        self._tell()

    def states(self, share: float) -> None:
        """Say which share of the pair's pass over the corpus is done."""
        self._states = max(self._states, share)
        self._tell()

    def within(self, share: float) -> None:
        """Say which share of the cell is done."""
        self._within = max(self._within, share)
        self._tell()

    def end_cell(self, computed: bool) -> None:
        """End a cell; one that was only read is none of this run's work."""
        self._cells, self._within = self._cells + computed, 0.0
        self.total -= not computed
        self._tell()

    def end_pair(self) -> None:
        """End a pair; a pass over the corpus that nobody needed is none of this run's work."""
        self._cells += STATES_WEIGHT * self._states
        self.total -= STATES_WEIGHT * (1 - self._states)
        self._states = 0.0
        self._tell()

    def _tell(self) -> None:
        done = self._cells + self._within + STATES_WEIGHT * self._states
        self.report(self._what, done, max(self.total, done))
