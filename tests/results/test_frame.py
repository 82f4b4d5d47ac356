"""The one table of results: its rows, its types, and what follows from its numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from boards import small_board

from lrt_bench.errors import UserError
from lrt_bench.leaderboard.entries import read_board
from lrt_bench.results.columns import COLUMNS, DTYPES
from lrt_bench.results.frame import frame, read_frame, records


@pytest.fixture(scope="module")
def results(small_run, tmp_path_factory):
    return small_board(small_run, tmp_path_factory.mktemp("frame") / "results")


def test_a_row_a_result_with_the_numbers_of_its_file_and_the_boards_ranks(results):
    table = read_frame(results).set_index(["pair", "mapping"])
    files = [json.loads(path.read_text()) for path in results.rglob("*.json")]
    assert len(table) == len(files)
    for record in files:
        row = table.loc[record["pair"]["name"], record["mapping"]["name"]]
        assert row["transfer_score"] == record["transfer_score"]
        assert row["target_parameters"] == record["pair"]["target"]["parameters"]
        assert row["steerable_tasks"] == sum(task["steerable"] for task in record["tasks"])
        assert (row["fvu"] == record["fidelity"]["fvu"]) if record["fidelity"] else np.isnan(row["fvu"])
    ranks = {(e.result.pair.name, e.name): e.rank for e in read_board(results).entries if e.rank}
    assert table["rank"].dropna().to_dict() == ranks


@pytest.mark.parametrize("level", ["result", "task"])
def test_types_do_not_depend_on_the_rows(results, level):
    table = read_frame(results, level)
    ceilings = [entry for entry in read_board(results).entries if entry.name == "native"]  # no rank, no FVU
    few = frame(ceilings, level)
    assert dict(table.dtypes) == dict(few.dtypes)
    for name, dtype in table.dtypes.items():
        assert dtype == DTYPES[COLUMNS[name][0]]


def test_records_are_what_json_takes_none_where_a_value_is_missing(results):
    rows = records(read_frame(results))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    native = next(row for row in rows if row["mapping"] == "native")
    assert native["rank"] is None
    assert native["fvu"] is None
    assert type(native["tasks"]) is int
    assert native["control"] is True


def test_the_prompts_give_each_tasks_steering_r2_again(results):
    prompts, tasks = read_frame(results, "prompt"), read_frame(results, "task")
    sums = prompts.groupby(["pair", "mapping", "task"])[["error", "energy"]].sum()
    stored = tasks.set_index(["pair", "mapping", "task"])["steering_r2"]
    again = 1 - sums["error"] / sums["energy"]
    assert len(again) == len(stored)
    np.testing.assert_allclose(again.sort_index(), stored.sort_index(), atol=1e-6)
    with pytest.raises(UserError, match="wants whole results"):
        frame(read_board(results).entries, "prompt")


def test_a_bad_file_is_left_out_with_a_warning(results, small_run, tmp_path):
    (tmp_path / "results" / "small").mkdir(parents=True)
    for name in ("native", "ridge"):
        text = (small_run / "small" / "rotated" / f"{name}.json").read_text()
        (tmp_path / "results" / "small" / f"{name}.json").write_text(text)
    (tmp_path / "results" / "bad.json").write_text("{")
    with pytest.warns(UserWarning, match=r"left out: .*bad\.json"):
        assert set(read_frame(tmp_path / "results")["mapping"]) == {"native", "ridge"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no readable result"):
        read_frame(tmp_path / "empty")
