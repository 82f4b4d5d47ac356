"""The ledger: every addition, re-score, change of state and removal of a leaderboard, with its reason.

It is a CSV file of one line a change, only ever appended to. A build refuses a ranking that the ledger's
last lines do not tell of: neither a number nor a rank changes silently. It alone says which entries are
reproduced or verified; a result file can't say so of itself.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from lrt_bench.errors import UserError
from lrt_bench.files.parse import read_csv
from lrt_bench.files.text import numbered_lines
from lrt_bench.files.whole import write_whole
from lrt_bench.leaderboard.entries import CLAIMED, Board, Entry, PairEntries

VERIFIED = "verified"
STATES = (CLAIMED, "reproduced", VERIFIED)
ACTIONS = ("add", "re-score", "state", "remove", "re-rank")
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Line:
    """One change.

    `scores` hashes what the entry's score comes from, `ranking` the pair's whole ranking after the change.
    """

    date: str
    action: str
    suite: str
    pair: str
    mapping: str
    state: str
    transfer_score: str
    rank: str
    scores: str
    ranking: str
    reason: str

    @property
    def key(self) -> Key:
        """Suite, pair and mapping of the entry."""
        return self.suite, self.pair, self.mapping


HEADER = [field.name for field in fields(Line)]


def read_ledger(path: Path) -> list[Line]:
    """Return the lines of a ledger, oldest first; none where there is no file.

    Raises UserError.
    """
    if not path.exists():
        return []
    if next(numbered_lines(path), (1, ""))[1] != ",".join(HEADER):
        raise UserError(f"{path}, line 1: want the header {','.join(HEADER)}")
    lines = []
    for number, row in read_csv(path, ","):
        line = Line(**row)
        if line.action not in ACTIONS or line.state not in STATES or not line.reason.strip():
            raise UserError(
                f"{path}, line {number}: want an action ({', '.join(ACTIONS)}), "
                f"a state ({', '.join(STATES)}) and a reason"
            )
        lines.append(line)
    return lines


def standing(lines: Iterable[Line]) -> dict[Key, Line]:
    """Return the last line of every entry that is still on the board."""
    last = {line.key: line for line in lines}
    return {key: line for key, line in last.items() if line.action != "remove"}


def give_states(board: Board, lines: Sequence[Line]) -> None:
    """Set each entry's state to what the ledger's last line on it says."""
    last = standing(lines)
    for entry in board.entries:
        if entry.key in last:
            entry.state = last[entry.key].state


def mappings(pair: PairEntries) -> list[Entry]:
    """Return the entries that the ledger keeps: controls come and go with the pair."""
    return [entry for entry in pair.entries if not entry.result.mapping.control]


def ranking_hash(pair: PairEntries) -> str:
    """Hash of the pair's ranking: who has which rank, tie and score (to a tenth)."""
    places = [(e.name, e.result.mapping.track, e.rank, e.tied, _score(e)) for e in mappings(pair)]
    return hashlib.sha256(repr(sorted(places, key=repr)).encode()).hexdigest()[:12]


def changes(board: Board, lines: Sequence[Line]) -> list[str]:
    """Return what differs between the board and what the ledger tells of, one line each."""
    last = standing(lines)
    ranking = {(line.suite, line.pair): line.ranking for line in lines}
    differences = []
    for pair in board.pairs:
        for entry in mappings(pair):
            where = "/".join(entry.key)
            if entry.key not in last:
                differences.append(f"{where} is new")
            elif last[entry.key].scores != entry.scores:
                differences.append(
                    f"{where} has other scores ({_score(entry)}, was {last[entry.key].transfer_score})"
                )
            elif last[entry.key].state == VERIFIED and not _agrees(entry):
                differences.append(f"{where} is verified, and its private score does not agree")
        known = ranking.get((pair.suite, pair.name))
        if mappings(pair) and known is not None and known != ranking_hash(pair):
            differences.append(f"{pair.suite}/{pair.name} is ranked otherwise")
    present = {entry.key for entry in board.entries}
    return differences + ["/".join(key) + " is gone" for key in last if key not in present]


