"""Cells, one row of one pair each: where a result lies, when it is finished, how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lrt_bench.data.suites import PairSpec, Suite
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
