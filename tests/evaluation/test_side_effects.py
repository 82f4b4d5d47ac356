"""lm-eval under steering: our answers are those of its own class with a hook, sample by sample."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time

import pytest
import torch
from command_line import error_of, output_of
from huggingface_hub import constants

from lrt_bench.data.suites import find_suite
from lrt_bench.errors import UserError
from lrt_bench.evaluation import side_effects
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.side_effects.model import SteeredLM
from lrt_bench.evaluation.side_effects.tasks import load
from lrt_bench.files.format import number, signed
from lrt_bench.models.sites import Site
from lrt_bench.nano.grammar import documents
from lrt_bench.results.schema.records import LmEvalScores
from lrt_bench.results.storage import read_result

pytestmark = pytest.mark.slow  # whole runs

TASK = """
task: NAME
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/NAME.jsonl}, cache_dir: FOLDER/cache}
test_split: test
metadata: {version: 3}
"""
CHOICE = """
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: word_perplexity}]
"""
WRITING = """
output_type: generate_until
doc_to_text: "{{text}}"
doc_to_target: " dog"
generation_kwargs: {until: [".", "!\\n"], max_gen_toks: 10, do_sample: false}
metric_list: [{metric: exact_match}]
"""
GROUP = """
group: both
task: [choice, shots]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Task files of a user's own, and their data."""
    root = tmp_path_factory.mktemp("lm-eval")
    texts = [text for text, _ in zip(documents(77, 40), range(40), strict=True)]
    choices = [
        {"question": text[: text.rfind(" ", 0, 20 + 3 * i)], "choices": options, "answer": i % len(options)}
        for i, text in enumerate(texts[:16])
        for options in [[" dog", " cat", " the big ship"], [" a", " the"]][i % 2 : i % 2 + 1]
    ]
    choices.append(
        {"question": "She saw it. ", "choices": ["The dog", "It was"], "answer": 0}
    )  # a space ends it
    data = {
        "choice": choices,
        "shots": choices[:6],
        "rolling": [{"text": text} for text in [*texts[16:24], " ".join(texts)]],  # the last one has windows
        "writing": [{"text": text[: text.rfind(" ", 0, 30 + i)]} for i, text in enumerate(texts[24:32])],
        "sampled": [{"text": "She"}],
    }
    shots = CHOICE + "fewshot_split: test\nnum_fewshot: 2\n"
    sampled = WRITING.replace("do_sample: false", "do_sample: true, temperature: 1.0")
    kinds = {"choice": CHOICE, "shots": shots, "rolling": ROLLING, "writing": WRITING, "sampled": sampled}
    for name, rows in data.items():
        (root / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        head = TASK.replace("NAME", name).replace("FOLDER", str(root))
        (root / f"{name}.yaml").write_text(head + kinds[name])
    (root / "both.yaml").write_text(GROUP)
    return root


@contextlib.contextmanager
def hooked(model, layer, offset):
    """The model's own module with a forward hook that adds the offset after a block."""

    def hook(module, arguments, output):
        if isinstance(output, tuple):
            return (output[0] + offset, *output[1:])
        return output + offset

    handle = model.blocks[layer - 1].register_forward_hook(hook)
    try:
        yield model.module
    finally:
        handle.remove()


def samples(lm, folder, *tasks):
    """lm-eval's log of every sample: {(task, document): (what the model answered, metrics)}."""
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_path=folder, include_defaults=False).load(list(tasks))
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(1234)
    evaluated = evaluate(lm, loaded, log_samples=True, bootstrap_iters=0)
    return {(task, s["doc_id"]): s["resps"] for task, rows in evaluated["samples"].items() for s in rows}


def theirs(model, layer, offset, folder, *tasks, **settings):
    """The answers of lm-eval's own class, in its own forward, steered by a hook."""
    from lm_eval.models.huggingface import HFLM

    with hooked(model, layer, offset) as module:
        lm = HFLM(pretrained=module, tokenizer=model.tokenizer, batch_size=4, **settings)
        return samples(lm, folder, *tasks)


def an_offset(site, strength=3.0):
    generator = torch.Generator().manual_seed(5)
    states = site.model.states(torch.arange(2, 34)[None], [site.layer])[site.layer].float()
    noise = torch.randn(site.width, generator=generator)
    return strength * states.std() * noise


@pytest.fixture(params=["nano", "gemma2", "gpt_neox"])
def site(request, nano, random_model):
    return Site(nano("S") if request.param == "nano" else random_model(request.param), 2)


def test_likelihoods_are_those_of_lm_eval_with_a_hook(site, folder):
    offset = an_offset(site)
    ours = SteeredLM(site, torch.stack([torch.zeros_like(offset), offset]), batch_size=5)
    moved = []
    for chosen, shift in enumerate((torch.zeros(1), offset)):  # alpha 0 is the model unsteered
        expected = theirs(site.model, site.layer, shift, folder, "choice", "shots")
        ours.chosen = chosen
        logged = samples(ours, folder, "choice", "shots")
        assert logged.keys() == expected.keys()
        assert len(logged) == 17 + 6
        for sample, answers in expected.items():
            for ((likelihood, greedy),), ((score, hit),) in zip(logged[sample], answers, strict=True):
                assert likelihood == pytest.approx(score, abs=1e-4, rel=1e-5), sample
                assert greedy == hit
                moved.append(likelihood)
    half = len(moved) // 2
    assert max(abs(a - b) for a, b in zip(moved[:half], moved[half:], strict=True)) > 0.5


