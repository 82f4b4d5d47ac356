"""The command line as a user meets it: quick help, one-line errors, exit code 2, JSON that parses."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import error_of, outcome, output_of, run, run_process

from lrt_bench.nano.grammar import documents

MAPPING = """
import torch
from lrt_bench import Mapping

class Good(Mapping):
    def fit(self, states):
        assert states.batches and states.moments and states.validation
        x, y = next(states.batches(4096))
        self.weight = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0)).solution
        self.offset = y.mean(0) - x.mean(0) @ self.weight
    def __call__(self, h):
        return h @ self.weight + self.offset

class Narrow(Good):
    def __call__(self, h):
        return super().__call__(h)[..., :-1]

class NotANumber(Good):
    def __call__(self, h):
        return super().__call__(h) * float("nan")

class Crashes(Mapping):
    def fit(self, states):
        raise ZeroDivisionError("oh")
    def __call__(self, h):
        return h
"""


@pytest.fixture(scope="module")
def mapping_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("mapping") / "mine.py"
    path.write_text(MAPPING)
    return path


def test_help_does_not_wait_for_heavy_imports():
    heavy = "{'torch', 'transformers', 'matplotlib', 'pydantic', 'numpy', 'yaml'}"
    code = f"import sys, lrt_bench.cli.main; print(sorted({heavy} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
    text = output_of("--help")
    for command in ("evaluate", "list", "show"):
        assert command in text


def test_a_run_says_what_it_begins_before_it_waits_for_torch():
    code = """if True:
        import sys
        import lrt_bench.cli.evaluate as evaluate
        from lrt_bench.cli.main import main
        def first(config, suite):
            print(suite.name, sorted({"torch", "transformers", "pandas", "matplotlib"} & set(sys.modules)))
            sys.exit()
        evaluate._say_what_begins = first
        main(["evaluate", "--pair", "S-L", "--mapping", "ridge,mine.py:Mine"])
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "nano []"


