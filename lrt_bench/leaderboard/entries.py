"""Reads and checks the result files of a leaderboard, pair by pair, ranked."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrt_bench.data.suites import find_suite, known_suites
from lrt_bench.errors import UserError
from lrt_bench.files.names import pair_slug, slug
from lrt_bench.files.process import no_garbage_collection
from lrt_bench.leaderboard.workers import share_out
from lrt_bench.results.frame import frame
from lrt_bench.results.ladders import Ladder, ladders, on_ladders
from lrt_bench.results.metrics import Array, TaskErrors
from lrt_bench.results.overall import Overall, overall
from lrt_bench.results.ranking import RANKED_TRACKS, ScoredResult, ranked_rows
from lrt_bench.results.schema.records import PairRecord
from lrt_bench.results.schema.result import Result, ResultSummary
from lrt_bench.results.statistics.separation import Place
from lrt_bench.results.storage import read_record, read_with_arrays, result_files

if TYPE_CHECKING:
    from pandas import DataFrame

CLAIMED = "claimed"
Report = Callable[[str, float, float], None]
Key = tuple[str, str, str]
PairKey = tuple[str, str]
Arrays = dict[str, Array]  # of each steerable task, [fits + 3, prompts]
MOST_AVERAGED = 12  # pairs of a suite that has means
GROUP = 500  # files of a folder that are read and ranked at once


@dataclass
class Entry:
    """One result on the board.

    Attributes
    ----------
    result : the record without its arrays of prompts.
    scores : hash of what its score is computed from, as stored; the same file has it on every machine.
    state : claimed, reproduced or verified; the ledger's word, never the file's.
    """

    path: Path
    result: ResultSummary
    scores: str
    rank: int | None = None
    tied: bool = False
    unranked: str | None = None
    samples: Array | None = None
    place: Place | None = None
    state: str = CLAIMED

    @property
    def name(self) -> str:
        """The mapping's name."""
        return self.result.mapping.name

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Of the score, had other concepts of the same kind been asked for."""
        return self.result.ci95

    @property
    def address(self) -> str:
        """SUITE/PAIR/MAPPING, as plain parts of a path."""
        result = self.result
        return "/".join(slug(part) for part in (result.suite, result.pair.name, result.mapping.name))

    @property
    def key(self) -> Key:
        """Suite, pair and mapping, which no two entries share."""
        return self.result.suite, self.result.pair.name, self.result.mapping.name


@dataclass
class PairEntries:
    """The entries of a suite on one pair: ceiling, mappings best first, the other controls."""

    suite: str
    entries: list[Entry]

    @cached_property
    def record(self) -> PairRecord:
        """The pair as its first entry records it."""
        return self.entries[0].result.pair

    @property
    def name(self) -> str:
        """The pair's name."""
        return self.record.name

    @property
    def slug(self) -> str:
        """Suite and pair as one plain part of a path."""
        return pair_slug(self.suite, self.name)

    @cached_property
    def size_ratio(self) -> float:
        """Parameters of the target over those of the source; under 1 goes from large to small."""
        return self.record.target.parameters / max(self.record.source.parameters, 1)

    @cached_property
    def by_name(self) -> dict[str, Entry]:
        """The entries by the names of their mappings."""
        return {entry.name: entry for entry in self.entries}

    @property
    def ranked(self) -> list[Entry]:
        """The entries that have a rank, best first."""
        return [entry for entry in self.entries if entry.rank is not None]

    @property
    def best(self) -> Entry | None:
        """The first ranked entry of the first track that has one: the corpus track's, where there is one."""
        tracks = [
            [entry for entry in self.ranked if entry.result.mapping.track == track] for track in RANKED_TRACKS
        ]
        return next((entries[0] for entries in tracks if entries), None)


