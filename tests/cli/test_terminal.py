"""What the terminal shows of strangers' text: the text itself, never markup, never commands."""

from __future__ import annotations

import re
import sys

import pytest
from boards import read, write
from click.testing import CliRunner

from lrt_bench.cli.main import main
from lrt_bench.cli.terminal.drawing import Drawing
from lrt_bench.cli.terminal.progress import progress
from lrt_bench.cli.terminal.screen import Screen
from lrt_bench.errors import UserError

HOSTILE = ["[/x]", "[bold red]loud[/bold red]", "[link=file:///etc]here[/link]", ":smiley:", "C:\\[/]"]


def run(*words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_a_result_is_shown_as_it_is(small_run, tmp_path, text):
    record = read(small_run / "small" / "rotated" / "ridge.json")
    fields = {"mapping__rule": text, "pair__source__model": text, "tasks__0__task": text}
    path = write(tmp_path, record, text, suite=text, **fields)
    for words in (["show", path], ["report", "paper", tmp_path, "--out", tmp_path / "figures"]):
        done = run(*words)
        assert done.exit_code == 0, done.output
        assert text in done.output.replace("\n", "")


@pytest.mark.parametrize("code", ["\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\u202e"])
def test_commands_to_the_terminal_do_not_pass_through(small_run, tmp_path, code):
    record = read(small_run / "small" / "rotated" / "ridge.json")
    path = write(tmp_path, record, mapping__rule=f"{code}A v", pair__source__model=f"{code}m")
    done = run("show", path)
    assert done.exit_code == 0
    assert code[0] not in done.output
    assert "A v" in done.output
    bad = write(tmp_path / "bad", record, tasks__0__task=f"{code}sentiment")
    refused = run("show", bad)
    assert refused.exit_code == 2
    assert code[0] not in refused.output
    assert code[0] not in str(UserError(f"{code}x"))


def test_titles_cells_heads_and_lines_are_all_text(capsys):
    from rich.table import Table

    table = Table("[red]head", title="[/title]")
    table.add_row("[/cell]\x1b[2J")
    out = Screen(width=60)
    out.print(table)
    out.print("[/line]", style="dim")
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    for text in ("[red]head", "[/title]", "[/cell]\N{REPLACEMENT CHARACTER}[2J", "[/line]"):
        assert text in shown
    with progress() as update:
        update("[/x]", 1, 2)


def test_the_switch_interval_is_the_runs_and_is_put_back():
    before = sys.getswitchinterval()
    with Drawing():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before
    with pytest.raises(ZeroDivisionError), Drawing():
        1 / 0  # noqa: B018
    assert sys.getswitchinterval() == before
