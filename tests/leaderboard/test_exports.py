"""The board in the forms of others, each held to its own parser or to what its documentation asks for."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from boards import COMMITTED, copy_committed, pretrained_board, read
from command_line import error_of, output_of
from jsonschema import Draft7Validator

from lrt_bench.leaderboard.cards import dataset_files
from lrt_bench.leaderboard.exports.every_eval_ever import VERSION

# The schema as every-eval-ever 0.3.0 ships it (EvalEval, MIT: the licence lies beside it), unchanged
EVERY_EVAL_EVER = json.loads((Path(__file__).parent / "every_eval_ever" / "eval.schema.json").read_text())
UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
EXPORT = ("leaderboard", "export", "--to", "every-eval-ever")
FILE = re.compile(rf"data/lrt-bench/[\w.-]+/[\w.-]+/{UUID4}\.json")


def is_map(record) -> bool:
    return not record["mapping"]["control"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = pretrained_board(tmp_path_factory.mktemp("exports") / "results")
    return copy_committed(folder, "S-L-early", "planted-rotation")


@pytest.fixture(scope="module")
def dataset(results):
    """The dataset repository's files, as publishing sends them."""
    site = results.parent / "site"
    output_of("leaderboard", "build", "--results", results, "--out", site)
    files = dataset_files({}, site, repo="org/scores")
    folder = results.parent / "dataset"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


def test_every_eval_ever_gets_a_record_for_each_ranked_map(results, tmp_path):
    said = output_of(
        "leaderboard", "export", "--results", results, "--to", "every-eval-ever", "--out", tmp_path
    )
    files = sorted(tmp_path.rglob("*.json"))
    assert said.startswith(f"{len(files)} records")
    maps = [path for path in sorted((results / "nano" / "S-L-early").glob("*.json")) if is_map(read(path))]
    assert len(files) == 3 * len(maps) > 10  # three pairs without a known answer, no control
    assert EVERY_EVAL_EVER["version"] == VERSION
    validator = Draft7Validator(EVERY_EVAL_EVER)
    records = [json.loads(path.read_text()) for path in files]
    for path, record in zip(files, records, strict=True):
        assert FILE.fullmatch(path.relative_to(tmp_path).as_posix())
        assert record["schema_version"] == VERSION
        assert not [error.message for error in validator.iter_errors(record)]
    models = {record["model_info"]["id"] for record in records}
    assert models == {"Qwen/Qwen2.5-Coder-0.5B", "Qwen/Qwen2.5-Coder-1.5B", "lrt-bench/nano-L"}
    assert len({record["evaluation_id"] for record in records}) == len(records)
    mlp = next(
        record["evaluation_results"][0]["score_details"]
        for record in records
        if record["model_info"]["additional_details"]["mapping"] == "mlp"
        and record["model_info"]["id"] == "lrt-bench/nano-L"
    )
    want = read(results / "nano" / "S-L-early" / "mlp.json")
    assert mlp["score"] == want["transfer_score"]
    ends = mlp["uncertainty"]["confidence_interval"]
    assert [ends["lower"], ends["upper"]] == want["ci95"]


def test_an_export_is_the_same_when_made_again(results, tmp_path):
    for name in ("one", "two"):
        output_of(*EXPORT, "--results", results, "--out", tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.json")} for n in ("one", "two"))
    assert one == two


def test_a_board_of_known_answers_has_nothing_to_export(results, tmp_path):
    shutil.copytree(results / "nano" / "planted-rotation", tmp_path / "results" / "nano" / "planted-rotation")
    said = error_of(
        "leaderboard", "export", "--results", tmp_path / "results", "--to", "every-eval-ever",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert "nothing to export" in said
    assert not (tmp_path / "out").exists()


def test_the_dataset_is_a_benchmark_whose_tasks_are_the_pairs(dataset):
    content = yaml.safe_load((dataset / "eval.yaml").read_text())
    assert set(content) == {"name", "description", "evaluation_framework", "tasks"}
    front = yaml.safe_load((dataset / "README.md").read_text().split("---\n")[1])
    configs = {one["config_name"] for one in front["configs"]}
    names = [task["id"] for task in content["tasks"]]
    assert names == sorted(set(names))
    assert {"nano--S-L-early", "nano--planted-rotation", "qwen2.5-coder--0.5b--1.5b"} <= set(names)
    for task in content["tasks"]:
        assert set(task) == {"id", "config", "split"}
        assert task["config"] in configs


def test_croissant_names_every_column_of_the_tables_and_their_hashes(dataset):
    import hashlib

    from pyarrow import parquet

    content = json.loads((dataset / "croissant.json").read_text())
    for file in content["distribution"]:
        assert hashlib.sha256((dataset / file["contentUrl"]).read_bytes()).hexdigest() == file["sha256"]
    for records in content["recordSet"]:
        columns = parquet.read_schema(dataset / "data" / f"{records['name']}.parquet").names
        assert [field["name"] for field in records["field"]] == columns


def test_mlcroissant_reads_the_tables_through_it(dataset):
    mlcroissant = pytest.importorskip("mlcroissant")
    described = mlcroissant.Dataset(jsonld=str(dataset / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    rows = list(described.records("table"))
    assert {row["table/pair"].decode() for row in rows} >= {"S-L-early", "0.5b--1.5b"}
    scores = {
        row["table/mapping"].decode(): row["table/transfer_score"]
        for row in rows
        if row["table/pair"] == b"S-L-early"
    }
    want = read(COMMITTED / "nano" / "S-L-early" / "mlp.json")
    assert scores["mlp"] == pytest.approx(want["transfer_score"])
