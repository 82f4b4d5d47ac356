"""Intervals over these tasks of stored results, made anew without models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lrt_bench.results.storage import read_result
from scripts.intervals import main

RESULTS = Path(__file__).parents[2] / "leaderboard/results"
PAIR = "nano/S-L"


@pytest.fixture
def folder(tmp_path):
    """A pair's folder with a row and the control that has the random directions."""
    for name in ("affine", "random"):
        path = tmp_path / PAIR / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / PAIR / path.name, path)
    return tmp_path


def test_the_committed_results_have_the_intervals_that_their_numbers_give(folder):
    path = folder / PAIR / "affine.json"
    committed = read_result(path)
    path.write_text(
        committed.model_copy(update={"ci95_these_tasks": (0.0, 100.0)}).model_dump_json(indent=1) + "\n"
    )
    run = CliRunner().invoke(main, [str(folder)])
    assert run.exit_code == 0, run.output
    assert "[0.00, 100.00] -> " in run.output
    again = read_result(path)
    assert again.ci95_these_tasks == pytest.approx(committed.ci95_these_tasks, abs=1e-4)
    assert again.model_copy(update={"ci95_these_tasks": committed.ci95_these_tasks}) == committed


def test_a_file_whose_numbers_give_another_interval_over_concepts_is_left_alone(folder):
    path = folder / PAIR / "affine.json"
    result = read_result(path)
    other = (result.ci95[0] - 1, result.ci95[1] + 1)
    path.write_text(result.model_copy(update={"ci95": other}).model_dump_json(indent=1) + "\n")
    before = path.read_bytes()
    run = CliRunner().invoke(main, [str(folder)])
    assert run.exit_code == 1
    assert "affine.json: field ci95" in run.output
    assert path.read_bytes() == before


def test_without_the_control_of_random_directions_nothing_is_written(folder):
    (folder / PAIR / "random.json").unlink()
    run = CliRunner().invoke(main, [str(folder)])
    assert run.exit_code == 1
    assert "random.json" in run.output
