"""Results as Markdown."""

from __future__ import annotations

import pytest
from boards import read, small_board, write
from command_line import error_of, output_of, run


def test_the_summary_has_every_row_once_and_a_figure(small_run, tmp_path):
    results = small_board(small_run, tmp_path / "results")
    nasty = "a|b]<img src=x>@team [l](https://example.org)"
    write(results, read(results / "small" / "ladder" / "method-1.json"), nasty)
    (results / "broken.json").write_text("{")
    text = run("summary", results).output
    assert text.count("```mermaid") == 2
    lines = text.splitlines()
    assert len([line for line in lines if "method\\-4 |" in line]) == 1
    row = next(line for line in lines if "img src" in line and line.startswith("| "))
    assert row.replace("\\|", "").count("|") == 8
    assert "<img" not in text.replace("\\<", "")
    assert "@team" not in text.replace("\\@", "")
    assert "broken" in lines[-1]


def test_a_folder_without_results_is_one_line(tmp_path):
    assert "no readable result" in error_of("summary", tmp_path)


@pytest.mark.slow
def test_a_pair_of_which_no_row_has_a_score_is_a_table_without_a_figure(tmp_path):
    pair = ["--source", "nano/S", "--source-layers", "1,2", "--target", "nano/S2", "--target-layer", 2]
    what = ["--task", "fidelity", "--mapping", "ridge", "--corpus", "nano"]
    output_of("evaluate", *pair, *what, "--out", tmp_path / "results")
    text = output_of("summary", tmp_path / "results")
    assert "| ridge |" in text
    assert "mermaid" not in text