@dataclass
class Board:
    """All pairs of all suites, and the files that were left out, each with its reason."""

    pairs: list[PairEntries]
    problems: list[str]

    @cached_property
    def entries(self) -> list[Entry]:
        """All entries, pair by pair."""
        return [entry for pair in self.pairs for entry in pair.entries]

    @cached_property
    def unseen(self) -> bool:
        """Whether a row has a score on private models or on drawn concepts."""
        return any(entry.result.private or entry.result.fresh for entry in self.entries)

    @cached_property
    def ladders(self) -> list[Ladder]:
        """The ladders among its pairs, of ranked rows and controls; their arrays are read again."""
        paths = {id(entry.result): entry.path for entry in self.entries if entry.unranked is None}
        summaries = [entry.result for entry in self.entries if entry.unranked is None]
        found = [row for rungs in on_ladders(summaries) for rows in rungs.values() for row in rows]
        return ladders(read_record(paths[id(row)]) for row in found)

    @cached_property
    def overall(self) -> list[Overall]:
        """The means of its suites of at most a dozen pairs; ranked rows and controls are read again."""
        ladders = self.rungs
        rows = [
            entry
            for pairs in self.suites.values() if len(pairs) <= MOST_AVERAGED
            for pair in pairs if (pair.suite, pair.name) not in ladders
            for entry in pair.entries if entry.unranked is None
        ]  # fmt: skip
        return overall(read_record(entry.path) for entry in rows)

    @cached_property
    def rungs(self) -> set[PairKey]:
        """The pairs that are rungs of a ladder: what they say is said by all of them together."""
        return {(ladder.suite, pair) for ladder in self.ladders for pair in ladder.pairs}

    def frame(self) -> DataFrame:
        """One row an entry in the board's order, with its state and the path of its record in the site."""
        entries = self.entries
        states = ["control" if entry.result.mapping.control else entry.state for entry in entries]
        paths = [f"results/{entry.address}.json" for entry in entries]
        return frame(entries).assign(state=states, result=paths)

    @cached_property
    def suites(self) -> dict[str, list[PairEntries]]:
        """The pairs of each suite."""
        suites: dict[str, list[PairEntries]] = {}
        for pair in self.pairs:
            suites.setdefault(pair.suite, []).append(pair)
        return suites


def read_board(results: Path, report: Report = lambda what, done, total: None) -> Board:
    """Every result under a folder, checked and ranked.

    Raises UserError where there is none at all.
    """
    if not results.is_dir():
        raise UserError(f"--results {results}: no such folder; run `lrt-bench evaluate` first")
    with no_garbage_collection():
        return _read(results, report)


def _read(results: Path, report: Report) -> Board:
    files = list(result_files(results))
    groups = _groups(files)
    board = Board([], [])
    pairs: dict[PairKey, list[_PairPart]] = {}
    for read in share_out(_read_group, groups, lambda d, n: report("reading", d, n), size=len(files)):
        board.problems += read.problems
        for key, part in read.pairs.items():
            pairs.setdefault(key, []).append(part)
    if not pairs:
        why = f" ({board.problems[0]})" if board.problems else "; run `lrt-bench evaluate` first"
        raise UserError(f"--results {results}: no readable result in it{why}")
    for key in sorted(pairs, key=lambda key: (key[0], _place_in_suite(*key), key[1])):
        parts = pairs.pop(key)
        whole = parts[0] if len(parts) == 1 else _merged(parts, board.problems)
        board.pairs.append(PairEntries(key[0], _placed(whole) if whole.arrays else whole.entries))
    return board


def _groups(files: list[Path]) -> list[list[Path]]:
    """Files that lie in one folder together, as a pair's do; a very large folder in parts."""
    by_folder: dict[Path, list[Path]] = {}
    for path in files:
        by_folder.setdefault(path.parent, []).append(path)
    return [
        paths[start : start + GROUP] for paths in by_folder.values() for start in range(0, len(paths), GROUP)
    ]


@dataclass
class _PairPart:
    """Entries of one pair: ranked, or with the arrays to rank them by where more may lie elsewhere."""

    entries: list[Entry]
    arrays: list[Arrays]


@dataclass
class _Read:
    """What a worker read of a group of files."""

    pairs: dict[PairKey, _PairPart]
    problems: list[str]


def _read_group(paths: list[Path]) -> _Read:
    """Read and check files; rank each pair of theirs unless the folder goes on in another group."""
    read = _Read({}, [])
    seen: dict[Key, Path] = {}
    taken: list[tuple[Entry, Arrays]] = []
    for path in paths:
        try:
            taken.append(_taken(path))
        except UserError as error:
            read.problems.append(str(error))
    for entry, rows in sorted(taken, key=lambda row: _stray(row[0])):
        try:
            _only_once(entry, seen)
        except UserError as error:
            read.problems.append(str(error))
            continue
        part = read.pairs.setdefault(entry.key[:2], _PairPart([], []))
        part.entries.append(entry)
        part.arrays.append(rows)
    if len(paths) < GROUP:
        read.pairs = {key: _PairPart(_placed(part), []) for key, part in read.pairs.items()}
    return read


