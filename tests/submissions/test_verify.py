"""Results computed again: the same is the same, and what differs is told, field by field."""

from __future__ import annotations

import json
import shutil

import pytest
from command_line import outcome as run

from lrt_bench.results.storage import read_result
from lrt_bench.submissions.scaffold import new_submission
from lrt_bench.submissions.verify import Outcome, _compare

pytestmark = pytest.mark.slow  # whole runs


@pytest.fixture
def folder(small_run, tmp_path):
    shutil.copytree(small_run / "small" / "rotated", tmp_path / "rotated")
    return tmp_path / "rotated"


def edit(path, **changes):
    record = json.loads(path.read_text())
    for name, value in changes.items():
        *parts, last = name.split("__")
        part = record
        for key in parts:
            part = part[int(key) if key.isdigit() else key]
        part[last] = value
    path.write_text(json.dumps(record))


@pytest.mark.slow
def test_a_whole_run_is_the_same(small_run, small_suite):
    before = {path: path.stat().st_mtime_ns for path in small_run.rglob("*")}
    code, out, err = run("verify", small_run, "--suite", small_suite)
    assert code == 0, out + err
    assert len(out.splitlines()) == 12
    assert all(": the same" in line for line in out.splitlines())
    assert {path: path.stat().st_mtime_ns for path in small_run.rglob("*")} == before


def test_an_edited_number_is_found(folder, small_suite):
    edit(folder / "affine.json", transfer_score=50.0, tasks__1__slope=9.0)
    code, out, _ = run("verify", folder / "affine.json", "--suite", small_suite)
    assert code == 1
    assert "transfer_score: stored 50, computed 99" in out or "transfer_score: stored 50, computed 100" in out
    assert "differs by +" in out
    assert "tasks.1.slope: stored 9" in out
    assert len(out.splitlines()) == 2


def outcome(path, stored, fresh):
    outcome = Outcome()
    _compare(path, stored, fresh, outcome)
    return outcome.same, "\n".join(outcome.lines)


def test_rounding_is_no_difference_and_half_a_point_is(folder):
    path = folder / "ridge.json"
    stored = read_result(path)
    near = stored.model_copy(update={"transfer_score": stored.transfer_score - 0.01})
    same, lines = outcome(path, stored, near)
    assert same
    assert "most in transfer_score" in lines
    far = stored.model_copy(update={"transfer_score": stored.transfer_score - 0.5})
    assert not outcome(path, stored, far)[0]


def test_other_code_another_model_and_strange_propensities_are_told(folder):
    path = folder / "ridge.json"
    fresh = read_result(path)
    edit(path, mapping__digest="0" * 64, pair__target__digest="1" * 64)
    (folder / "ridge.safetensors").write_bytes((folder / "affine.safetensors").read_bytes()[:-1] + b"?")
    same, lines = outcome(path, read_result(path), fresh)
    assert not same
    assert "mapping.digest: stored '000" in lines
    assert "pair.target.digest: stored '111" in lines
    assert "the propensities beside it (ridge.safetensors) are not its own" in lines


def test_a_record_without_its_propensities_is_compared_alone(folder):
    path = folder / "ridge.json"
    path.with_suffix(".safetensors").unlink()
    assert outcome(path, read_result(path), read_result(path))[0]


@pytest.fixture(scope="module")
def packed(tmp_path_factory, small_suite):
    """The scaffold, packed as for a pull request."""
    parent = tmp_path_factory.mktemp("packed")
    new_submission("demo", parent)
    code, out, err = run("submit", "pack", parent / "demo", "--suite", small_suite)
    assert code == 0, err
    return parent / "demo", out


@pytest.mark.sandbox
def test_pack_writes_what_a_pull_request_needs(packed):
    folder, out = packed
    assert out.split() == [str(folder / "claimed" / name) for name in ("rotated.json", "PULL_REQUEST.md")]
    claim = read_result(folder / "claimed" / "rotated.json")
    assert claim.state == "claimed"
    assert claim.mapping.name == "demo"
    assert claim.audit is not None
    assert claim.audit.deterministic
    text = (folder / "claimed" / "PULL_REQUEST.md").read_text()
    assert "| rotated | 100.0 [" in text
    code, _, err = run("submit", "check", folder)  # packed, but its card is the scaffold's
    assert code == 2
    assert "field authors: still as `submit new` left it" in err


