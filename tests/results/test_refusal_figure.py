"""Refusal results as a table, as a picture and as `show` prints them."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from lrt_bench.cli.main import main
from lrt_bench.results.figures.refusal_figure import draw_refusal
from lrt_bench.results.frame import records, refusal_frame
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs


def test_the_table_the_figure_and_show_say_it(refusal_run, tmp_path):
    _, cells, _ = refusal_run
    results = [read_result(cell.path) for cell in cells.values()]
    rows = records(refusal_frame(results))
    assert {row["scorer"] for row in rows} == {"phrases", "first-token", "classifier", "judge"}
    native = next(
        row for row in rows
        if (row["pair"], row["row"], row["instructions"], row["alpha"], row["scorer"])
        == ("L-S", "native", "harmful", 0.0, "phrases")
    )  # fmt: skip
    assert (native["mean"], native["n"], native["failures"], native["chosen"]) == (1.0, 16, 0, False)
    path = draw_refusal(results, tmp_path / "figure.svg")
    text = path.read_text()
    for label in (
        "native",
        "ridge",
        "random",
        "share refused or harmless, by the judge",
        "L-S: nano-refusal",
    ):
        assert label in text
    assert draw_refusal([], tmp_path / "none.svg") is None
    shown = CliRunner().invoke(main, ["show", str(cells["L-S", "ridge"].path)]).output
    for part in ("add +0.5 (chosen)", "ablate-all", "first-token", "judge loopback at 127.0.0.1:"):
        assert part in shown