def _merged(parts: list[_PairPart], problems: list[str]) -> _PairPart:
    """Return a pair whose files lie in several folders, its arrays read again where they were let go."""
    rows = [
        row
        for part in parts
        for row in zip(part.entries, part.arrays or [_taken(e.path)[1] for e in part.entries], strict=True)
    ]
    whole, seen = _PairPart([], []), dict[Key, Path]()
    for entry, arrays in sorted(rows, key=lambda row: _stray(row[0])):
        try:
            _only_once(entry, seen)
        except UserError as error:
            problems.append(str(error))
            continue
        whole.entries.append(entry)
        whole.arrays.append(arrays)
    return whole


def _stray(entry: Entry) -> tuple[bool, Path]:
    """Return the order in which copies are kept: first the file that lies where `evaluate` writes."""
    return entry.path.parts[-3:] != (*entry.key[:2], f"{entry.name}.json"), entry.path


def _only_once(entry: Entry, seen: dict[Key, Path]) -> None:
    """Raise UserError for a second result of the same suite, pair and mapping."""
    if entry.key in seen:
        raise UserError(f"{entry.path}: the same suite, pair and mapping as {seen[entry.key]}: keep one")
    seen[entry.key] = entry.path


def _taken(path: Path) -> tuple[Entry, Arrays]:
    """Return a result as the board keeps it, and an array for each task that counts.

    Raises UserError.
    """
    if path.is_symlink():
        raise UserError(f"{path}: a link: give the file itself")
    result, arrays = read_with_arrays(path)
    if "limit" in (result.provenance.config or {}):
        raise UserError(f"{path}: a quick look (--limit), which is on no board: run it without --limit")
    return Entry(path, result.summary, _scores_hash(result, arrays)), arrays


def _place_in_suite(suite: str, pair: str) -> int:
    """Pairs stand in the order of their suite, where it ships with lrt-bench."""
    names = _pair_names(suite)
    return names.index(pair) if pair in names else len(names)


@functools.cache  # a constant of the process: the suites that ship with the package do not change
def _pair_names(suite: str) -> list[str]:
    return [pair.name for pair in find_suite(suite).pairs] if suite in known_suites() else []


def _scores_hash(result: Result, rows: dict[str, Array]) -> str:
    """Hash of method, protocol and the stored arrays: what a re-score changes.

    The numbers are hashed as the file holds them, nine digits each. Reading a decimal as float64 is correctly
    rounded everywhere, so nothing that a processor computes is in the hash.
    """
    head = [result.suite_digest, result.mapping.digest, result.mapping.track, str(result.complete)]
    head += [f"{name} {rows[name].shape}" for name in sorted(rows)]
    digest = hashlib.sha256("\n".join(head).encode())
    if rows:
        arrays = [rows[name].ravel() for name in sorted(rows)]
        digest.update(np.concatenate(arrays).astype("<f8").tobytes())
    return digest.hexdigest()[:12]


def _placed(part: _PairPart) -> list[Entry]:
    """Return a pair's entries in the order of its page, each with its place in the ranking."""
    by_name = {entry.name: entry for entry in part.entries}
    scored = [
        ScoredResult(entry.result, {name: TaskErrors.of_rows(array) for name, array in rows.items()})
        for entry, rows in zip(part.entries, part.arrays, strict=True)
    ]
    ordered = []
    for row in ranked_rows(scored):
        entry = by_name[row.result.mapping.name]
        entry.rank, entry.tied, entry.unranked = row.rank, row.tied, row.unranked
        entry.samples, entry.place = row.samples, row.place
        ordered.append(entry)
    return sorted(ordered, key=lambda entry: (not _is_ceiling(entry), entry.result.mapping.control))


def _is_ceiling(entry: Entry) -> bool:
    return entry.result.mapping.control and entry.name in ("native", "native-split")
