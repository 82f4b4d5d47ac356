"""Result files: whole or not there, checked when read, the schema exported."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys

import jsonschema
import pytest
import torch
from boards import read, write

from lrt_bench.errors import UserError
from lrt_bench.evaluation.rows import controls, mapping_row
from lrt_bench.files.whole import write_whole
from lrt_bench.results.schema.records import CONTROL_NAMES
from lrt_bench.results.schema.result import Result, json_schema
from lrt_bench.results.storage import (
    pack_propensities,
    read_propensities,
    read_record,
    read_result,
    result_files,
    write_result,
)


@pytest.fixture
def record(small_run):
    """A real result's path, copied by the tests that damage it."""
    return small_run / "small" / "rotated" / "ridge.json"


def test_a_result_survives_a_round_trip(record, tmp_path):
    result = read_result(record)
    arrays = read_propensities(record, result)
    data, digest = pack_propensities(arrays)
    assert digest == result.propensities
    write_result(tmp_path / "again.json", result, data)
    assert read_result(tmp_path / "again.json") == result
    assert (tmp_path / "again.json").read_text() == record.read_text()


def test_a_result_follows_the_exported_schema(record):
    jsonschema.validate(json.loads(record.read_text()), json.loads(json_schema()))


def test_a_result_says_where_it_comes_from(record):
    result = read_result(record)
    assert result.provenance.torch == torch.__version__
    assert len(result.pair.source.digest) == len(result.suite_digest) == len(result.tasks[0].digest) == 64
    assert result.provenance.corpus_digest
    assert result.settings.device == "cpu"
    assert "NaN" not in record.read_text()


@pytest.mark.parametrize(
    ("field", "content", "said"),
    [
        ("suite", '"other", "suite": "small"', "field 'suite' stands twice"),
        ("suite_version", "true", "true is no number"),
        ("transfer_score", "NaN", "transfer_score"),
        ("transfer_score", "1e999", "transfer_score"),
        ("suite_digest", '"\\ud800"', "half of a character"),
        ("schema_version", "[" * 150 + "]" * 150, "nested too deep"),
        ("schema_version", "9" * 5000, "a number is too long"),
    ],
)
def test_what_json_may_hide_is_refused(record, tmp_path, field, content, said):
    text = record.read_text()
    [line] = [line for line in text.splitlines() if line.startswith(f' "{field}":')]
    path = tmp_path / "hidden.json"
    path.write_text(text.replace(line, f' "{field}": {content},'))
    with pytest.raises(UserError, match=said):
        read_record(path)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
def test_a_truncated_file_is_named(record, tmp_path, keep):
    text = record.read_text()
    path = tmp_path / "cut.json"
    path.write_text(text[: int(len(text) * keep)])
    with pytest.raises(UserError, match=r"cut\.json: not a whole JSON file.*delete it and run again"):
        read_result(path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.pop("cost"), "cost"),
        (lambda r: r.update(transfer_score=float("nan")), "transfer_score"),
        (lambda r: r.update(transfer_score="high"), "transfer_score"),
        (lambda r: r.update(schema_version=2), "schema_version"),
        (lambda r: r["mapping"].update(track="mine"), r"mapping\.track"),
        (lambda r: r["tasks"][0].update(steering_r2=float("inf")), r"tasks\.0\.steering_r2"),
    ],
)
def test_bad_fields_are_named(record, tmp_path, change, field):
    content = json.loads(record.read_text())
    change(content)
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"bad\.json: .*{field}"):
        read_result(tmp_path / "bad.json")