def test_rolling_likelihoods_are_those_of_lm_eval_with_a_hook(site, folder):
    offset = an_offset(site)
    # told to add no BOS: its class would put a second one behind the first
    expected = theirs(site.model, site.layer, offset, folder, "rolling", add_bos_token=False)
    logged = samples(SteeredLM(site, offset[None], batch_size=3), folder, "rolling")
    assert logged.keys() == expected.keys()
    assert len(logged) == 9
    for sample, answer in expected.items():
        assert logged[sample] == [[pytest.approx(answer[0][0], rel=1e-5, abs=1e-3)]], sample


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_writing_is_that_of_lm_eval_with_a_hook(site, folder, strength):
    offset = an_offset(site, strength)
    expected = theirs(site.model, site.layer, offset, folder, "writing")
    ours = SteeredLM(site, torch.stack([-offset, offset]), batch_size=6)
    ours.chosen = 1
    assert samples(ours, folder, "writing") == expected
    assert any(text for ((text,),) in expected.values())


def test_bos_stands_once(nano):
    lm = SteeredLM(Site(nano("S"), 2), torch.zeros(1, 96))
    assert lm.tok_encode("The dog")[0] == lm.prefix_token_id == nano("S").tokenizer.bos_token_id
    assert lm.tok_encode("<bos>The dog") == lm.tok_encode("The dog")
    assert lm.tok_encode("The dog", add_special_tokens=False) == lm.tok_encode("The dog")[1:]


@pytest.fixture(scope="module")
def evaluated(folder, small_suite, tmp_path_factory):
    """`evaluate --side-effects` on the planted pair: its arguments, what it printed, its results."""
    out = tmp_path_factory.mktemp("results")
    arguments = [
        "evaluate", "--suite", str(small_suite), "--mapping", "ridge", "--out", str(out), "--task", "person",
        "--task", "sentiment",
        "--side-effects", "choice,rolling", "--side-effects-path", str(folder), "--side-effects-limit", "8",
    ]  # fmt: skip
    return arguments, output_of(*arguments), out


def test_every_steered_row_has_figures_and_the_planted_ones_agree(evaluated):
    _, printed, out = evaluated
    rows = {path.stem: read_result(path).lm_eval for path in out.rglob("*.json")}
    assert {name for name, figures in rows.items() if figures} == {"native", "random", "ridge"}
    for native, ridge in zip(rows["native"], rows["ridge"], strict=True):
        same = {"value", "value_stderr"}
        assert native.model_dump(exclude=same) == ridge.model_dump(exclude=same)
        assert ridge.value == pytest.approx(native.value, rel=1e-3)
        assert native.alphas == (-0.5, 0.5)
        assert native.concepts == ("person", "sentiment")
        assert native.samples == 8
        assert native.version == "3"
    by_metric = {figures.metric: figures for figures in rows["native"]}
    assert list(by_metric) == ["acc", "acc_norm", "word_perplexity", "bits_per_byte"]
    assert by_metric["acc"].higher_is_better
    assert by_metric["acc"].stderr is not None
    bits = by_metric["bits_per_byte"]
    assert all(abs(value - bits.unsteered) > 0.01 for value in bits.value)
    random = next(figures for figures in rows["random"] if figures.metric == "bits_per_byte")
    assert random.unsteered == bits.unsteered
    assert random.value != bits.value
    acc = f"choice acc: {number(by_metric['acc'].unsteered)} unsteered"
    assert f"{acc}; at alpha {signed(-0.5)}, +0.5:" in printed


def test_concepts_are_averaged(evaluated, small_suite, folder, tmp_path):
    """The mean of two runs with a concept each."""
    by_task = {"both": evaluated[2]}
    for concept in ("person", "sentiment"):
        by_task[concept] = tmp_path / concept
        effects = load(["rolling"], folder, limit=8)
        suite = find_suite(str(small_suite))
        Evaluation(
            suite, RunConfig(mappings=["affine"], tasks=[concept], out=by_task[concept]), side_effects=effects
        ).run()
    values = {
        name: {f.metric: f.value for f in read_result(next(out.rglob("native.json"))).lm_eval}[
            "bits_per_byte"
        ]
        for name, out in by_task.items()
    }
    assert values["person"] != values["sentiment"]
    means = [sum(pair) / 2 for pair in zip(values["person"], values["sentiment"], strict=True)]
    assert values["both"] == pytest.approx(means, rel=1e-5)


def test_figures_are_shown(evaluated):
    shown = output_of("show", next(evaluated[2].rglob("ridge.json")))
    assert "rolling bits_per_byte: " in shown
    assert "2 concepts, 8 samples, lm-eval " in shown


