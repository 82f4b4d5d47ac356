"""Settings of a run: what a file says, what an option overrides, what a result records."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import RunConfig, checked, read_config
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

WRONG = [
    ("nope: 1", "field nope"),
    ("batch_size: 0", "field batch_size"),
    ("mappings: ridge", "field mappings"),
    ("- 1", "--config"),
    ("seed: 1\n  x: 2", "not valid YAML"),
    ("dtype: int3", "field dtype"),
    ("device: [cpu]", "field device"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_file_is_one_line_with_its_name_and_field(tmp_path, text, said):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_config(path, {})
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_options_override_the_file_and_what_goes_together_is_checked_after(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("source: a\nseed: 3\nmappings: [ridge]\n")
    config = read_config(path, {"target": "b", "mappings": ("affine",)})
    assert (config.source, config.target, config.seed, config.mappings) == ("a", "b", 3, ("affine",))
    with pytest.raises(UserError, match="wants both --source and --target"):
        read_config(path, {})


def test_a_config_cannot_be_changed_and_names_the_option_that_is_wrong():
    config = RunConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1
    with pytest.raises(UserError, match=r"^--batch-size 0: give 1 or more$"):
        checked({"batch_size": 0})
    with pytest.raises(UserError, match=r"^--mapping ridge: "):
        checked({"mappings": "ridge"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source_layer": "20/26", "source_layers": [1, 2]}, "--source-layers takes the place"),
        ({"source_sae": "nano/S:3", "source_layers": "all"}, "--source-sae reads one layer"),
        ({"pairs": ["S-L"]}, "--pair names a pair of the suite"),
        ({"judge_url": "http://h/v1"}, "a judge wants both"),
        ({"side_effects_limit": 3}, "want --side-effects TASK"),
        ({"mappings": ["m" * 200_000]}, "settings of more than"),
    ],
)
def test_what_does_not_go_together_is_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        checked({"source": "nano/S", "target": "nano/L"} | fields)


def test_what_is_recorded_names_no_private_path_and_no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("LRT_BENCH_JUDGE_KEY", "the-secret-key")
    config = RunConfig(
        mappings=[f"{tmp_path}/mine.py:Mine"],
        source=str(tmp_path / "small"),
        target="org/large",
        models={"org/large": str(tmp_path / "large")},
        judge_url="http://judge.example:80/v1/the-token",
        judge_model="judge",
        out=tmp_path / "out",
        workers=3,
    )
    recorded = config.recorded()
    text = json.dumps(recorded)
    assert str(tmp_path) not in text
    assert "the-" not in text
    assert recorded["mappings"] == ["mine.py:Mine"]
    assert recorded["models"] == {"org/large": "large"}
    assert recorded["judge_url"] == "judge.example"
    assert "workers" not in recorded
    assert RunConfig().recorded() == {}


def test_the_command_reads_a_file_and_results_record_it(small_suite, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"suite: {small_suite}\nmappings: [affine]\ntasks: [person]\nseed: 7\nout: results\n"
    )
    command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--config", "run.yaml", "--seed", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = read_result(tmp_path / "results" / "small" / "rotated" / "affine.json")
    assert result.settings.seed == 2
    assert result.provenance.config == {
        "suite": Path(small_suite).name, "mappings": ["affine"], "tasks": ["person"], "seed": 2,
    }  # fmt: skip


def test_settings_are_checked_without_torch():
    code = "import sys, lrt_bench.evaluation.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_stand_in_goes_by_the_models_id_where_its_weights_are_told(tmp_path, random_folder):
    suite = tmp_path / "own.yaml"
    suite.write_text(
        "name: own\ncorpus: {source: nano, context: 64, fit_tokens: 1500, validation_tokens: 300}\n"
        "shuffles: 1\nbootstrap: 100\ntasks: [sentiment, fidelity]\nmappings: [ridge]\npairs:\n"
        "  - {name: a, source: org/small, source_layer: 2, target: nano/S2, target_layer: 2}\n"
    )
    folder = random_folder("llama")
    names = {}
    for told in ({}, {"org/small": "4-bit, dequantised"}):
        config = RunConfig(
            suite=str(suite), out=tmp_path / str(len(told)), bos="never",
            models={"org/small": str(folder)}, weights=told,
        )  # fmt: skip
        cells = Evaluation(config.chosen_suite(), config).run()
        [names[len(told)]] = [cell.result for cell in cells if cell.result.mapping.name == "ridge"]
    assert names[0].pair.source.model == str(folder)
    assert names[1].pair.source.model == "org/small"
    assert names[1].pair.source.digest == names[0].pair.source.digest
    assert names[1].provenance.config["weights"] == {"org/small": "4-bit, dequantised"}
    assert names[1].transfer_score == names[0].transfer_score
    wrong = config.model_copy(update={"weights": {"org/other": "x"}})
    with pytest.raises(UserError, match="--weights org/other: no model of these pairs"):
        Evaluation(config.chosen_suite(), wrong).check()
