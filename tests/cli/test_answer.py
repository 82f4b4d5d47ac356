"""How `evaluate` ends: the answer, a legend, one line of files, the next command."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
from boards import read, rescored, write
from command_line import output_of

from lrt_bench.cli.main import main
from lrt_bench.cli.terminal.answer import answer
from lrt_bench.results.ranking import ranked
from lrt_bench.results.storage import read_result


@pytest.fixture
def folder(small_run, tmp_path):
    """The small run's results in a folder of this test's own."""
    shutil.copytree(small_run, tmp_path / "out")
    return tmp_path / "out"


def flat(text):
    return " ".join(text.split())


def test_evaluate_ends_with_the_answer_the_files_in_a_line_and_the_next_command(small_suite, folder):
    lines = output_of("evaluate", "--suite", small_suite, "--out", folder).splitlines()
    text = flat("\n".join(lines))
    assert "best: affine 100.0 [" in text
    assert "not separable from mlp, orthogonal, ridge (of these 4)" in text
    assert "controls: shuffled" in text
    assert "rows with a letter in common are not separable" in text
    assert sum(str(folder) in line for line in lines) == 3  # the files, and two commands
    for line in lines[-2:]:
        assert line.startswith("next: lrt-bench ")
    words = shlex.split(lines[-2].removeprefix("next: lrt-bench "))
    assert "affine" in output_of(*words)


def test_a_mapping_alone_is_ranked_beside_what_lies_in_the_folder(small_suite, folder):
    text = flat(output_of("evaluate", "--suite", small_suite, "--out", folder, "--mapping", "ridge"))
    assert "(of 4, 3 of them from the folder)" in text
    for name in ("affine", "mlp", "orthogonal"):
        (folder / "small" / "rotated" / f"{name}.json").unlink()
    text = flat(output_of("evaluate", "--suite", small_suite, "--out", folder, "--mapping", "ridge"))
    assert "best: ridge" in text
    assert "(the only one)" in text
    rows = json.loads(
        output_of("evaluate", "--suite", small_suite, "--out", folder, "--mapping", "ridge", "--json")
    )
    assert {row["mapping"] for row in rows if not row["control"]} == {"ridge"}


def test_results_of_another_suite_version_in_the_folder_are_not_ranked_beside(small_suite, folder):
    path = folder / "small" / "rotated" / "mlp.json"
    record = read(path)
    record["suite_digest"] = "0" * 64
    path.write_text(json.dumps(record))
    text = flat(output_of("evaluate", "--suite", small_suite, "--out", folder, "--mapping", "ridge"))
    assert "mlp" not in text
    assert "(of 3, 2 of them from the folder)" in text


def rows_of(small_run, tmp_path, share, **fields):
    """The rows of a pair on which ridge has this share, and every other mapping none."""
    for name in ("native", "native-split", "random", "shuffled"):
        write(tmp_path, read(small_run / "small" / "rotated" / f"{name}.json"))
    write(tmp_path, rescored(read(small_run / "small" / "rotated" / "ridge.json"), share), **fields)
    return ranked([read_result(path) for path in sorted(tmp_path.rglob("*.json"))])


def test_the_controls_say_whether_the_best_is_clear_of_them(small_run, tmp_path):
    lines = list(answer(rows_of(small_run, tmp_path, 0.9), {("rotated", "ridge")}))
    controls = next(line for line in lines if line.startswith("controls: "))
    assert "random" in controls
    assert ("is clear of them all" in controls) != ("overlaps that of" in controls)


def test_an_incomplete_run_says_that_it_is_not_ranked(small_run, tmp_path):
    lines = list(answer(rows_of(small_run, tmp_path, 0.9, complete=False), {("rotated", "ridge")}))
    assert lines[0].startswith("best: ridge 9")
    assert lines[0].endswith("(the only one)")
    assert any(line.startswith("not ranked: incomplete") for line in lines)


def test_a_submission_of_this_run_is_told_its_score_its_distance_and_why_it_has_no_rank(small_run, tmp_path):
    ridge = read(small_run / "small" / "rotated" / "ridge.json")
    write(tmp_path, rescored(ridge, 0.6), name="mine", mapping__origin="submission", mapping__digest="1" * 64)
    rows = rows_of(small_run, tmp_path, 0.9)
    lines = list(answer(rows, {("rotated", "ridge"), ("rotated", "mine")}))
    assert lines[0].startswith("best: ridge")
    scores = {row.result.mapping.name: row.result.transfer_score for row in rows}
    assert lines[1].startswith(f"mine {scores['mine']:.1f} [")
    assert f", {scores['ridge'] - scores['mine']:.1f} below ridge; no rank: not verified" in lines[1]
    assert "models that nobody has seen" in lines[2]
    lines = list(answer(rows, {("rotated", "ridge")}))  # it only lay in the folder
    assert not [line for line in lines if line.startswith("mine ")]


def test_every_next_command_exists(small_suite, folder):
    for line in output_of("evaluate", "--suite", small_suite, "--out", folder).splitlines():
        if line.startswith("next: "):
            words = shlex.split(line.removeprefix("next: lrt-bench "))
            command, rest = main.commands[words[0]], words[1:]
            while hasattr(command, "commands"):
                command, rest = command.commands[rest[0]], rest[1:]
            command.make_context(command.name, rest)