@pytest.mark.parametrize("what", ["suites", "pairs", "tasks", "mappings"])
def test_lists_are_tables_and_json(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = json.loads(output_of("list", what, "--json"))
    assert rows
    assert rows[0]["name"] in output_of("list", what)


def test_the_module_is_the_command(tmp_path):
    """In a process of its own: what is wrong is its exit code and one line there too."""
    good, bad = run_process("--version", cwd=tmp_path), run_process("show", "absent.json", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("python -m lrt_bench.cli, version ")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: ")
    assert bad.stderr.count("\n") == 1


@pytest.mark.slow
def test_json_rows_hold_what_is_promised(small_suite, tmp_path, mapping_file):
    options = ["evaluate", "--suite", small_suite, "--out", tmp_path / "out", "--mapping", "ridge"]
    printed = output_of(*options, "--mapping", f"{mapping_file}:Good", "--json")
    rows = {row["mapping"]: row for row in json.loads(printed)}
    assert {"mine.Good", "ridge", "native", "native-split", "none", "random", "shuffled"} <= set(rows)
    for row in rows.values():
        for field in ("pair", "suite", "track", "control", "transfer_score", "ci95", "rank", "steering_r2",
                      "correlation_delta", "fvu", "fit_seconds"):  # fmt: skip
            assert field in row
        assert Path(row["path"]).is_file()
    assert rows["mine.Good"]["transfer_score"] > 99
    assert (tmp_path / "out" / "small" / "rotated" / "figure.svg").read_text().startswith("<?xml")
    table = output_of(*options)
    assert "0 cells computed" in table
    assert "ridge" in table
    assert "figure.svg" in table
    assert "sentiment" in output_of("show", rows["ridge"]["path"])


BAD = [
    (["evaluate", "--suite", "nanoo"], "--suite nanoo: no such suite"),
    (["evaluate", "--pair", "S-XL"], "--pair S-XL: suite nano has S-L"),
    (["evaluate", "--mapping", "rigde"], "mapping rigde: no such mapping"),
    (["evaluate", "--task", "sentimental"], "--task sentimental: no such task"),
    (["evaluate", "--mapping", "ridge", "--mapping", "ridge"], "the name stands twice"),
    (["evaluate", "--source", "nano/S"], "wants both --source and --target"),
    (["evaluate", "--source-layer", "2"], "belong to an ad hoc pair"),
    (["evaluate", "--source", "nano/S", "--target", "nano/S2", "--target-layer", "9"], "target: layer 9 is out of range for nano/S2: give 1 to 3"),  # noqa: E501
    (["evaluate", "--source", "nano/S", "--target", "nano/S2", "--source-layer", "0"], "--source-layer 0: give 1 or more"),  # noqa: E501
    (["evaluate", "--source", "./nowhere", "--target", "nano/S"], "./nowhere: no such folder"),
    (["evaluate", "--source", "{tmp}/empty", "--target", "nano/S"], "config.json is missing"),
    (["evaluate", "--out", "{tmp}/file"], "--out {tmp}/file: a file is there"),
    (["evaluate", "--device", "tpu9"], "--device tpu9"),
    (["evaluate", "--dtype", "int3"], "--dtype int3"),
    (["evaluate", "--batch-size", "0"], "--batch-size 0: give 1 or more"),
    (["evaluate", "--batch-size", "9" * 30], "--batch-size " + "9" * 30 + ": "),
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Narrow"], "mapping mine.Narrow: __call__ returned (32, 95), want (32, 96)"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:NotANumber"], "mapping mine.NotANumber: __call__ returned NaN"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Crashes"], "mapping mine.Crashes: fit fails: ZeroDivisionError: oh (mine.py, line 24)"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Nobody"], "Nobody is no class there"),
    (["show", "{tmp}/file"], "file: not a whole JSON file"),
    (["show", "{tmp}/absent.json"], "absent.json: cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a)[:60] for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(
    arguments, message, tmp_path, small_suite, mapping_file, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    values = {"tmp": tmp_path, "small": small_suite, "mine": mapping_file}
    arguments = [argument.format(**values) for argument in arguments]
    if arguments[0] == "evaluate" and "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    assert message.format(**values) in error_of(*arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_truncated_result_stops_a_run_with_its_name(small_run, small_suite, tmp_path):
    shutil.copytree(small_run, tmp_path / "out")
    path = tmp_path / "out" / "small" / "rotated" / "ridge.json"
    path.write_text(path.read_text()[:500])
    done = run("evaluate", "--suite", small_suite, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "ridge.json: not a whole JSON file" in done.stderr


def test_quiet_silences_notes_and_v_says_each_step(tmp_path):
    """What the package logs goes to standard error, at the level that was asked for."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(itertools.islice(documents(0), 60)))
    (tmp_path / "texts" / "b.bin").touch()
    pair = ["--source", "nano/S:2", "--target", "nano/S2:2", "--tokens", 200, "--save", tmp_path / "map"]
    words = [*pair, "--corpus", tmp_path / "texts"]
    said = {flag: outcome("fit", *words, *([flag] if flag else []))[2] for flag in ("", "--quiet", "-v")}
    assert "leaves out b.bin" in said[""]
    assert said["--quiet"] == ""
    assert "states" in said["-v"].splitlines()
    assert "states" not in said[""].splitlines()


def test_the_schema_is_printed():
    assert json.loads(output_of("schema"))["title"] == "Result"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source-layer", "999999999"], "--source-layer: layer 999999999: give 1 to 10000"),
        (
            ["--source-layers", "1,99999"],
            "--source-layers 99999: Input should be less than or equal to 10000",
        ),
        (["--source", "a\x1b[1mb"], "--source: want one line of visible characters"),
        (["--corpus", ""], "--corpus ''"),
    ],
)
def test_a_pair_that_no_record_can_hold_is_one_line(options, message, tmp_path):
    pair = ["--source", "nano/S", "--target", "nano/S2", "--out", tmp_path / "r"]
    err = error_of("evaluate", *pair, *options)
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_is_logged_commands_no_terminal(tmp_path, caplog):
    """The line that says which files of a folder are left out holds a stranger's names."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(itertools.islice(documents(0), 60)))
    (tmp_path / "texts" / "\x1b[2Jb\u202e.bin").touch()
    pair = ["--source", "nano/S:2", "--target", "nano/S2:2", "--save", tmp_path / "map"]
    run("fit", *pair, "--corpus", tmp_path / "texts", "--tokens", 200)
    assert "leaves out \N{REPLACEMENT CHARACTER}[2Jb\N{REPLACEMENT CHARACTER}.bin" in caplog.text
    assert "\x1b" not in caplog.text
