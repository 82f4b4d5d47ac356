"""The embedded family: its grammar, its trainer, its weights, its gate."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace

import pytest
import torch

from lrt_bench.nano import lexicon
from lrt_bench.nano.family import FAMILY, WEIGHTS
from lrt_bench.nano.grammar import LATENTS, Latents, Writer, documents
from scripts.nano.gate import SWING, gate_tasks, swings, target_sites, too_small
from scripts.nano.train import Run, rows, train_tokenizer

pytestmark = pytest.mark.slow  # whole runs


def test_one_seed_one_text():
    assert list(documents(3, 50)) == list(documents(3, 50))
    assert list(documents(3, 50)) != list(documents(4, 50))


def write(seed, **latents):
    rng = random.Random(seed)
    return Writer(random.Random(seed), Latents.sample(rng, **latents)).prose(12)


@pytest.mark.parametrize("seed", range(20))
def test_documents_show_their_latents(seed):
    english = {"language": "en", "case": "lower"}
    good, bad = (set(lexicon.ADJECTIVES["en"][s]) for s in ("positive", "negative"))
    words = set(write(seed, sentiment="positive", **english).replace(".", "").replace("!", "").split())
    assert not words & bad
    assert not set(write(seed, sentiment="negative", **english).rstrip(".!").split()) & good
    assert "!" not in write(seed, mood="calm")
    assert "." not in write(seed, mood="excited")
    assert write(seed, case="upper").isupper()
    assert not {"was", "is"} & set(write(seed, tense="future", **english).split())
    assert " I " not in f" {write(seed, person='third', **english)} "
    french = set(write(seed, language="fr", case="lower").lower().split())
    assert not {"the", "she", "he", "was"} & french


def test_articles_need_no_elision():
    text = " ".join(documents(21, 3000)).lower()
    for wrong in (" a apple", " a island", " le o", " la i", " a e", " un a "):
        assert wrong not in text


def test_a_contrast_changes_one_latent_only():
    latents = Latents.sample(random.Random(0), language="en")
    assert latents.but(tense="past" if latents.tense != "past" else "future") != latents
    changed = replace(latents, case="upper")
    assert changed.topic == latents.topic
    assert set(LATENTS) == set(vars(latents))


def test_rows_begin_with_bos_and_fill_the_context():
    tokenizer = train_tokenizer()
    drawn = list(itertools.islice(rows(tokenizer, 9), 50))
    assert len(drawn) == 50
    for row in drawn:
        assert len(row) == 128
        assert row[0] == tokenizer.bos_token_id
        assert row.count(tokenizer.bos_token_id) == 1


def test_a_training_run_that_was_stopped_ends_in_the_same_weights(tmp_path):
    size = replace(FAMILY["S"], width=32, layers=2, intermediate=64, tokens=6 * 4 * 128, batch=4)

    def train(stop_after):
        folder = tmp_path / str(stop_after)
        run = Run(size, folder, "cpu")
        run.resume()
        for batch in run.batches():
            run.train_step(batch)
            if run.step == stop_after:
                run.save()
                run = Run(size, folder, "cpu")
                run.resume()
                assert run.step == stop_after
                for later in run.batches():
                    run.train_step(later)
                break
        return run.model.state_dict()

    whole, resumed = train(None), train(3)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_family_is_small_and_in_16_bit():
    from safetensors import safe_open

    files = list(WEIGHTS.rglob("*.safetensors"))
    assert sum(path.name == "model.safetensors" for path in files) == len(FAMILY) >= 4
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*")) < 25_000_000
    for path in files:
        with safe_open(path, "pt") as tensors:
            assert {tensors.get_tensor(name).dtype for name in tensors.keys()} == {torch.float16}  # noqa: SIM118


def test_the_family_shares_one_tokenizer():
    texts = {(size.folder / "tokenizer.json").read_text() for size in FAMILY.values()}
    assert len(texts) == 1


@pytest.mark.parametrize("name", FAMILY)
def test_training_was_long_enough(name):
    record = json.loads((FAMILY[name].folder / "training.json").read_text())
    assert record["tokens"] >= FAMILY[name].tokens
    if name in ("S", "S2", "M"):
        assert record["tokens"] >= 20 * record["parameters"]
    losses = [point["validation_loss"] for point in record["curve"]]
    assert losses[-1] < 0.9 < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY)
def test_the_gate(name):
    measured = {layer: swings(name, layer, gate_tasks()) for layer in target_sites()[name]}
    assert not too_small(measured)


@pytest.mark.slow
def test_the_gate_wants_one_layer_where_a_task_swings():
    tasks = gate_tasks()
    good, bad = dict.fromkeys(tasks, SWING), dict.fromkeys(tasks, SWING - 0.1)
    assert too_small({1: bad, 2: good}) == []
    assert too_small({1: bad | {tasks[0]: 9.0}, 2: bad}) == tasks[1:]
