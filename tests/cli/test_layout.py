"""Tables at 80 columns, at 120, and in a pipe: whole numbers, columns by priority, five formats."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from command_line import error_of, output_of
from rich.cells import cell_len

from lrt_bench.cli.terminal.formats import write
from lrt_bench.cli.terminal.layout import Column, Listing, chosen_columns
from lrt_bench.cli.terminal.pairs import board_listings

BOARD = Path(__file__).parents[2] / "leaderboard" / "results" / "nano" / "S-L-early"
SCORE = re.compile(r"−?\d+\.\d \[−?\d+\.\d, −?\d+\.\d\]")


def row(name, score, rank, **fields):
    empty = {
        "suite": "s", "pair": "p", "mapping": name, "track": "corpus", "control": rank is None, "rank": rank,
        "tied": False, "groups": None if rank is None else "a", "unranked": None, "transfer_score": score[0],
        "ci95_low": score[1], "ci95_high": score[2], "fvu": 0.25, "fit_seconds": 1.5,
        "correlation_delta": 0.5, "steering_r2": -43.25, "source_model": "nano/S", "source_layers": None,
        "source_layer": 3, "target_model": "nano/L", "target_layer": 2,
        "supported_score": None, "fresh_score": None,
    }  # fmt: skip
    return empty | fields


ROWS = [
    row("a-method-with-a-name-of-forty-letters-in-all", (86.94, 74.0, 97.1), 1),
    row("ridge", (-3.04, -20.5, 9.96), 2),
    row("random", (None, None, None), None),
]
AT_80 = """\
s / p   nano/S:3 -> nano/L:2

 mapping                            Transfer Score  rank  groups    FVU  fit s
 ──────────────────────────────────────────────────────────────────────────────
 a-method-with-a-name-of-forty   86.9 [74.0, 97.1]     1  a       0.250   1.50
 -letters-in-all
 ridge                          −3.0 [−20.5, 10.0]     2  a       0.250   1.50
 random                              not steerable                0.250   1.50

no room for track, r(D), steering R2: widen the terminal, or give --format csv
"""
AT_120 = """\
s / p   nano/S:3 -> nano/L:2

                                                                                                              steering
 mapping                                           Transfer Score  rank  groups  track     FVU  fit s   r(D)        R2
 ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 a-method-with-a-name-of-forty-letters-in-all   86.9 [74.0, 97.1]     1  a       corpus  0.250   1.50  0.500   −43.250
 ridge                                         −3.0 [−20.5, 10.0]     2  a       corpus  0.250   1.50  0.500   −43.250
 random                                             not steerable                corpus  0.250   1.50  0.500   −43.250
"""  # noqa: E501


@pytest.mark.parametrize("width", [80, 120, None])
@pytest.mark.parametrize(
    "words", [("show", BOARD), ("show", BOARD / "ridge.json"), ("summary", BOARD, "--format", "table"),
              ("report", "paper", BOARD), ("list", "suites"), ("list", "pairs"), ("list", "tasks")],
)  # fmt: skip
def test_tables_are_whole_at_every_width(words, width, monkeypatch, tmp_path):
    """Nothing is cut: no line is longer than the screen, and nothing ends in dots."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", str(width))
    if words[0] == "report":
        words = (*words, "--out", tmp_path)
    text = output_of(*words)
    tables = [line for line in text.splitlines() if not line.startswith("1 figure ")]
    assert max(map(cell_len, tables)) <= (width or 120)
    assert "…" not in text


def test_name_and_score_with_its_interval_come_first_at_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line for line in output_of("show", BOARD).splitlines() if SCORE.search(line)]
    assert len(lines) == len(list(BOARD.glob("*.json")))
    for line in lines:
        name, rest = line.split(maxsplit=1)
        assert (BOARD / f"{name}.json").is_file()
        assert SCORE.match(rest)


def shown(capsys):
    return "\n".join(line.rstrip() for line in capsys.readouterr().out.rstrip().splitlines()) + "\n"


@pytest.mark.parametrize(("width", "snapshot"), [("80", AT_80), ("120", AT_120), (None, AT_120)])
def test_snapshots(width, snapshot, monkeypatch, capsys):
    """The same table at 80 and 120 columns, and in a pipe, which is as wide as a page."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if width:
        monkeypatch.setenv("COLUMNS", width)
    write(board_listings(ROWS), "table")
    assert shown(capsys) == snapshot


def test_columns_go_by_priority_and_those_without_one_never():
    columns = (Column("a", least=4), Column("b"), Column("c", priority=2), Column("d", priority=1))
    listing = Listing(columns, [("x" * 30, "1" * 9, "2" * 9, "3" * 9)])
    needs = [4, 9, 9, 9]
    for count in range(2, 5):
        chosen = {2: [0, 1], 3: [0, 1, 3], 4: [0, 1, 2, 3]}[count]
        width = 1 + sum(needs[place] + 2 for place in chosen)
        assert chosen_columns(listing, width) == chosen
    assert chosen_columns(listing, 3) == [0, 1]


@pytest.mark.parametrize(
    "words",
    [("show", BOARD), ("show", BOARD / "ridge.json"), ("summary", BOARD), ("report", "paper", BOARD),
     ("list", "suites"), ("list", "mappings")],
)  # fmt: skip
def test_every_format_holds_the_rows(words, tmp_path):
    """JSON and CSV parse and hold whole values, LaTeX and Markdown the shown ones."""
    if words[0] == "report":
        words = (*words, "--out", tmp_path)
    made = {form: output_of(*words, "--format", form) for form in ("markdown", "latex", "csv", "json")}
    record = json.loads(made["json"])
    assert json.loads(output_of(*words, "--json")) == record
    rows = list(csv.DictReader(io.StringIO(made["csv"])))
    name = {"show": "ridge", "summary": "ridge", "report": "sentiment", "list": "name"}[words[0]]
    if words == ("show", BOARD / "ridge.json"):
        name = "sentiment"
    if words[0] == "list":
        name = rows[0]["name"]
        assert [row["name"] for row in rows] == [row["name"] for row in record]
    assert any(name in row.values() for row in rows)
    assert made["latex"].count(r"\begin{tabular}") == made["latex"].count(r"\end{tabular}") > 0
    assert name in made["latex"].replace(r"\_", "_")
    assert f"| {name} |" in made["markdown"].replace("\\", "")


def test_csv_holds_whole_numbers_and_all_columns():
    rows = list(csv.DictReader(io.StringIO(output_of("show", BOARD, "--format", "csv"))))
    ridge = next(row for row in rows if row["mapping"] == "ridge")
    assert ridge["rank"].isdecimal()
    assert float(ridge["transfer_score"]) != round(float(ridge["transfer_score"]), 1)
    assert {"peak_memory_bytes", "these_tasks_low", "readout_score"} <= set(ridge)


def test_latex_has_no_letter_that_old_engines_lack(capsys):
    hostile = row("a_b&c%$#{}~^\\", (-1.0, -2.0, 3.0), 1)
    write(board_listings([hostile]), "latex")
    text = capsys.readouterr().out
    assert r"$-$1.0 [$-$2.0, 3.0]" in text
    assert r"a\_b\&c\%\$\#\{\}\textasciitilde" in text
    assert text.isascii()


def test_list_takes_one_word_or_none():
    assert output_of("list", "task") == output_of("list", "tasks")
    assert {row["name"] for row in json.loads(output_of("list", "--json"))} == {
        "suites", "pairs", "tasks", "mappings",
    }  # fmt: skip
    assert "did you mean mappings?" in error_of("list", "maping")
