"""Result files: whole or not there, checked when read, the schema exported."""

from __future__ import annotations

import json
import os

import jsonschema
import pytest
import torch

from lrt_bench.errors import UserError
from lrt_bench.evaluation.rows import controls
from lrt_bench.files.whole import write_whole
from lrt_bench.results.records import CONTROL_NAMES
from lrt_bench.results.result import Result, json_schema
from lrt_bench.results.storage import (
    pack_propensities,
    read_propensities,
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
    assert {row.name for row in controls()} == set(CONTROL_NAMES)
