"""Behaviour share against a plain script (`helpers/plain_behaviour.py`), and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_behaviour import concept_vector, plain_divergences, tokenized, written

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.errors import UserError
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.loading import load_model
from lrt_bench.models.sites import Site
from lrt_bench.steering.behaviour import Concept, behaviours, share, weighted
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.continuation import POSITIONS, steered_tokens, write_greedily
from lrt_bench.steering.divergences import DIVERGENCES
from lrt_bench.steering.steered_texts import Setting

pytestmark = pytest.mark.slow  # whole runs

TEXTS = ["She saw the dog near the bone. It was a", "It was a", "In the morning, he found the ship. The"]
# small random models: steering must move them, not drown them
LENGTH, TOKENS = 3.0, 4


def prompts_of(model):
    return [tokenized(model.tokenizer, text) for text in TEXTS]


def behaviour_of(site, prompts, native, group, setting, rows=64):
    [behaviour] = behaviours(site, [Concept(prompts, native, group)], setting, rows)
    return behaviour


def draw(width, count, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "layer", "length"), [("S", 2, 150.0), ("L", 2, 350.0)])
def test_the_share_of_a_concept_is_the_plain_scripts(nano, size, layer, length):
    model, task = nano(size), find_task("sentiment")
    site = Site(model, layer)
    native = torch.from_numpy(concept_vector(model.module, model.tokenizer, task.vector, layer)).float()
    torch.testing.assert_close(native, concept_states(site, task.vector).vector, rtol=1e-3, atol=2e-3)
    row = 0.8 * native / native.norm() + 0.6 * draw(site.width, 1)[0] / site.width**0.5
    prompts = [tokenized(model.tokenizer, prompt.prompt) for prompt in task.choices[:4]]
    setting = Setting((-1.0, 0.5), length, TOKENS)
    behaviour = behaviour_of(site, prompts, native[None], [0] * len(prompts), setting)
    divergences = behaviour.divergence(row[None, None])[0, ..., 0]
    lengths = [alpha * length for alpha in setting.alphas]
    expected, unsteered = plain_divergences(
        model.module, model.tokenizer, prompts, layer, native.double().numpy(), row.double().numpy(), lengths,
        TOKENS, "hellinger",
    )  # fmt: skip
    np.testing.assert_allclose(divergences, expected, rtol=2e-3, atol=2e-5)
    kept = share(weighted(divergences, 0.5), weighted(behaviour.unsteered[..., 0], 0.5))
    plain = [0.5 * part[..., 0] + 0.5 * part[..., 1:].mean(-1) for part in (expected, unsteered)]
    assert kept == pytest.approx(1 - plain[0].sum() / plain[1].sum(), abs=1e-5)
    assert 0.1 < kept < 0.98


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_every_divergence_and_position_on_other_architectures(random_model, architecture, positions):
    model = random_model(architecture)
    site = Site(model, 2)
    native, row = draw(site.width, 2)
    setting = Setting((-1.0, 1.0), LENGTH, TOKENS, tuple(DIVERGENCES.values()), positions)
    behaviour = behaviour_of(site, prompts_of(model), native[None], [0, 0, 0], setting, rows=2)
    own = behaviour.divergence(row[None, None])[0]
    for place, kind in enumerate(DIVERGENCES):
        expected, unsteered = plain_divergences(
            model.module, model.tokenizer, prompts_of(model), 2, native.double().numpy(),
            row.double().numpy(), [-LENGTH, LENGTH], TOKENS, kind, positions,
        )  # fmt: skip
        np.testing.assert_allclose(behaviour.unsteered[..., place], unsteered, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(own[..., place], expected, rtol=1e-3, atol=1e-5)


def test_positions_share_the_prompt_between_them():
    before, after = (steered_tokens(name, 3, 6) for name in ("but-last", "last"))
    assert before.tolist() == [True, True, False, False, False, False]
    assert torch.equal(before | after, steered_tokens("all", 3, 6))
    assert not (before & after).any()


def test_what_is_written_is_what_whole_forwards_write(random_model):
    model = random_model("llama")
    site = Site(model, 2)
    offsets = 4 * draw(site.width, 3)
    greedy = write_greedily(site, prompts_of(model), offsets, 6, rows=2)
    for prompt, offset, text in zip(prompts_of(model), offsets, greedy, strict=True):
        assert text.ids == written(model.module, model.tokenizer, prompt, 2, offset, 6, "all")


def test_no_steering_is_zero_and_native_is_one(nano):
    site = Site(nano("S"), 2)
    native = draw(96, 2)
    behaviour = behaviour_of(site, prompts_of(nano("S")), native, [0, 1, 0], Setting((-1.0, 1.0), 150.0, 3))
    divergences = behaviour.divergence(torch.stack([torch.zeros(2, 96), native, native * 7]))
    assert torch.equal(divergences[0], behaviour.unsteered)
    assert behaviour.unsteered.sum() > 0.1
    assert divergences[1].max() < 1e-6
    assert divergences[2].max() < 1e-6


def test_each_prompt_is_compared_with_the_reference_of_its_group(nano):
    site, prompts = Site(nano("S"), 2), prompts_of(nano("S"))
    native, row = draw(96, 2), draw(96, 2, seed=1)
    setting = Setting((-1.0, 1.0), 150.0, 3)
    both = behaviour_of(site, prompts, native, [0, 1, 0], setting).divergence(row[None])[0]
    for group in (0, 1):
        chosen = [p for p, own in enumerate([0, 1, 0]) if own == group]
        behaviour = behaviour_of(
            site, [prompts[p] for p in chosen], native[group : group + 1], [0] * len(chosen), setting
        )
        alone = behaviour.divergence(row[None, group : group + 1])[0]
        torch.testing.assert_close(both[chosen], alone, rtol=1e-3, atol=1e-6)


def test_neither_the_batch_size_nor_the_block_of_tokens_matters(nano, monkeypatch):
    site, prompts = Site(nano("S"), 2), prompts_of(nano("S"))
    native, rows = draw(96, 1), draw(96, 3, seed=1)[:, None]
    setting = Setting((-1.0, 1.0), 150.0, 3)
    whole = behaviour_of(site, prompts, native, [0, 0, 0], setting).divergence(rows)
    monkeypatch.setattr("lrt_bench.steering.steered_texts.BLOCK", 1536 * 2)
    monkeypatch.setattr("lrt_bench.models.base.LEAST", 1)
    small = behaviour_of(site, prompts, native, [0, 0, 0], setting, rows=1).divergence(rows)
    torch.testing.assert_close(small, whole, rtol=1e-3, atol=1e-6)


def test_planted_models_behave_alike(nano):
    base = nano("S")
    planted = plant("widening", base)
    native, row = draw(96, 1), draw(96, 1, seed=1)
    setting = Setting((-1.0, 1.0), 150.0, 3)
    own = behaviour_of(Site(base, 2), prompts_of(base), native, [0, 0, 0], setting)
    moved = behaviour_of(Site(planted, 2), prompts_of(base), native @ planted.basis.T, [0, 0, 0], setting)
    torch.testing.assert_close(
        moved.divergence(row[None] @ planted.basis.T), own.divergence(row[None]), rtol=5e-3, atol=1e-5
    )


def test_a_text_that_ends_is_read_up_to_its_end(random_folder):
    """The prediction of the end is the last that counts."""
    model = load_model(str(random_folder("llama")))
    site, prompts, native = Site(model, 2), prompts_of(model)[:1], draw(48, 1)
    setting = Setting((1.0,), LENGTH, 4)
    whole = behaviour_of(site, prompts, native, [0], setting)
    text = write_greedily(site, prompts, LENGTH * native / native.norm(), 4)[0].ids[len(prompts[0]) :]
    assert text[0] != text[1]
    model.ends = frozenset([text[1]])
    cut = behaviour_of(site, prompts, native, [0], setting)
    torch.testing.assert_close(cut.unsteered[..., :2, 0], whole.unsteered[..., :2, 0], rtol=1e-4, atol=1e-6)
    assert not cut.unsteered[..., 2:, 0].any()


def test_what_cannot_be_measured_is_refused(nano):
    site, prompts = Site(nano("S"), 2), prompts_of(nano("S"))
    behaviour = behaviour_of(site, prompts, draw(96, 1), [0, 0, 0], Setting((1.0,), 150.0, 2))
    with pytest.raises(UserError, match="NaN"):
        behaviour.divergence(torch.full((1, 1, 96), torch.nan))
    with pytest.raises(UserError, match="it reads 128"):
        behaviour_of(site, [[1] * 127], draw(96, 1), [0], Setting((1.0,), 150.0, 2))
    with pytest.raises(ValueError, match="none of them 0"):
        Setting((0.0, 1.0), 150.0, 2)


def test_the_weight_of_the_first_token():
    divergence = torch.tensor([[[4.0, 1.0, 3.0], [2.0, 2.0, 2.0]]])  # one prompt, two alphas, three tokens
    assert weighted(divergence, 1.0).tolist() == [6.0]
    assert weighted(divergence, 0.0).tolist() == [4.0]
    assert share(torch.tensor([[1.0, 1.0], [0.0, 2.0]]), torch.tensor([4.0, 4.0])) == pytest.approx(0.75)
    assert share(torch.zeros(1, 2), torch.zeros(2)) is None
