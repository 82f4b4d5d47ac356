"""The ledger: no number or rank changes without a line, and only it gives a state."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import struct

import command_line
import numpy as np
import pytest
from boards import read, rescored, small_board, write

from lrt_bench.files.resources import PACKAGE
from lrt_bench.leaderboard import entries
from lrt_bench.leaderboard.ledger import HEADER, changes, read_ledger
from lrt_bench.results import metrics
from lrt_bench.results.schema.result import Result
from lrt_bench.results.statistics import separation


def run(*words):
    return command_line.run("leaderboard", *words)


@pytest.fixture(scope="module")
def template(small_run, tmp_path_factory):
    return small_board(small_run, tmp_path_factory.mktemp("ledger") / "results")


@pytest.fixture
def board(template, tmp_path):
    """A board with results and a ledger that tells of them."""
    shutil.copytree(template, tmp_path / "results")
    done = run("record", "--results", tmp_path / "results", "--reason", "the first results")
    assert done.exit_code == 0, done.output
    return tmp_path


def build(board):
    return run("build", "--results", board / "results", "--out", board / "site")


def lines(board):
    return read_ledger(board / "ledger.csv")


def test_a_line_for_every_mapping_and_then_the_board_builds(board):
    assert {(line.action, line.state) for line in lines(board)} == {("add", "claimed")}
    assert len(lines(board)) == 4 + 10
    done = build(board)
    assert done.exit_code == 0, done.output
    assert "the first results" in (board / "site" / "ledger.html").read_text()
    assert "the first results" in (board / "site" / "feed.xml").read_text()


def test_nothing_is_written_where_nothing_changed(board):
    before = (board / "ledger.csv").read_bytes()
    done = run("record", "--results", board / "results", "--reason", "again")
    assert "nothing changed" in done.output
    assert (board / "ledger.csv").read_bytes() == before


def changed_score(results):
    path = results / "small" / "ladder" / "method-5.json"
    write(results, rescored(read(path), 0.97), "method-5")


def added(results):
    write(results, rescored(read(results / "small" / "ladder" / "method-5.json"), 0.2), "newcomer")


def removed(results):
    (results / "small" / "ladder" / "method-5.json").unlink()


def another_method(results):
    write(results, read(results / "small" / "ladder" / "method-5.json"), mapping__digest="0" * 64)


CHANGES = {
    "a changed score": (changed_score, "small/ladder/method-5 has other scores", "re-score"),
    "an addition": (added, "small/ladder/newcomer is new", "add"),
    "a removal": (removed, "small/ladder/method-5 is gone", "remove"),
    "other code behind the same score": (another_method, "method-5 has other scores", "re-score"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_without_a_line_is_refused_and_with_one_it_builds(board, case):
    assert build(board).exit_code == 0
    before = (board / "site" / "index.html").read_bytes()
    change, message, action = CHANGES[case]
    change(board / "results")
    refused = build(board)
    assert refused.exit_code == 2
    assert message in refused.output
    assert "lrt-bench leaderboard record" in refused.output
    assert (board / "site" / "index.html").read_bytes() == before
    old = lines(board)
    assert run("record", "--results", board / "results", "--reason", case).exit_code == 0
    assert lines(board)[: len(old)] == old  # only ever appended to
    assert action in {line.action for line in lines(board)[len(old) :]}
    assert build(board).exit_code == 0


def test_a_rank_that_moves_without_a_changed_entry_is_refused(board, monkeypatch):
    monkeypatch.setattr(separation, "FALSE_STEPS", -1.0)  # nothing is separable any more
    refused = build(board)
    assert refused.exit_code == 2
    assert "small/ladder is ranked otherwise" in refused.output
    run("record", "--results", board / "results", "--reason", "ties are wider now")
    assert lines(board)[-1].action == "re-rank"
    assert build(board).exit_code == 0


COMMITTED = PACKAGE.parent / "leaderboard"


def nudged(values):
    """The same numbers, each moved by one unit in its last place, up or down."""
    ends = np.where(np.random.default_rng(5).integers(0, 2, np.shape(values)), np.inf, -np.inf)
    return np.nextafter(values, ends)


def test_the_committed_ledger_holds_where_a_processor_rounds_otherwise(monkeypatch):
    """Every product, share and logarithm behind a rank one unit in the last place off: no hash moves."""
    shares, resampled, p_values = metrics._shares, metrics._resampled, separation.paired_p_values
    monkeypatch.setattr(
        separation, "paired_p_values", lambda *given, **more: nudged(p_values(*given, **more))
    )
    monkeypatch.setattr(metrics, "_shares", lambda *given: nudged(shares(*given)))
    monkeypatch.setattr(metrics, "_resampled", lambda *given: nudged(resampled(*given)))
    for name in ("log10", "power", "rint", "float_power", "exp", "log"):
        exact = getattr(np, name)
        monkeypatch.setattr(np, name, lambda *given, exact=exact, **options: nudged(exact(*given, **options)))
    board = entries.read_board(COMMITTED / "results")
    assert not board.problems
    assert changes(board, read_ledger(COMMITTED / "ledger.csv")) == []


def test_a_hash_is_of_the_stored_decimals_even_on_ties(board):
    """Values half-way between two of six digits, whose hash once was a matter of a power's last bit."""
    path = board / "results" / "small" / "ladder" / "method-5.json"
    record = json.loads(path.read_text())
    ties = [f"{digits}5e{power}" for digits in (100000, 999999, 123456) for power in range(-9, 9)]
    for task in record["tasks"]:
        task["energy"] = [float(ties[place % len(ties)]) for place in range(task["prompts"])]
    result = Result.model_validate_json(json.dumps(record))
    rows = {task.task: task.error_rows for task in result.tasks}
    stored = {
        task["task"]: [*task["error"], task["energy"], task["split_error"], task["split_energy"]]
        for task in record["tasks"]
    }
    head = [result.suite_digest, result.mapping.digest, result.mapping.track, str(result.complete)]
    head += [f"{name} {(len(stored[name]), len(stored[name][0]))}" for name in sorted(stored)]
    digest = hashlib.sha256("\n".join(head).encode())
    for name in sorted(stored):
        for row in stored[name]:
            digest.update(struct.pack(f"<{len(row)}d", *row))
    assert entries._scores_hash(result, rows) == digest.hexdigest()[:12]


