"""States run on under many offsets: the same as every offset added and run on for itself."""

from __future__ import annotations

import copy

import pytest
import torch

from lrt_bench.models.blocks import llama_offsets as shifted_block
from lrt_bench.models.decoders.planted import plant
from lrt_bench.models.sites import Site
from lrt_bench.steering.prefix_tree import prefix_trees, tree_frame, tree_states
from lrt_bench.steering.resume import Steered

SHIFTED = ("llama", "mistral", "qwen2", "qwen3")
SEQUENCES = [
    [5, 6, 7, 8, 9, 10, 11],
    [5, 6, 7, 20, 21],
    [5, 30, 31, 32],
    [40, 41, 42, 43, 44, 45, 46, 47, 48],
]


@pytest.fixture(params=[*SHIFTED, "gpt_neox", "gemma2", "planted"])
def model(request, random_model):
    """A model whose norms' gains and whose biases, where it has any, are no ones and zeros."""
    planted = request.param == "planted"
    chosen = copy.deepcopy(random_model("llama" if planted else request.param))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weights in chosen.module.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weights += 0.3 * torch.randn(weights.shape, generator=generator)
    return plant("widening", chosen) if planted else chosen


def offsets(model, count=3):
    """Some offsets, nothing among them."""
    drawn = torch.randn(count, model.width, generator=torch.Generator().manual_seed(2))
    return torch.cat([4 * drawn, torch.zeros(1, model.width)])


@pytest.mark.parametrize("layer", [1, 3, 4])
def test_many_offsets_at_once_are_each_run_on_alone(model, layer):
    ids = torch.tensor([SEQUENCES[0], SEQUENCES[0][::-1]])
    positions = torch.tensor([[6, 2], [0, 5]])
    states = model.states(ids, [layer])[layer]
    steered = Steered(Site(model, layer), states)
    alone = torch.cat([model.resume(states + offset, layer) for offset in offsets(model)])
    torch.testing.assert_close(steered.run(offsets(model)), alone, atol=2e-4, rtol=1e-4)
    rows = torch.arange(len(alone))[:, None]
    wanted = alone[rows, positions.repeat(4, 1)]
    torch.testing.assert_close(steered.some(offsets(model), positions), wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [1, 3])
def test_a_tree_under_many_offsets_is_its_sequences_run_alone(model, layer):
    [tree] = prefix_trees(SEQUENCES, 64)
    frame = tree_frame(model, tree)
    states = tree_states(model, tree, frame, SEQUENCES, layer)[None]
    states_after = Steered(Site(model, layer), states, frame).some(offsets(model), tree.last[None])
    for place, index in enumerate(tree.prompts):
        alone = model.states(torch.tensor([SEQUENCES[index]]), [layer])[layer]
        wanted = torch.stack([model.resume(alone + offset, layer)[0, -1] for offset in offsets(model)])
        torch.testing.assert_close(states_after[:, place], wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", SHIFTED)
def test_these_architectures_are_not_run_whole(random_model, architecture):
    model = random_model(architecture)
    states = model.states(torch.tensor([SEQUENCES[0]]), [2])[2]
    assert model.shifted(states, 2) is not None
    assert model.shifted(states, model.n_layers) is None  # no block is left


def test_a_block_that_reads_its_input_otherwise_is_noticed(random_model, monkeypatch):
    """A norm that subtracts the mean is not linear up to a number: the block must be run whole."""
    model = random_model("llama")
    states, call = model.states(torch.tensor([SEQUENCES[0]] * 2), [2])[2], model.frame(7).calls[2]
    assert shifted_block.fits(model.blocks[2], call, states)
    block = copy.deepcopy(model.blocks[2])
    norm = block.input_layernorm
    block.input_layernorm.forward = lambda x: type(norm).forward(norm, x - x.mean(-1, keepdim=True))
    assert not shifted_block.fits(block, call, states)
