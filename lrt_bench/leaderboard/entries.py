"""Reads and checks the result files of a leaderboard, pair by pair, ranked."""

from __future__ import annotations

import functools
import gc
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lrt_bench import metrics
from lrt_bench.errors import UserError
from lrt_bench.metrics import Array
from lrt_bench.ranking import RankedRow, Scored, ranked_rows
from lrt_bench.results import PairRecord, Result, read_result
from lrt_bench.suites import find_suite, known_suites

CLAIMED = "claimed"
ROUNDING = 0.02  # points: what rounding arrays to nine digits may move a score or an interval's end
ARRAYS = ("error", "energy", "split_error", "split_energy")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def slug(name: str) -> str:
    """A name as part of a file name and address: itself if it is plain, else what is plain and a hash."""
    if PLAIN.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name)[:40].strip("-") or "name"
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:10]}"


@dataclass
class Entry:
    """One result on the board.

    Attributes
    ----------
    result : the record, without its arrays of prompts.
    scores : hash of what its score is computed from; a re-run that gives the same numbers keeps it.
    state : claimed, reproduced or verified; the ledger's word, never the file's.
    """

    path: Path
    result: Result
    scores: str
    rank: int | None = None
    tied: bool = False
    unranked: str | None = None
    samples: Array | None = None
    ci95: tuple[float, float] | None = None
    state: str = CLAIMED

    @property
    def name(self) -> str:
        return self.result.mapping.name

    @property
    def address(self) -> str:
        """SUITE/PAIR/MAPPING, as plain parts of a path."""
        result = self.result
        return "/".join(slug(part) for part in (result.suite, result.pair.name, result.mapping.name))

    @property
    def key(self) -> tuple[str, str, str]:
        return self.result.suite, self.result.pair.name, self.result.mapping.name


@dataclass
class PairEntries:
    """The entries of a suite on one pair: ceiling, mappings best first, the other controls."""

    suite: str
    entries: list[Entry]

    @cached_property
    def record(self) -> PairRecord:
        return self.entries[0].result.pair

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def slug(self) -> str:
        return f"{slug(self.suite)}--{slug(self.name)}"

    @cached_property
    def size_ratio(self) -> float:
        """Parameters of the target over those of the source; under 1 goes from large to small."""
        return self.record.target.parameters / max(self.record.source.parameters, 1)

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.entries}

    @property
    def ranked(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.rank is not None]


@dataclass
class Board:
    """All pairs of all suites, and the files that were left out, each with its reason."""

    pairs: list[PairEntries]
    problems: list[str]

    @cached_property
    def entries(self) -> list[Entry]:
        return [entry for pair in self.pairs for entry in pair.entries]

    @cached_property
    def suites(self) -> dict[str, list[PairEntries]]:
        found: dict[str, list[PairEntries]] = {}
        for pair in self.pairs:
            found.setdefault(pair.suite, []).append(pair)
        return found


def read_board(results: Path) -> Board:
    """Every result under a folder, checked and ranked. Raises UserError where there is none at all."""
    if not results.is_dir():
        raise UserError(f"--results {results}: no such folder; run `lrt-bench evaluate` first")
    collecting = gc.isenabled()
    gc.disable()  # hundreds of thousands of small records: scanning them again and again doubles the time
    try:
        return _read(results)
    finally:
        if collecting:
            gc.enable()


def _read(results: Path) -> Board:
    problems: list[str] = []
    seen: dict[tuple[str, str, str], Path] = {}
    pairs: dict[tuple[str, str], list[tuple[Entry, Scored]]] = {}
    for path in result_files(results):
        try:
            scored = _checked(path)
        except UserError as error:
            problems.append(str(error))
            continue
        entry = Entry(path, _light(scored.result), _scores_hash(scored))
        if entry.key in seen:
            problems.append(f"{path}: the same suite, pair and mapping as {seen[entry.key]}: keep one")
            continue
        seen[entry.key] = path
        light = Scored(entry.result, scored.errors)
        pairs.setdefault(entry.key[:2], []).append((entry, light))
    if not pairs:
        why = f" ({problems[0]})" if problems else "; run `lrt-bench evaluate` first"
        raise UserError(f"--results {results}: no readable result in it{why}")
    order = sorted(pairs, key=lambda key: (key[0], _place_in_suite(*key), key[1]))
    return Board([PairEntries(key[0], _placed(pairs[key])) for key in order], problems)


