"""The sweep against two full forwards with a hook, one prompt and one alpha at a time."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES

from lrt_bench.data.corpus import encode
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoicePrompt, ContrastPair
from lrt_bench.errors import UserError
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.sweep import Interventions, Sweep, encode_choices, unit

ALPHAS = (-0.5, 0.0, 0.25, 0.5)
PROMPTS = [
    ChoicePrompt(prompt="She saw the dog near the bone. It was a", positive=" lovely", negative=" nasty"),
    ChoicePrompt(prompt="It was a", positive=" great", negative=" bad"),
    ChoicePrompt(prompt="In the morning, he found the ship. The", positive=" dog", negative=" star"),
]


def slow_sweep(site, prompts, vector, alphas, spread):
    """Full forwards of the untouched module, a hook that adds at every token, whole vocabulary."""
    tokenizer = site.model.tokenizer
    propensities = torch.zeros(len(prompts), len(alphas))
    for i, row in enumerate(prompts):
        ids = torch.tensor([tokenizer(row.prompt)["input_ids"]])
        options = (row.positive, row.negative)
        tokens = [tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in options]
        for a, alpha in enumerate(alphas):
            offset = alpha * spread * vector / vector.norm()

            def steer(module, args, output, offset=offset):
                if isinstance(output, tuple):
                    return (output[0] + offset, *output[1:])
                return output + offset

            handle = site.model.blocks[site.layer - 1].register_forward_hook(steer)
            with torch.inference_mode():
                logits = site.model.module(input_ids=ids).logits[0, -1]
            handle.remove()
            propensities[i, a] = logits[tokens[0]] - logits[tokens[1]]
    return propensities


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("layer", [2, 4])
def test_the_sweep_is_the_slow_loop(random_model, architecture, layer):
    site = Site(random_model(architecture), layer)
    vectors = torch.randn(2, site.width, generator=torch.Generator().manual_seed(0))
    propensities = Sweep(site, PROMPTS, ALPHAS, 3.0, batch_size=4).run(vectors)
    for v in range(2):
        expected = slow_sweep(site, PROMPTS, vectors[v], ALPHAS, 3.0)
        torch.testing.assert_close(propensities[v], expected, atol=2e-4, rtol=1e-4)


def test_the_sweep_on_the_embedded_family_is_the_slow_loop(nano):
    site = Site(nano("S"), 2)
    task = find_task("sentiment")
    vector = concept_states(site, task.vector).vector
    propensities = Sweep(site, task.choices[:12], ALPHAS, 4.0, batch_size=64).run(vector[None])[0]
    expected = slow_sweep(site, task.choices[:12], vector, ALPHAS, 4.0)
    torch.testing.assert_close(propensities, expected, atol=1e-4, rtol=1e-5)


def test_the_batch_size_does_not_matter(nano):
    site = Site(nano("S"), 2)
    prompts = find_task("person").choices
    vectors = torch.randn(3, site.width)
    runs = [
        Sweep(site, prompts, ALPHAS, 4.0, batch_size=batch_size).run(vectors) for batch_size in (1, 13, 512)
    ]
    for other in runs[1:]:
        torch.testing.assert_close(other, runs[0], atol=1e-4, rtol=1e-5)


def test_a_vector_turned_round_acts_as_at_minus_alpha(nano):
    site = Site(nano("S"), 2)
    vector = torch.randn(site.width)
    sweep = Sweep(site, PROMPTS, (-0.5, 0.0, 0.5), 4.0, batch_size=16)
    both = sweep.run(torch.stack([vector, -vector]))  # the twin is read off
    alone = sweep.run(-vector[None])  # the twin is swept
    torch.testing.assert_close(both[1], alone[0], atol=1e-5, rtol=1e-5)


def test_alpha_zero_and_the_zero_vector_are_the_baseline_exactly(nano):
    sweep = Sweep(Site(nano("S"), 2), PROMPTS, ALPHAS, 4.0, batch_size=16)
    propensities = sweep.run(torch.stack([torch.zeros(96), torch.randn(96)]))
    assert torch.equal(propensities[0], sweep.baseline[:, None].expand(-1, 4))
    assert torch.equal(propensities[1, :, 1], sweep.baseline)


def test_planted_models_are_steered_alike(nano):
    base = nano("S")
    planted = plant("widening", base)
    vector = torch.randn(96)
    own = Sweep(Site(base, 2), PROMPTS, ALPHAS, 4.0, batch_size=16).run(vector[None])
    moved = Sweep(Site(planted, 2), PROMPTS, ALPHAS, 4.0, batch_size=16).run((planted.basis @ vector)[None])
    torch.testing.assert_close(moved, own, atol=2e-3, rtol=1e-3)


def test_vectors_that_are_not_finite_are_refused(nano):
    sweep = Sweep(Site(nano("S"), 2), PROMPTS, ALPHAS, 4.0, batch_size=16)
    with pytest.raises(UserError, match="NaN"):
        sweep.run(torch.full((1, 96), torch.nan))


def test_options_that_begin_alike_are_left_out(nano):
    rows = [*PROMPTS, ChoicePrompt(prompt="It is", positive=" a dog", negative=" a star")]
    assert len(encode_choices(Site(nano("S"), 2), rows)) == len(PROMPTS)


def test_options_are_read_after_the_prompt(nano):
    site = Site(nano("S"), 2)
    encoded = encode_choices(site, PROMPTS)[0]
    tokenizer = site.model.tokenizer
    assert tokenizer.decode([encoded.positive]) == " lovely"
    assert encoded.ids[0] == tokenizer.bos_token_id
    assert encoded.ids.count(tokenizer.bos_token_id) == 1


def test_interventions_by_their_definitions():
    g = torch.Generator().manual_seed(0)
    states, vector = torch.randn(1, 4, 6, generator=g), torch.randn(6, generator=g)
    direction = vector / vector.norm()
    added = Interventions.adding(2 * direction[None])
    torch.testing.assert_close(added.apply(states, 2, 2) - states, (2 * direction).expand(1, 4, -1))
    assert added.apply(states, 3, 2) is states
    kept = states - (states @ direction)[..., None] * direction
    at_site, after_all = (Interventions.ablating(vector[None], everywhere=all_) for all_ in (False, True))
    torch.testing.assert_close(at_site.apply(states, 2, 2), kept)
    assert at_site.apply(states, 3, 2) is states
    torch.testing.assert_close(after_all.apply(states, 3, 2), kept)
    assert not unit(torch.zeros(6)).any()


def test_a_concepts_vector_is_the_difference_of_last_token_means(nano):
    site = Site(nano("S"), 2)
    pairs = [
        ContrastPair(positive="It was a lovely day.", negative="It was a nasty day."),
        ContrastPair(positive="The dog is great. It is a", negative="The dog is bad. It is a"),
        ContrastPair(positive="She loved it.", negative="She hated it."),
    ]
    states = concept_states(site, pairs, batch_size=2)

    def slow(texts):
        encoded = encode(site.model.tokenizer, texts)
        return torch.stack([site.model.states(torch.tensor([t.ids]), [2])[2][0, -1] for t in encoded])

    positive, negative = slow([p.positive for p in pairs]), slow([p.negative for p in pairs])
    torch.testing.assert_close(states.vector, positive.mean(0) - negative.mean(0), atol=1e-4, rtol=1e-4)
    first, second = states.half(0), states.half(1)
    assert len(first.positive) == 2
    assert len(second.positive) == 1
    torch.testing.assert_close(second.vector, positive[1] - negative[1], atol=1e-4, rtol=1e-4)


def test_halves_share_no_pair_and_balance_alternating_options():
    from lrt_bench.steering.concepts import ConceptStates

    letters = torch.tensor([[1.0], [-1.0]]).repeat(8, 1)
    states = ConceptStates(letters, -letters)
    for which in (0, 1):
        assert states.half(which).positive.sum() == 0
        assert len(states.half(which).positive) == 8
    numbered = ConceptStates(torch.arange(10.0)[:, None], torch.zeros(10, 1))
    seen = torch.cat([numbered.half(0).positive, numbered.half(1).positive]).flatten()
    assert sorted(seen.tolist()) == list(range(10))


def test_texts_longer_than_the_model_reads_are_named(nano):
    with pytest.raises(UserError, match="a text of 300 tokens: it reads 128"):
        nano("S").states(torch.ones(1, 300, dtype=torch.long), [2])