def check(board: Board, lines: Sequence[Line], path: Path) -> None:
    """Raise UserError where the board's ranking is not the one that the ledger tells of."""
    if untold := changes(board, lines):
        more = f" and {len(untold) - 3} more" if len(untold) > 3 else ""
        raise UserError(
            f"{path}: the ranking changed without a line: {'; '.join(untold[:3])}{more}; "
            "say why with `lrt-bench leaderboard record --reason TEXT`"
        )


def record(
    board: Board,
    path: Path,
    *,
    reason: str,
    state: str | None = None,
    only: Sequence[str] = (),
    today: str | None = None,
) -> list[Line]:
    """Append a line for every change since the ledger's last lines, and return what was appended.

    state : of the entries that are added, re-scored or named in `only` (SUITE/PAIR/MAPPING); a re-scored
        entry is claimed again unless it is given. Raises UserError on an unknown name or an empty reason, and
        where a submission would be verified whose private score does not agree.
    """
    if not reason.strip() or any(ord(letter) < 32 for letter in reason):
        raise UserError("--reason: say in one line why the ranking changes")
    lines = read_ledger(path)
    last = standing(lines)
    known = {"/".join(entry.key): entry for pair in board.pairs for entry in mappings(pair)}
    if unknown := [name for name in only if name not in known]:
        raise UserError(f"--entry {unknown[0]}: no such entry; give SUITE/PAIR/MAPPING")
    date = today or datetime.datetime.now(datetime.UTC).date().isoformat()
    fresh: list[Line] = []
    for pair in board.pairs:
        ranking = ranking_hash(pair)
        before = len(fresh)
        for entry in mappings(pair):
            action = _action(entry, last.get(entry.key), state, "/".join(entry.key) in only)
            if action:
                given = state or CLAIMED
                _check_verified(entry, given)
                fresh.append(_line(date, action, entry, given, ranking, reason))
        earlier = [line.ranking for line in lines if (line.suite, line.pair) == (pair.suite, pair.name)]
        if len(fresh) == before and earlier and earlier[-1] != ranking and mappings(pair):
            entry = mappings(pair)[0]
            fresh.append(_line(date, "re-rank", entry, last[entry.key].state, ranking, reason))
    present = {entry.key for entry in board.entries}
    rankings = {(pair.suite, pair.name): ranking_hash(pair) for pair in board.pairs}
    for key in last:
        if key not in present:
            ranking = rankings.get(key[:2], "")
            fresh.append(Line(date, "remove", *key, last[key].state, "", "", "", ranking, reason))
    if fresh:
        _write(path, [*lines, *fresh])
    return fresh


def _agrees(entry: Entry) -> bool:
    """Whether an entry needs no private score, or has one that agrees with its public one."""
    result = entry.result
    return not result.wants_private or (result.private is not None and result.private.agrees)


def _check_verified(entry: Entry, state: str) -> None:
    if state == VERIFIED and not _agrees(entry):
        raise UserError(
            f"--state verified: {'/'.join(entry.key)}: {entry.unranked or 'not ranked'}; "
            "score it with `evaluate --private FOLDER`, or give another state"
        )


def _action(entry: Entry, last: Line | None, state: str | None, named: bool) -> str | None:
    if last is None:
        return "add"
    if last.scores != entry.scores:
        return "re-score"
    if last.state == VERIFIED and not _agrees(entry):
        return "state"  # it was scored on another family since, or on none
    return "state" if named and state and state != last.state else None


def _line(date: str, action: str, entry: Entry, state: str, ranking: str, reason: str) -> Line:
    rank = "" if entry.rank is None else str(entry.rank)
    return Line(date, action, *entry.key, state, _score(entry), rank, entry.scores, ranking, reason)


def _score(entry: Entry) -> str:
    score = entry.result.transfer_score
    return "" if score is None else f"{score:.1f}"


def _write(path: Path, lines: Sequence[Line]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(astuple(line) for line in lines)
    write_whole(path, text.getvalue().encode())
