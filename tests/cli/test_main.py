"""The command line as a user meets it: quick help, one-line errors, exit code 2, JSON that parses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def run(*arguments, cwd=None, **environment):
    command = [sys.executable, "-m", "lrt_bench.cli", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, check=False
    )


@pytest.fixture(scope="module")
def mapping_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("mapping") / "mine.py"
    path.write_text(MAPPING)
    return path


def test_help_does_not_wait_for_heavy_imports():
    code = "import sys, lrt_bench.cli.main; print([m for m in ('torch', 'transformers', 'matplotlib', 'pydantic') if m in sys.modules])"  # noqa: E501
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    text = run("--help").stdout
    for command in ("evaluate", "list", "show"):
        assert command in text


@pytest.mark.parametrize("what", ["suites", "pairs", "tasks", "mappings"])
def test_lists_are_tables_and_json(what, tmp_path):
    found = run("list", what, "--json", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    rows = json.loads(found.stdout)
    assert rows
    table = run("list", what, cwd=tmp_path).stdout
    assert str(rows[0].get("name")) in table


def test_json_rows_hold_what_is_promised(small_suite, tmp_path, mapping_file):
    found = run("evaluate", "--suite", small_suite, "--mapping", f"{mapping_file}:Good", "--mapping", "ridge",
                "--out", tmp_path / "out", "--json", cwd=tmp_path)  # fmt: skip
    assert found.returncode == 0, found.stderr
    rows = {row["mapping"]: row for row in json.loads(found.stdout)}
    assert {"mine.Good", "ridge", "native", "native-split", "none", "random", "shuffled"} <= set(rows)
    for row in rows.values():
        for field in ("pair", "suite", "track", "control", "transfer_score", "ci95", "rank", "steering_r2",
                      "correlation_delta", "fvu", "fit_seconds"):  # fmt: skip
            assert field in row
        assert Path(row["path"]).is_absolute() or (tmp_path / row["path"]).is_file()
    assert rows["mine.Good"]["transfer_score"] > 99
    assert (tmp_path / "out" / "small" / "rotated" / "figure.svg").read_text().startswith("<?xml")
    table = run("evaluate", "--suite", small_suite, "--mapping", "ridge", "--out", tmp_path / "out")
    assert (
        "0 cells computed" in table.stdout.replace("cell computed", "cells computed") or table.returncode == 0
    )
    assert "ridge" in table.stdout
    assert "figure.svg" in table.stdout
    shown = run("show", rows["ridge"]["path"], cwd=tmp_path)
    assert shown.returncode == 0
    assert "sentiment" in shown.stdout


BAD = [
    (["evaluate", "--suite", "nanoo"], "--suite nanoo: no such suite"),
    (["evaluate", "--pair", "S-XL"], "--pair S-XL: suite nano has S-L"),
    (["evaluate", "--mapping", "rigde"], "--mapping rigde: no such mapping"),
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
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Narrow"], "mapping mine.Narrow: __call__ returned (32, 95), want (32, 96)"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:NotANumber"], "mapping mine.NotANumber: __call__ returned NaN"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Crashes"], "mapping mine.Crashes: fit fails: ZeroDivisionError: oh"),  # noqa: E501
    (["evaluate", "--suite", "{small}", "--mapping", "{mine}:Nobody"], "Nobody is no class there"),
    (["show", "{tmp}/file"], "file: not a whole JSON file"),
    (["show", "{tmp}/absent.json"], "absent.json: cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a)[:60] for a, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, small_suite, mapping_file):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    values = {"tmp": tmp_path, "small": small_suite, "mine": mapping_file}
    arguments = [argument.format(**values) for argument in arguments]
    if arguments[0] == "evaluate" and "--out" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    found = run(*arguments, cwd=tmp_path)
    lines = found.stderr.strip().splitlines()
    assert found.returncode == 2, found.stderr
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert message.format(**values) in lines[0]
    assert found.stdout == ""
    for path in (tmp_path / "out").rglob("*"):
        assert not path.name.startswith("."), "something half-written"
        assert (
            path.stem.startswith(("native", "random", "none", "shuffled", "other", "readout"))
            or path.is_dir()
        )


def test_a_truncated_result_stops_a_run_with_its_name(small_run, small_suite, tmp_path):
    import shutil

    shutil.copytree(small_run, tmp_path / "out")
    path = tmp_path / "out" / "small" / "rotated" / "ridge.json"
    path.write_text(path.read_text()[:500])
    found = run("evaluate", "--suite", small_suite, "--out", tmp_path / "out")
    assert found.returncode == 2
    assert "ridge.json: not a whole JSON file" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_schema_is_printed():
    assert json.loads(run("schema").stdout)["title"] == "Result"
