"""One grammar: MODEL:LAYER and lists everywhere, wrong words in one line that names the right one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest
from command_line import error_of, output_of, run

from lrt_bench.cli import options
from lrt_bench.cli.main import main
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import limited
from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import checked, read_config

WRONG = [
    ("evalute", "did you mean evaluate?"),
    ("evaluate --mappin ridge", "Did you mean '--mapping'?"),
    ("evaluate --mapping rigde", "did you mean ridge?"),
    ("evaluate --mapping ridge,Orthogonale", "did you mean orthogonal?"),
    ("evaluate --suite nanoo", "did you mean nano?"),
    ("evaluate --pair S-L-eraly", "did you mean S-L-early?"),
    ("evaluate --task sentimental", "did you mean sentiment?"),
    ("evaluate --source nano/s22 --target nano/S", "did you mean nano/S2?"),
    ("evaluate --source nano/S:2 --target nano/S2:0", "--target nano/S2:0: layer 0: give one counted from 1"),
    ("evaluate --source nano/S:2 --source-layer 3 --target nano/S2", "give one of the two"),
    (
        "evaluate --suite smollm2 --model HuggingFaceTB/SmolM2-135M=/x",
        "did you mean HuggingFaceTB/SmolLM2-135M?",
    ),
    ("evaluate --format csv", "No such option"),
    ("list tsaks", "did you mean tasks?"),
    ("leaderboard biuld", "Did you mean 'build'?"),
    ("show", "Missing argument 'RESULT'"),
    ("try --model nano/L:9/0 --vector v.npy --prompt a", "layer 9/0"),
    ("sweep-layers --source nano/S:2 --source-layers 1 --target nano/S2", "not both"),
    ("fit --source nano/S:0 --target nano/S2 --save m", "source: nano/S:0: layer 0"),
]


@pytest.mark.parametrize(("words", "right"), WRONG, ids=[words for words, _ in WRONG])
def test_a_wrong_command_is_one_line_that_names_the_right_one(words, right, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.npy").touch()
    assert right in error_of(*words.split())


def test_help_and_success_exit_as_they_did():
    assert run("--help").exit_code == 0
    assert run("list", "mappings").exit_code == 0
    assert run().exit_code == 2  # without a word: the help


def test_a_close_match_of_a_column_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"boddy": "A text."}) + "\n")
    pair = ["--source", "nano/S:2", "--target", "nano/S2:2", "--save", tmp_path / "m"]
    line = error_of("fit", *pair, "--corpus", tmp_path / "a.jsonl", "--corpus-column", "body")
    assert "did you mean boddy?" in line


def values_of(words):
    """The parameters that click reads of an evaluate's words."""
    return main.commands["evaluate"].make_context("evaluate", words).params


@pytest.mark.parametrize("words", [["--pair", "a,b", "--pair", "c"], ["--pair", "a", "--pair", "b, c"]])
def test_lists_take_commas_and_repeats(words):
    assert values_of(words)["pairs"] == ("a", "b", "c")


def test_every_list_takes_commas_and_stand_ins_keep_those_of_their_paths(tmp_path):
    params = values_of(
        ["--mapping", "ridge,mlp", "--task", "person,tense", "--submission", "a,b", "--side-effects", "x,y",
         "--source-layers", "1", "--source-layers", "2,3", "--data", "a/b=/x,y,c/d=/z"]
    )  # fmt: skip
    assert params["mappings"] == ("ridge", "mlp")
    assert params["tasks"] == ("person", "tense")
    assert [str(path) for path in params["submissions"]] == ["a", "b"]
    assert params["side_effects"] == ("x", "y")
    assert params["source_layers"] == (1, 2, 3)
    assert params["data"] == ("a/b=/x,y", "c/d=/z")
    with_comma = tmp_path / "a,b"
    with_comma.mkdir()
    assert values_of(["--task", str(with_comma)])["tasks"] == (str(with_comma),)