def _place_in_suite(suite: str, pair: str) -> int:
    """Pairs stand in the order of their suite, where it ships with lrt-bench."""
    names = _pair_names(suite)
    return names.index(pair) if pair in names else len(names)


@functools.cache
def _pair_names(suite: str) -> list[str]:
    return [pair.name for pair in find_suite(suite).pairs] if suite in known_suites() else []


def result_files(results: Path) -> Iterator[Path]:
    """JSON files under a folder, hidden ones and links left out, in order."""
    for path in sorted(results.rglob("*.json")):
        parts = path.relative_to(results).parts
        if not any(part.startswith(".") for part in parts) and path.is_file() and not path.is_symlink():
            yield path


def _checked(path: Path) -> Scored:
    """A result whose score follows from its own arrays."""
    result = read_result(path)
    if result.mapping.control != (result.mapping.track == "control"):
        raise UserError(
            f"{path}: field mapping.track: {result.mapping.track} does not go with mapping.control"
        )
    scored = Scored.of(result)
    if any(task.energy.sum() == 0 for task in scored.errors.values()):
        raise UserError(f"{path}: field tasks: energy: nothing moves, yet the task counts as steerable")
    told, found = result.transfer_score, metrics.transfer_score(scored.errors)
    if (told is None) != (found is None):
        raise UserError(f"{path}: field transfer_score: {told}, but its tasks give {found}")
    if told is not None and found is not None and abs(told - found) > ROUNDING:
        raise UserError(f"{path}: field transfer_score: {told:.2f}, but its tasks give {found:.2f}")
    return scored


def _light(result: Result) -> Result:
    """The record without its arrays of prompts, which are most of it."""
    empty = dict.fromkeys(ARRAYS, ())
    return result.model_copy(update={"tasks": tuple(task.model_copy(update=empty) for task in result.tasks)})


def _scores_hash(scored: Scored) -> str:
    """Hash of method, protocol and the arrays, to six digits: what a re-score changes."""
    result = scored.result
    head = [result.suite_digest, result.mapping.digest, result.mapping.track, str(result.complete)]
    head += [f"{name} {len(task.error)} {len(task.energy)}" for name, task in sorted(scored.errors.items())]
    digest = hashlib.sha256("\n".join(head).encode())
    tasks = [task for _, task in sorted(scored.errors.items())]
    if tasks:
        arrays = [getattr(task, part).ravel() for task in tasks for part in ARRAYS]
        digest.update(_six_digits(np.concatenate(arrays)).tobytes())
    return digest.hexdigest()[:12]


def _six_digits(values: Array) -> Array:
    exponent = np.floor(np.log10(np.maximum(values, 1e-300)))
    return np.rint(values / 10.0 ** (exponent - 5))


def _placed(rows: list[tuple[Entry, Scored]]) -> list[Entry]:
    """The pair's entries in the order of its page."""
    entries = {entry.name: entry for entry, _ in rows}
    placed = [_with_place(entries[row.result.mapping.name], row) for row in ranked_rows([s for _, s in rows])]
    return sorted(placed, key=lambda entry: (not _is_ceiling(entry), entry.result.mapping.control))


def _with_place(entry: Entry, row: RankedRow) -> Entry:
    entry.rank, entry.tied, entry.unranked = row.rank, row.tied, row.unranked
    entry.samples, entry.ci95 = row.samples, row.ci95 or entry.result.ci95
    return entry


def _is_ceiling(entry: Entry) -> bool:
    return entry.result.mapping.control and entry.name in ("native", "native-split")
