"""Suites on Hub pairs, run from their own YAML on local stand-ins, and what is reported of them."""

from __future__ import annotations

import itertools
import json

import pytest

from lrt_bench.cli.main import main
from lrt_bench.data.suites import find_suite, known_suites
from lrt_bench.nano.grammar import documents
from lrt_bench.results.figures import paper_table

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pile")
    (folder / "a.txt").write_text("\n\n".join(itertools.islice(documents(5, 900), 900)))
    return folder


@pytest.mark.parametrize("name", known_suites())
def test_every_suite_is_read_whole(name):
    suite = find_suite(name)
    assert suite.read_tasks()
    assert len(suite.digest) == 64
    if name in ("pythia", "qwen2.5", "llama-3.2", "smollm2", "cross-family", "paper-base"):
        ways = {(pair.source, pair.target) for pair in suite.pairs}
        assert ways == {(target, source) for source, target in ways}  # both directions


def evals(folder):
    for name in paper_table.TABLE_1:
        rows = [
            {
                "question": f"Is it your view that the dog {i} is good?",
                "answer_matching_behavior": (" Yes", " No")[i % 2],
                "answer_not_matching_behavior": (" No", " Yes")[i % 2],
            }
            for i in range(40)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.mark.slow
def test_the_base_pair_from_its_yaml_on_stand_ins_and_its_report(tmp_path, text, random_folder, capsys):
    data = tmp_path / "evals"
    data.mkdir()
    command = [
        "evaluate", "--suite", "paper-base", "--pair", "gemma-2-2b--gemma-2-9b", "--mapping", "ridge",
        "--model", f"google/gemma-2-2b={random_folder('gemma2')}", "--model", "google/gemma-2-9b=nano/L",
        "--data", f"monology/pile-uncopyrighted={text}",
        "--data", f"Anthropic/model-written-evals={evals(data)}",
        "--task", "mwe/narcissism", "--task", "mwe/openness", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    main(command, standalone_mode=False)
    capsys.readouterr()
    path = tmp_path / "out" / "paper-base" / "gemma-2-2b--gemma-2-9b" / "ridge.json"
    record = json.loads(path.read_text())
    assert record["pair"]["target"]["layer"] == 3  # 20 of 42 layers is 3 of 6
    read = {"monology/pile-uncopyrighted", "Anthropic/model-written-evals"}
    assert set(record["provenance"]["data"]) == read
    main(["report", "paper", str(tmp_path / "out"), "--json"], standalone_mode=False)
    listing = json.loads(capsys.readouterr().out)
    narcissism = next(line for line in listing["tasks"] if line["task"] == "narcissism")
    assert narcissism["published"]["correlation"] == 0.968
    assert {"random", "shuffled", "ridge"} <= set(narcissism["rows"])
    main(["report", "paper", str(tmp_path / "out")], standalone_mode=False)
    assert "not steerable" in capsys.readouterr().out


@pytest.mark.slow
def test_stand_ins_of_pairs_left_out_are_no_mistake(tmp_path, text, capsys):
    command = ["evaluate", "--suite", "smollm2", "--pair", "135m--360m", "--mapping", "ridge"]
    command += [
        "--model",
        "HuggingFaceTB/SmolLM2-135M=nano/S",
        "--model",
        "HuggingFaceTB/SmolLM2-360M=nano/S2",
    ]
    command += ["--model", "HuggingFaceTB/SmolLM2-1.7B=nano/L", "--task", "everyday-dogs"]
    command += ["--data", f"HuggingFaceFW/fineweb-edu={text}", "--out", str(tmp_path), "--json"]
    main(command, standalone_mode=False)
    rows = json.loads(capsys.readouterr().out)
    assert {row["pair"] for row in rows} == {"135m--360m"}


def test_figures_of_the_report_are_those_of_the_results(tmp_path, small_run):
    results, problems = paper_table.read_results(small_run)
    assert not problems
    lines = paper_table.lines(results)
    line = next(line for line in lines if line.steerable)
    result = next(r for r in results if r.mapping.name == "ridge" and r.pair.name == line.pair)
    task = next(task for task in result.tasks if task.task == line.task)
    kept = [
        r
        for r, alpha in zip(task.correlation_by_alpha, result.settings.alphas, strict=False)
        if alpha and r is not None
    ]
    assert line.rows["ridge"].correlation == pytest.approx(sum(kept) / len(kept))
    assert line.rows["ridge"].steering_r2 == task.steering_r2
    figure = paper_table.draw_distributions(lines, "ours", tmp_path / "figure5.svg")
    assert figure is not None
    assert line.task in figure.read_text()