def test_a_result_without_its_own_propensities_has_none(record, tmp_path):
    result = read_result(record)
    (tmp_path / "x.json").write_text(record.read_text())
    assert read_propensities(tmp_path / "x.json", result) is None
    (tmp_path / "x.safetensors").write_bytes(b"other")
    assert read_propensities(tmp_path / "x.json", result) is None


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_whole(path, b"old")

    def broken(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_results_cannot_be_changed_in_place(record):
    with pytest.raises(ValueError, match="frozen"):
        read_result(record).transfer_score = 100.0
    assert Result.model_config["extra"] == "forbid"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(UserError, match=r"x\.json"):
        read_result(path)


def test_other_commands_records_are_no_results(tmp_path):
    """A layer sweep and a decoder relation write JSON into the same folder."""
    results = ["nano/S-L/ridge.json", "nano/S-L/layers.json", "relation.json"]
    others = ["layers/S-L/layers.json", "decoders/relation.json", ".cache/ridge.json"]
    for name in [*results, *others, "decoders/relation.svg", "nano/S-L/ridge.safetensors"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in result_files(tmp_path)] == sorted(results)


def test_the_controls_are_those_that_a_run_computes():
    on_demand = {"own-texts-permuted", "own-texts-noise"}  # asked for beside own-texts
    assert {row.name for row in controls()} | on_demand == set(CONTROL_NAMES)
    assert all(mapping_row(name).control for name in on_demand)


BEYOND = {
    "tasks__0__cosine": 7,
    "tasks__0__failures": 10**9,
    "tasks__0__anti_steerable": 1.5,
    "tasks__0__correlation": -1.2,
    "tasks__0__norm_ratio": -1,
    "tasks__0__mse_by_alpha__0": -0.5,
    "fidelity__kl": -0.3,
    "fidelity__fvu": -1e-3,
    "fidelity__cka": 1.2,
    "pair__source__depth": 3,
    "transfer_score": 101,
    "ci95__1": 1000,
    "settings__spread": -1,
    "provenance__created": "2026-13-45T00:00:00Z",
}


@pytest.mark.parametrize("field", BEYOND)
def test_what_lies_beyond_its_bounds_is_refused_with_its_field(small_run, tmp_path, field):
    record = read(small_run / "small" / "rotated" / "ridge.json")
    path = write(tmp_path, record, **{field: BEYOND[field]})
    with pytest.raises(UserError) as refused:
        read_record(path)
    assert f"{path}: field {field.replace('__', '.')}: " in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("transfer_score", 50.0, "field transfer_score: 50.00, but its tasks give"),
        ("steering_r2", 0.1, "field steering_r2: 0.1, but the mean over its steerable tasks is"),
        ("correlation_delta", None, "field correlation_delta: None, but"),
        ("not_steerable", ["person"], "field not_steerable: 1 tasks, but"),
        ("tasks__0__ceiling_r2", 0.2, "sentiment: ceiling_r2 0.2, but its arrays give"),
        ("mapping__seeds", 3, "field mapping.seeds: 3, but errors of 1 fits"),
        ("tasks__0__correlation_by_alpha", [0.5], "correlation_by_alpha: 1 numbers, but mse_by_alpha has"),
        ("tasks__0__curve", [], "curve: 0 numbers, but curve_alphas has"),
        ("ci95", [90.0, 80.0], "ci95: its lower end lies above its upper end"),
        ("settings__alphas", [0.5], "mse_by_alpha: 7 numbers, but settings.alphas has 1"),
    ],
)
def test_a_headline_or_a_list_that_its_own_numbers_contradict_is_refused(
    small_run, tmp_path, field, value, message
):
    path = write(tmp_path, read(small_run / "small" / "rotated" / "ridge.json"), **{field: value})
    with pytest.raises(UserError) as refused:
        read_result(path)
    assert str(path) in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"key": ' * 50_000,
        '{"schema_version": 1' + "0" * 6000 + "}",
        '{"key": "\\ud800"}',
        "\x00",
        "NaN",
    ],
    ids=["deep list", "deep object", "long number", "half a letter", "zero byte", "no number"],
)
def test_json_that_breaks_parsers_is_one_line(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"odd\.json: .*delete it and run again"):
        read_result(path)


def test_a_killed_write_is_swept_and_one_that_goes_on_is_not(tmp_path):
    old, going_on, mine = (
        tmp_path / name for name in (".a.json.abcd1234", ".a.json.efgh5678", ".zshrc.original")
    )
    for path in (old, going_on, mine):
        path.write_text("half")
    with going_on.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        write_whole(tmp_path / "a.json", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.json.efgh5678",
        ".zshrc.original",
        "a.json",
    ]
    write_whole(tmp_path / "b.json", b"beside it")  # a.json stands there: what is left of it goes too
    assert not going_on.exists()
    assert mine.exists()


def test_a_killed_process_leaves_what_the_next_write_sweeps(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from lrt_bench.files.whole import write_whole\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), 9)\n"
        "write_whole(pathlib.Path(sys.argv[1]), b'half')\n"
    )
    path = tmp_path / "a.json"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.json.")
    write_whole(path, b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device") as refused:
        write_whole(tmp_path / "a.json", b"new")
    assert refused.value.filename == str(tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_a_field_that_stands_twice_is_named(record, tmp_path):
    text = record.read_text()
    for old, name in (('"suite":', "suite"), ('"created":', "created")):
        path = tmp_path / "twice.json"
        path.write_text(text.replace(old, f'{old} "2026-01-01", {old}', 1))
        with pytest.raises(UserError, match=rf"twice\.json: field '{name}' stands twice"):
            read_result(path)
