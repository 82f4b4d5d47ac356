"""Results in Python: a sequence, a table, LaTeX, a page in a notebook, a picture."""

from __future__ import annotations

import pytest

import lrt_bench
from lrt_bench import Results, load_results
from lrt_bench.errors import UserError
from lrt_bench.results.frame import read_frame


@pytest.fixture(scope="module")
def results(small_run):
    return load_results(small_run)


def test_results_are_a_sequence_of_records(results, small_run):
    assert len(results) == len(list(small_run.rglob("*.json")))
    assert {row.mapping.name for row in results} >= {"ridge", "native"}
    assert results[0].suite == "small"
    assert isinstance(results[:2], Results)
    assert len(results[:2]) == 2
    assert repr(results) == f"<Results: {len(results)} rows on 1 pair>"


def test_the_table_is_that_of_the_folder_at_every_level(results, small_run):
    for level, name in (("row", "result"), ("task", "task"), ("prompt", "prompt")):
        assert results.to_frame(level=level).equals(read_frame(small_run, name))
    assert results.to_frame().set_index("mapping").loc["native", "transfer_score"] == pytest.approx(100)
    with pytest.raises(UserError, match="level 'rows': give row, task, prompt, refusal"):
        results.to_frame("rows")


def test_latex_and_a_notebooks_table_hold_each_row_with_its_interval(results):
    latex, page = results.to_latex(), results._repr_html_()
    assert latex.count("\\\\") == len(results) + 1
    assert page.count("<tr>") + page.count("<tr ") == len(results) + 1
    for text in (latex, page):
        assert "100.0 [100.0, 100.0]" in text
    assert latex.isascii()


def test_a_name_in_a_notebooks_table_is_no_markup(results):
    mapping = results[0].mapping.model_copy(update={"name": "<script>", "control": False})
    hostile = Results([results[0].model_copy(update={"mapping": mapping})])
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


@pytest.mark.parametrize(("suffix", "begins"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_picture_is_written_in_each_format(results, tmp_path, suffix, begins):
    figure = results.plot(tmp_path / f"scores.{suffix}")
    assert (tmp_path / f"scores.{suffix}").read_bytes().startswith(begins)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert sorted(names) == sorted(row.mapping.name for row in results)


def test_what_cannot_be_read_or_drawn_is_one_line(results, tmp_path):
    for call, message in (
        (lambda: results.plot("scores.gif"), "give a file that ends in .pdf, .svg, .png"),
        (lambda: Results([]).plot(), "nothing to draw"),
        (lambda: load_results(tmp_path), "no result"),
        (lambda: load_results(tmp_path / "absent"), "no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    assert {"Results", "load_results"} <= set(lrt_bench.__all__)
