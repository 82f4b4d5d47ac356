"""The page of ladders: curves and areas, and what a ladder's pairs are kept out of."""

from __future__ import annotations

import json
import re

import pytest
from boards import LADDER, ladder_board, small_board
from command_line import run

from lrt_bench import load_results
from lrt_bench.leaderboard.entries import read_board
from lrt_bench.results.statistics.ladder import log_weights


@pytest.fixture(scope="module")
def results(small_run, tmp_path_factory):
    return ladder_board(small_run, tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def site(small_run, tmp_path_factory):
    """Two pairs, and a ladder of three."""
    folder = tmp_path_factory.mktemp("site")
    results = small_board(small_run, ladder_board(small_run, folder / "results"))
    run("leaderboard", "build", "--results", results, "--out", folder / "site")
    return folder / "site"


def text_of(path):
    return " ".join(re.sub(r"<[^>]*>", " ", path.read_text()).split())


def test_the_board_finds_the_ladder_that_results_in_python_find(results):
    [ladder] = read_board(results).ladders
    [same] = load_results(results).ladders()
    assert ladder == same
    assert ladder.pairs == {pair: tokens for pair, (tokens, _) in LADDER.items()}
    assert [climb.mapping for climb in ladder.climbs] == ["mlp", "ridge", "affine", "shuffled"]


def test_the_page_has_each_maps_area_with_its_interval_and_its_score_at_every_rung(site, results):
    page = text_of(site / "tokens.html")
    [ladder] = read_board(results).ladders
    for climb in ladder.climbs:
        low, high = climb.ci95
        cells = [f"{climb.area:.1f} [{low:.1f}, {high:.1f}]".replace("-", "\N{MINUS SIGN}")]
        cells += [f"{rung.score:.1f}".replace("-", "\N{MINUS SIGN}") for rung in climb.rungs]
        row = page[page.index(f"{climb.mapping} {cells[0]}") :]
        places = [row.index(cell) for cell in cells]
        assert places == sorted(places)
    data = json.loads((site / "data" / "ladders.js").read_text().removeprefix('lrt.put("ladders",')[:-3])
    ridge = next(row for row in data[0]["rows"] if row["mapping"] == "ridge")
    assert [point[0] for point in ridge["points"]] == [200, 1000, 5000]
    area = next(climb.area for climb in ladder.climbs if climb.mapping == "ridge")
    weights = log_weights([200, 1000, 5000])
    assert weights @ [point[1] for point in ridge["points"]] == pytest.approx(area, abs=0.01)


def test_a_ladders_pairs_have_no_panel_and_are_in_no_mean_over_pairs_or_sizes(site):
    front = (site / "index.html").read_text()
    for pair in LADDER:
        assert f"pairs/ladder--{pair}.html" not in front[: front.index("All results")]
        assert (site / "pairs" / f"ladder--{pair}.html").is_file()
        assert pair not in (site / "data" / "scaling.js").read_text()
    pairs = (site / "pairs.html").read_text()
    assert "Scores of every mapping on every pair of ladder" not in pairs
    assert 'href="tokens.html"' in front


def test_a_board_without_a_ladder_has_no_page_of_ladders(small_run, tmp_path):
    run(
        "leaderboard",
        "build",
        "--results",
        small_board(small_run, tmp_path / "r"),
        "--out",
        tmp_path / "site",
    )
    assert not (tmp_path / "site" / "tokens.html").exists()
    assert "tokens.html" not in (tmp_path / "site" / "index.html").read_text()


def test_a_row_that_says_it_read_other_tokens_makes_no_ladder_of_a_pair(small_run, tmp_path):
    """Whoever sends a file cannot take a pair off the first page with it."""
    results = small_board(small_run, tmp_path / "r")
    path = results / "small" / "ladder" / "method-3.json"
    record = json.loads(path.read_text())
    record["cost"]["fit_tokens"] = 77
    path.write_text(json.dumps(record))
    board = read_board(results)
    assert board.ladders == []
    assert board.rungs == set()
