"""The readout controls: the gain of the final norm, folded or not, and the unembeddings' map."""

from __future__ import annotations

import copy

import pytest
import torch

from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.models.sites import Site
from lrt_bench.steering.readout import choice_readout, unembedding_map, without
from lrt_bench.steering.sweep import encode_choices


def with_gain(model, folded):
    """The model with an uneven gain, in its final norm or folded into an unembedding of its own."""
    module = copy.deepcopy(model.module)
    gain = torch.rand(model.width, generator=torch.Generator().manual_seed(0)) + 0.5
    module.lm_head.weight = torch.nn.Parameter(module.lm_head.weight.clone())
    with torch.no_grad():
        if folded:
            module.lm_head.weight *= gain * module.model.norm.weight
            module.model.norm.weight.fill_(1)
        else:
            module.model.norm.weight *= gain
    return TransformersModel(f"gain-{folded}", f"gain-{folded}", module, model.tokenizer)


def test_a_folded_gain_gives_the_same_readout(nano):
    models = [with_gain(nano("S"), folded) for folded in (False, True)]
    prompts = encode_choices(Site(nano("S"), 2), find_task("sentiment").choices)
    kept, folded = (choice_readout(model, prompts) for model in models)
    torch.testing.assert_close(kept, folded, rtol=1e-4, atol=1e-5)
    bare = models[0].unembedding(torch.tensor([row.positive for row in prompts])).mean(0)
    assert bool(bare.any())


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gemma3", "gpt_neox", "gpt2", "phi"])
def test_the_readout_is_what_raises_a_logit_most(random_model, architecture):
    """The gradient of a token's logit lies along it, averaged over states."""
    model = random_model(architecture)
    token = torch.tensor([7])
    states = torch.randn(256, model.width, generator=torch.Generator().manual_seed(1))
    states = states - states.mean(1, keepdim=True)
    slope = torch.zeros(model.width)
    direction = model.readout(token)[0]
    base = model.head.choice(model.finish(states[:, None])[:, 0], token.expand(256, 1))
    probes = torch.eye(model.width) * 1e-2
    for axis, probe in enumerate(probes):
        moved = model.head.choice(model.finish((states + probe)[:, None])[:, 0], token.expand(256, 1))
        slope[axis] = (moved - base).mean()
    aligned = torch.nn.functional.cosine_similarity(slope, direction - direction.mean(), dim=0)
    plain = torch.nn.functional.cosine_similarity(slope, direction, dim=0)
    assert max(float(aligned), float(plain)) > 0.95


def test_a_planted_models_readout_is_the_bases_turned(nano):
    base = nano("S")
    planted = plant("widening", base)
    prompts = encode_choices(Site(base, 2), find_task("sentiment").choices)
    torch.testing.assert_close(
        choice_readout(planted, prompts), planted.basis @ choice_readout(base, prompts), rtol=1e-4, atol=1e-5
    )


def test_projecting_out_leaves_nothing_along(nano):
    vectors = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
    axis = torch.randn(8, generator=torch.Generator().manual_seed(1))
    assert (without(vectors, axis) @ axis).abs().max() < 1e-5
    assert torch.equal(without(vectors, torch.zeros(8)), vectors)
    assert not without(-3 * axis[None], axis).any()
    torch.testing.assert_close(without(without(vectors, axis), axis), without(vectors, axis))


def test_the_unembeddings_map_keeps_what_a_vector_does_to_the_logits(nano):
    source, target = Site(nano("S"), 2), Site(nano("L"), 3)
    weight = unembedding_map(source, target)
    assert weight.shape == (192, 96)
    tokens = torch.arange(1000)
    vector = torch.randn(96, generator=torch.Generator().manual_seed(0))
    wanted, readout = (
        side @ moved - (side @ moved).mean()
        for side, moved in (
            (nano("S").readout(tokens), vector),
            (nano("L").readout(tokens), weight @ vector),
        )
    )
    assert torch.corrcoef(torch.stack([wanted, readout]))[0, 1] > 0.9
    assert unembedding_map(source, Site(plant("rotation", nano("S")), 2)) is None


class Renumbered:
    """A tokenizer's vocabulary in another order, every third token spelt otherwise."""

    def __init__(self, vocabulary, places):
        self.vocabulary = {
            token if place % 3 else f"other {token}": int(places[place])
            for token, place in vocabulary.items()
        }

    def get_vocab(self):
        return self.vocabulary


def test_the_unembeddings_map_pairs_tokens_by_what_they_are_called(nano):
    """One model in another tokenizer: over the tokens that both have, the map is the identity."""
    model = nano("S")
    module = copy.deepcopy(model.module)
    places = torch.randperm(len(module.lm_head.weight), generator=torch.Generator().manual_seed(0))
    rows = torch.empty_like(module.lm_head.weight)
    rows[places] = module.lm_head.weight.detach()
    module.lm_head.weight = torch.nn.Parameter(rows)
    other = TransformersModel("other", "other", module, model.tokenizer)
    other.tokenizer = Renumbered(model.tokenizer.get_vocab(), places)
    weight = unembedding_map(Site(model, 2), Site(other, 2))
    torch.testing.assert_close(weight, torch.eye(96), atol=1e-3, rtol=0)