@pytest.mark.sandbox
def test_a_claim_holds_within_its_interval(packed, small_suite):
    code, out, err = run("verify", packed[0] / "claimed", "--suite", small_suite)
    assert code == 0, out + err
    assert "claimed Transfer Score" in out
    assert "within its interval" in out


@pytest.mark.sandbox
def test_a_claim_that_is_too_good_and_one_of_other_code_are_told(packed):
    path = packed[0] / "claimed" / "rotated.json"
    claim = read_result(path)
    lower = claim.model_copy(update={"transfer_score": 90.0, "mapping": claim.mapping})
    same, lines = outcome(path, claim, lower)
    assert not same
    assert "outside its interval" in lines
    other = claim.mapping.model_copy(update={"digest": "2" * 64})
    same, lines = outcome(path, claim, claim.model_copy(update={"mapping": other}))
    assert not same
    assert "the claim is of another mapping" in lines


BAD = {
    "no file": (["{tmp}/nowhere.json"], "cannot be read"),
    "no results": (["{tmp}"], "no result (.json) in it"),
    "suite unknown": (["{run}/small/rotated/ridge.json"], "suite small does not ship with lrt-bench: give"),
    "another suite": (["{run}/small/rotated/ridge.json", "--suite", "nano"], "it is nano, and"),
    "no submission": (["{packed}/rotated.json", "--suite", "{suite}", "--submission", "{tmp}"], "not found"),
}  # fmt: skip


@pytest.mark.sandbox
@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line(what, tmp_path, small_run, small_suite, packed):
    arguments, message = BAD[what]
    values = {"tmp": tmp_path, "run": small_run, "suite": small_suite, "packed": packed[0] / "claimed"}
    code, out, err = run("verify", *(argument.format(**values) for argument in arguments))
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert message in err


@pytest.fixture
def own_code(random_folder, tmp_path):
    """Results of a model whose code lies beside it, on another corpus and a task that is not the suite's."""
    model = tmp_path / "own"
    shutil.copytree(random_folder("llama"), model)
    auto_map = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    edit(model / "config.json", auto_map=auto_map, model_type="own_lm", architectures=["OwnForCausalLM"])
    (model / "configuration_own.py").write_text(
        "from transformers import LlamaConfig\nclass Own(LlamaConfig):\n    model_type = 'own_lm'\n"
    )
    (model / "modeling_own.py").write_text(
        "from transformers import LlamaForCausalLM\nfrom .configuration_own import Own\n"
        "class OwnForCausalLM(LlamaForCausalLM):\n    config_class = Own\n"
    )
    code, _, err = run(
        "evaluate", "--source", model, "--source-layer", 2, "--target", "nano/S2", "--target-layer", 2,
        "--corpus", "nano", "--task", "sentiment", "--mapping", "ridge", "--bos", "never",
        "--trust-remote-code", "--out", tmp_path / "results",
    )  # fmt: skip
    assert code == 0, err
    return tmp_path / "results"


def test_what_a_result_records_is_given_to_the_run_that_verifies_it_but_not_its_trust(own_code):
    code, out, err = run("verify", own_code)
    assert (code, out) == (2, "")
    assert "give --trust-remote-code if you trust it" in err
    code, out, err = run("verify", own_code, "--trust-remote-code")
    assert code == 0, out + err
    assert all(line.endswith(": the same") or ": the same; most in" in line for line in out.splitlines())
    code, _, err = run("verify", own_code, "--trust-remote-code", "--corpus", "nowhere.txt")
    assert code == 2
    assert "nowhere.txt: no such file" in err


def test_a_task_that_neither_suite_nor_record_knows_is_asked_for(own_code):
    for path in own_code.rglob("*.json"):
        record = json.loads(path.read_text())
        del record["provenance"]["config"]["tasks"]
        path.write_text(json.dumps(record))
    code, _, err = run("verify", own_code, "--trust-remote-code")
    assert code == 2
    assert "no task sentiment: give each task of the result as --task" in err
    assert run("verify", own_code, "--trust-remote-code", "--task", "sentiment")[0] == 0
