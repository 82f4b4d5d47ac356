"""What README.md and docs/index.md say of results is what their script writes from the committed ones."""

from __future__ import annotations

import json
import re
import sys
from xml.etree import ElementTree

import pytest
from boards import COMMITTED, copy_committed, pretrained_board, score_text
from doc_commands import ROOT

from lrt_bench.leaderboard.entries import read_board

README = (ROOT / "README.md").read_text(encoding="utf-8")
STEERED = json.loads((ROOT / "docs" / "steered.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures():
    sys.path.insert(0, str(ROOT / "docs"))
    import figures

    yield figures
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def board():
    return read_board(COMMITTED)


def test_readme_index_and_picture_follow_from_the_committed_results(figures, board):
    svg, alternative = figures.picture(board, STEERED)
    assert svg == (ROOT / "docs" / "steering.svg").read_text(encoding="utf-8")
    parts = figures.finding(board), figures.short_table(board), f"![{alternative}](docs/steering.svg)"
    for text in parts:
        assert text in README, "run `make figures`"
    assert figures.table(board) in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


def test_the_picture_is_well_formed_and_its_bars_end_at_the_scores(figures, board):
    svg, alternative = figures.picture(board, STEERED)
    root = ElementTree.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    lines = [float(line.get("x1")) for line in root.iter(f"{name}line")]
    floor, ceiling = lines[0], lines[1]
    bars = [r for r in root.iter(f"{name}rect") if r.get("class") in ("map", "floor")]
    scores = [float(text) for text in re.findall(r" (\d+\.\d)(?:,|$)", alternative)]
    ends = [(float(bar.get("x")) + float(bar.get("width")) - floor) / (ceiling - floor) * 100 for bar in bars]
    assert len(bars) == len(scores) == 3
    assert ends == pytest.approx(scores, abs=0.1)
    written = " ".join("".join(root.itertext()).split())
    for sentence in ("unsteered", "native", "carried"):
        assert STEERED["sentences"][STEERED["drawn"]][sentence].strip().split()[0] in written


def test_pretrained_models_lead_as_soon_as_there_are_results_of_them(figures, tmp_path):
    results = pretrained_board(tmp_path)
    copy_committed(results, "S-L-early")
    mixed = read_board(results)
    said = figures.finding(mixed).replace("\n", " ")
    assert said.startswith("**A steering vector carried from Qwen2.5-Coder-0.5B to Qwen2.5-Coder-1.5B")
    assert f"(pretrained models, 494M and 1.54B parameters) does {score_text('S-L-early', 'mlp')}" in said
    head, _, *rows = figures.short_table(mixed).splitlines()
    assert head.count("Qwen2.5-Coder") == 4
    assert "toy" not in head
    assert [row.split("`")[1] for row in rows] == ["mlp", "affine", "readout", "random"]


def test_the_readme_is_short_has_no_comment_for_the_tests_and_explains_its_words():
    assert README.count("\n") <= 100
    assert set(re.findall(r"<!-- (.*?) -->", README)) == {
        "picture: docs/figures.py", "finding: docs/figures.py", "scores: docs/figures.py", "end",
        "which map: docs/maps/maps_page.py",
    }  # fmt: skip
    assert not re.findall(r"\b(FVU|r\(D\)|spread|track|cell)\b", README)
    assert README.index("*toy models*") < README.index("<!-- scores")