def test_a_state_is_given_by_the_ledger_and_lost_by_a_new_score(board):
    results = board / "results"
    entry = "small/ladder/method-2"
    words = ("record", "--results", results, "--reason", "ran it here", "--state", "verified")
    assert run(*words, "--entry", entry).exit_code == 0
    assert (lines(board)[-1].action, lines(board)[-1].state) == ("state", "verified")
    build(board)
    assert 'class="state verified"' in (board / "site" / "mappings" / "method-2.html").read_text()
    assert 'class="state verified"' not in (board / "site" / "mappings" / "method-3.html").read_text()
    write(results, rescored(read(results / "small" / "ladder" / "method-2.json"), 0.5), "method-2")
    run("record", "--results", results, "--reason", "a new version of it")
    assert (lines(board)[-1].action, lines(board)[-1].state) == ("re-score", "claimed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--reason", " "), "--reason"),
        (("--reason", "two\nlines"), "--reason"),
        (("--reason", "x", "--entry", "small/ladder/nobody", "--state", "verified"), "no such entry"),
    ],
)
def test_record_refuses_what_makes_no_line(board, words, message):
    before = (board / "ledger.csv").read_bytes()
    done = run("record", "--results", board / "results", *words)
    assert done.exit_code == 2
    assert message in done.output
    assert (board / "ledger.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,action\n", "line 1: want the header"),
        (",".join(HEADER) + "\n1,2,3\n", "line 2: 3 fields, the header has 11"),
        (",".join(HEADER) + "\n2026-01-01,guess,a,b,c,claimed,1,1,x,y,why\n", "line 2: want an action"),
        (",".join(HEADER) + "\n2026-01-01,add,a,b,c,blessed,1,1,x,y,why\n", "line 2: want an action"),
        (",".join(HEADER) + "\n2026-01-01,add,a,b,c,claimed,1,1,x,y,\n", "line 2: want an action"),
        ('"', "line 1: want the header"),
        (",".join(HEADER) + '\n"', "line 2: not CSV"),
    ],
)
def test_a_broken_ledger_is_one_line_with_its_place(board, text, message):
    (board / "ledger.csv").write_text(text)
    done = build(board)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1
    assert message in done.output


def test_hostile_text_goes_through_the_ledger_unharmed(board):
    nasty = "x\",'=1+1;<b>{{7*7}}</b>"
    write(board / "results", rescored(read(board / "results/small/ladder/method-0.json"), 0.4), nasty)
    assert run("record", "--results", board / "results", "--reason", nasty).exit_code == 0
    with (board / "ledger.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream))[-1]["mapping"] == nasty
    assert build(board).exit_code == 0
    page = (board / "site" / "ledger.html").read_text()
    assert "=1+1;&lt;b&gt;{{7*7}}" in page
    assert "<b>{{7*7}}" not in page


def test_a_ledger_that_is_named_must_be_there(board):
    done = run("build", "--results", board / "results", "--out", board / "site", "--ledger", board / "no.csv")
    assert done.exit_code == 2
    assert "no such file" in done.output
