"""`report paper`: one kind of spread on both sides of table 1, figure 3 by effect and by what is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import error_of, output_of

from lrt_bench.cli.terminal.paper import feature_lines, paper_listings
from lrt_bench.results.figures.paper_table import TABLE_1, Line, Measured
from lrt_bench.results.storage import read_result

BOARD = Path(__file__).parents[2] / "leaderboard/results/nano/S-L"


def test_both_sides_of_table_1_have_deviations_over_alphas():
    ours = Measured(0.9, 0.05, 1e-2, (0.85, 0.95), 0.8)
    [listing] = paper_listings("suite / pair", [Line("suite", "pair", "openness", True, {"affine": ours})])
    [row] = listing.rows
    assert "0.900 ±0.05" in row
    assert f"{TABLE_1['openness'].correlation:.3f} ±{TABLE_1['openness'].deviation:.2f}" in row
    [record] = listing.records
    assert (record["deviation"], record["paper_deviation"]) == (0.05, 0.081)


@pytest.fixture
def features():
    """The late pair's native and affine rows, the latter as if its source were a sparse autoencoder's."""
    native, affine = (read_result(BOARD / f"{name}.json") for name in ("native", "affine"))
    source = affine.pair.source.model_copy(update={"sae": "some/sae (0123)"})
    return native, affine.model_copy(update={"pair": affine.pair.model_copy(update={"source": source})})


def test_figure_3_says_what_closeness_to_native_cannot(features):
    native, affine = features
    title, closeness, effect = feature_lines(features)
    assert "nano: features to states" in title
    assert f"Transfer Score {affine.transfer_score:.1f}" in closeness
    for task in affine.tasks:
        assert f"{task.task} {task.slope_ratio:.2f}" in effect.replace("−", "-")
    for own, task in zip(native.generation, affine.generation, strict=True):
        best, unsteered = max(task.score), task.score[0]
        assert f"{task.task} {unsteered:.2f} to {best:.2f} (native {max(own.score):.2f})" in effect


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF-"), ("png", b"\x89PNG")])
def test_figures_are_of_the_format_that_is_asked_for_and_the_same_again(tmp_path, form, begins):
    for name in ("one", "two"):
        said = output_of("report", "paper", BOARD, "--out", tmp_path / name, "--figure-format", form)
    (one,), (two,) = (list((tmp_path / name).iterdir()) for name in ("one", "two"))
    assert one.name == f"figure5--nano--S-L.{form}"
    assert one.name in said
    assert one.read_bytes().startswith(begins)
    assert one.read_bytes() == two.read_bytes()


def test_a_format_that_is_none_is_one_line():
    said = error_of("report", "paper", BOARD, "--figure-format", "gif")
    assert "pdf" in said
    assert "\n" not in said.strip()