def test_several_numbers_take_commas():
    command = click.Command("c", params=[click.Option(["--alpha"], multiple=True, callback=options.numbers)])
    assert command.make_context("c", ["--alpha", "-0.5,0.5", "--alpha", "1"]).params["alpha"] == (
        -0.5,
        0.5,
        1,
    )
    with pytest.raises(click.BadParameter, match="give numbers"):
        command.make_context("c", ["--alpha", "a"])


def test_a_model_with_its_layer_is_both(tmp_path):
    config = checked({"source": "nano/S:3", "target": "planted-rotation:nano/S:20/26"})
    assert (config.source, config.source_layer) == ("nano/S", 3)
    assert (config.target, config.target_layer) == ("planted-rotation:nano/S", "20/26")
    with pytest.raises(UserError, match="--source nano/S:3: --source-layer says 2"):
        checked({"source": "nano/S:3", "source_layer": 2, "target": "nano/S"})
    (tmp_path / "c.yaml").write_text("source: nano/S:3\ntarget: nano/L:2\n")
    overridden = read_config(tmp_path / "c.yaml", {"source": "nano/S2:1"})
    assert (overridden.source, overridden.source_layer, overridden.target_layer) == ("nano/S2", 1, 2)


def test_gpu_is_cuda_and_one_line_where_there_is_none(tmp_path):
    import torch

    assert checked({"device": "gpu"}).device == "cuda"
    if not torch.cuda.is_available():
        assert "torch finds no GPU here: give cpu" in error_of(
            "evaluate", "--device", "gpu", "--out", tmp_path / "o"
        )


@pytest.mark.parametrize("most", [2, 5, 12])
def test_a_limited_task_is_balanced_and_has_another_digest(most):
    task = find_task("sentiment")
    few = limited(task, most)
    counts = dict.fromkeys({prompt.positive for prompt in few.choices}, 0)
    for prompt in few.choices:
        counts[prompt.positive] += 1
    assert 1 <= len(few.choices) <= most
    assert len(set(counts.values())) == 1
    assert few.digest != task.digest
    assert few.vector == task.vector


@pytest.mark.slow
def test_a_quick_look_is_incomplete_lies_apart_and_is_on_no_board(small_suite, tmp_path):
    words = ["--suite", small_suite, "--task", "person", "--mapping", "ridge", "--limit", 4]
    rows = json.loads(output_of("evaluate", *words, "--out", tmp_path / "out", "--json"))
    assert {row["suite"] for row in rows} == {"small-limit-4"}
    assert not any(row["complete"] for row in rows)
    assert all(row["rank"] is None for row in rows)
    record = json.loads((tmp_path / "out" / "small-limit-4" / "rotated" / "ridge.json").read_text())
    assert len(record["tasks"][0]["energy"]) <= 4
    refused = error_of("leaderboard", "build", "--results", tmp_path / "out", "--out", tmp_path / "site")
    assert "a quick look (--limit), which is on no board" in refused


@pytest.mark.parametrize(
    ("words", "offered"),
    [("evaluate --suite nano-f", {"nano-features", "nano-full"}),
     ("evaluate --pair M-", {"M-L-early"}),
     ("evaluate --suite smollm2 --pair 135", None),
     ("evaluate --task tens", {"tense", "tense-french"}),
     ("evaluate --mapping ridge,or", {"ridge,orthogonal", "ridge,orthogonal-standardised"})],
)  # fmt: skip
def test_the_shell_completes_names(words, offered):
    typed = f"lrt-bench {words}"
    place = str(len(typed.split()) - 1)
    environment = os.environ | {
        "_LRT_BENCH_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": place,
    }  # fmt: skip
    code = "from lrt_bench.cli.main import main; main(prog_name='lrt-bench')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    names = {line.partition(",")[2] for line in done.stdout.splitlines()}
    if offered is None:
        assert names
        assert all(name.startswith("135") for name in names)
    else:
        assert names == offered
