"""Whatever `evaluate` can write, every other command reads: each kind of row and of option, end to end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from hub_desk import DATASET, SPACE, TOKEN, Desk, desk

from lrt_bench.cli.main import main
from lrt_bench.results.frame import read_frame
from lrt_bench.submissions.scaffold import new_submission

pytestmark = pytest.mark.slow  # whole runs

__all__ = ["desk"]

SUITE = """
name: every-kind
corpus: {source: nano, context: 128, fit_tokens: 3000, validation_tokens: 600, sample_tokens: 1000}
shuffles: 1
fit_seeds: 2
bootstrap: 100
tasks: [sentiment, person, fidelity, perplexity, write-dogs, nano-refusal]
mappings: [ridge, mlp]
pairs:
  - {name: planted, source: nano/S, source_layer: 2, target: "planted-rotation:nano/S", target_layer: 2}
  - {name: layers, source: nano/S, source_layers: [1, 2], target: nano/S, target_layer: 2}
  - {name: features, source: nano/S, source_layer: 2, source_sae: "nano/S:2", target: nano/S, target_layer: 2}
"""
MAPPING = """
from lrt_bench.mappings.ridge import Ridge


class Mine(Ridge):
    pass
"""
LM_EVAL = """
task: mine
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/mine.jsonl}, cache_dir: FOLDER/cache}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
metadata: {version: 1}
"""
AD_HOC = ("--source", "nano/S", "--target", "nano/S", "--target-layer", 2)


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, (words, done.output)
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a suite, a mapping, a submission and lm-eval's task, and what `evaluate` made of them."""
    folder = tmp_path_factory.mktemp("every")
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "mine.py").write_text(MAPPING)
    (folder / "mine.jsonl").write_text(json.dumps({"text": "She saw the dog. It was a big ship."}))
    (folder / "mine.yaml").write_text(LM_EVAL.replace("FOLDER", str(folder)))
    new_submission("my-map", folder)
    suite = ("evaluate", "--suite", folder / "suite.yaml", "--out", folder / "results")
    more = (
        "--submission",
        folder / "my-map",
        "--unsafe-no-sandbox",
        "--mapping",
        f"{folder / 'mine.py'}:Mine",
    )
    effects = ("--side-effects", "mine", "--side-effects-path", folder)
    run(*suite, "--pair", "planted", "--mapping", "ridge", "--mapping", "mlp", *more, *effects)
    run(*suite, "--pair", "layers", "--pair", "features", "--mapping", "ridge", "--task", "sentiment")
    run(*suite, *AD_HOC, "--source-layers", "1,2", "--task", "sentiment", "--mapping", "ridge")
    run(
        *suite,
        *AD_HOC,
        "--source-layer",
        2,
        "--source-sae",
        "nano/S:2",
        "--task",
        "person",
        "--mapping",
        "ridge",
    )
    return folder


def files(made):
    return sorted((made / "results").rglob("*.json"))


def test_the_run_has_every_kind_of_row_and_of_score(made):
    table = read_frame(made / "results")
    assert set(table["suite"]) == {"every-kind", "every-kind-ad-hoc"}
    assert set(table["track"]) == {"control", "corpus"}
    assert set(table["origin"]) == {"built-in", "file", "submission"}
    assert set(table["source_layers"].dropna()) == {"1+2"}
    assert len(table) == len(files(made))
    records = [json.loads(path.read_text()) for path in files(made)]
    for part in ("tasks", "generation", "side_effects", "lm_eval", "refusal", "fidelity", "audit"):
        assert any(record[part] for record in records), part


def test_every_command_reads_every_result(made, desk: Desk):
    results, site = made / "results", made / "site"
    run("leaderboard", "build", "--results", results, "--out", site)
    with (site / "downloads" / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(files(made))
    several = [row for row in rows if row["source_layers"]]
    assert {(row["source_layer"], row["source_layers"]) for row in several} == {("2", "1+2")}
    for path in files(made):
        shown = run("show", path)
        assert path.stem in shown
        assert json.loads(run("show", "--json", path))["mapping"]["name"] == path.stem
    summary = run("summary", results)
    assert summary.count("```mermaid") == 5
    assert "left out" not in summary
    assert "nano-refusal: refusal" in run("report", "paper", results, "--out", made / "figures")
    printed = json.loads(run("report", "paper", results, "--out", made / "figures", "--json"))
    assert {line["pair"] for line in printed["tasks"]} == {row["pair"] for row in rows}
    assert {row["pair"] for row in printed["refusal"]} == {"planted"}
    run("leaderboard", "record", "--results", results, "--reason", "first")
    command = [sys.executable, "-m", "lrt_bench.cli", "leaderboard", "publish", "--dry-run"]
    command += ["--results", results, "--out", site, "--space", SPACE, "--dataset", DATASET]
    hub = {"HF_ENDPOINT": desk.hub.endpoint, "HF_HOME": str(desk.folder / "home"), "HF_TOKEN": TOKEN}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | hub
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("layers/ridge", "features/ridge", "planted/my-map"):
        assert f"would be added: results/every-kind/{name}.json" in done.stdout
    assert done.stdout.count("nothing was sent") == 2


@pytest.mark.parametrize("suite", ["every-kind/planted", "every-kind-ad-hoc"])
def test_every_result_is_verified(made, suite):
    """Each kind of row and score, then several layers and a sparse autoencoder of an ad hoc pair."""
    printed = run(
        "verify", made / "results" / suite, "--suite", made / "suite.yaml", "--mapping",
        f"{made / 'mine.py'}:Mine", "--submission", made / "my-map",
    )  # fmt: skip
    assert len(printed.splitlines()) == len(list((made / "results" / suite).rglob("*.json")))
    assert all(": the same" in line for line in printed.splitlines())