@pytest.mark.slow
def test_finished_cells_are_kept_and_those_that_lack_figures_are_computed(evaluated, folder):
    arguments, _, _ = evaluated
    assert "0 cells computed, 9 finished before" in output_of(*arguments)
    other = output_of(*arguments[:-2], "--side-effects-limit", "9")
    assert "3 cells computed, 6 finished before" in other  # the rows without figures are what they were
    assert "3 cells computed, 6 finished before" in output_of(*arguments[:-6])


def test_data_that_is_on_the_hub_alone_is_missed_at_once(tmp_path, monkeypatch):
    (tmp_path / "away.yaml").write_text(
        "task: away\ndataset_path: org/away\noutput_type: multiple_choice\ntest_split: test\n"
        "doc_to_text: '{{q}}'\ndoc_to_choice: ['a', 'b']\ndoc_to_target: 0\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    begun = time.monotonic()
    with pytest.raises(
        UserError, match=rf"away: lm-eval cannot load it: .*, and {address} cannot be reached"
    ):
        load(["away"], tmp_path)
    assert time.monotonic() - begun < 10  # its client alone pauses for half a minute between its tries
    assert not constants.HF_HUB_OFFLINE  # as it was


def test_a_changed_document_changes_the_digest(folder, tmp_path):
    before = load(["choice"], folder)
    assert before.digest == load(["choice"], folder).digest
    assert before.digest != load(["choice"], folder, limit=3).digest
    for name in ("choice.yaml", "choice.jsonl"):
        text = (folder / name).read_text().replace(str(folder), str(tmp_path))
        (tmp_path / name).write_text(text)
    assert load(["choice"], tmp_path).digest == before.digest
    data = tmp_path / "choice.jsonl"
    data.write_text(data.read_text().replace(" dog", " bird"))
    assert load(["choice"], tmp_path).digest != before.digest


def test_a_group_stands_for_its_tasks(folder, nano):
    effects = load(["both", "rolling"], folder, limit=4)
    lm = SteeredLM(Site(nano("S"), 2), torch.zeros(1, 96))
    (run,) = effects.run(lm)
    parts = [run["results"][name]["acc,none"] for name in ("choice", "shots")]
    assert run["results"]["both"]["acc,none"] == pytest.approx(sum(parts) / 2)
    assert effects.reported == ["both", "rolling"]


def test_lm_eval_leaves_streams_and_generators_alone(folder, nano, capfd):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    effects = load(["rolling"], folder, limit=2)
    effects.run(SteeredLM(Site(nano("S"), 2), torch.zeros(1, 96)))
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert "DISABLE_MULTIPROC" not in os.environ


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("sampled", "--side-effects sampled: it samples"),
        (" , ", "--side-effects: name at least one"),
        ("gone", "--side-effects gone: lm-eval cannot load it"),
        ("nothing-like-it", "--side-effects nothing-like-it: no such lm-eval task"),
    ],
)
def test_a_task_that_cannot_be_run_is_one_line(folder, tmp_path, names, message):
    for name in ("sampled", "gone"):
        text = TASK.replace("NAME", name).replace("FOLDER", str(folder)) + CHOICE
        (tmp_path / f"{name}.yaml").write_text(
            text if name == "gone" else (folder / "sampled.yaml").read_text()
        )
    with pytest.raises(UserError) as error:
        load(names.split(","), tmp_path)
    assert str(error.value).startswith(message)


def test_without_lm_eval_one_line_says_what_to_install(folder, tmp_path, monkeypatch):
    for name in ["lm_eval", *(name for name in sys.modules if name.startswith("lm_eval."))]:
        monkeypatch.setitem(sys.modules, name, None)
    for module in ("model", "tasks"):  # as in a process that has not read them
        monkeypatch.delitem(sys.modules, f"{side_effects.__name__}.{module}")
        monkeypatch.delattr(side_effects, module)
    options = ["--side-effects", "choice", "--side-effects-path", folder, "--out", tmp_path / "out"]
    assert "pip install lrt-bench[lm-eval]" in error_of("evaluate", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--side-effects", "x", "--side-effects-path", "gone"], "--side-effects-path gone: no such folder"),
        (["--side-effects-limit", "3"], "want --side-effects TASK"),
    ],
)
def test_bad_options_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in error_of("evaluate", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_record_has_one_value_an_alpha():
    fields = {
        "task": "t", "metric": "acc", "higher_is_better": True, "version": "1", "digest": "0", "lm_eval": "0",
        "samples": 1, "concepts": ["c"], "alphas": [-0.5, 0.5], "unsteered": 0.5, "stderr": None,
        "value": [0.5, 0.5], "value_stderr": [None, None],
    }  # fmt: skip
    assert LmEvalScores.model_validate(fields).filter == "none"
    with pytest.raises(ValueError, match="1 numbers, but alphas has 2"):
        LmEvalScores.model_validate(fields | {"value": [0.5]})
