"""Prefix trees against the set of all beginnings, and their states against those of plain sequences."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES
from hypothesis import given
from hypothesis import strategies as st

from lrt_bench.data.tasks import ChoicePrompt
from lrt_bench.models.base import Frame
from lrt_bench.models.sites import Site
from lrt_bench.steering import prefix_tree
from lrt_bench.steering import sweep as steering
from lrt_bench.steering.prefix_tree import forest_states, prefix_trees, tree_frame, tree_states
from lrt_bench.steering.sweep import Sweep

SEQUENCES = [[0, 5, 6, 7, 8, 9, 10, 11], [0, 5, 6, 9], [0, 5, 6, 7, 8], [0, 4, 4], [0, 5, 6, 9]]
PROMPTS = [
    ChoicePrompt(prompt=f"{begin} the dog near the {end}. It was a", positive=" lovely", negative=" nasty")
    for begin in ("She saw", "She saw that he found")
    for end in ("bone", "ship", "star")
]


def beginnings(sequences):
    return {tuple(row[: end + 1]) for row in sequences for end in range(len(row))}


def path(tree, node, sequences):
    """The tokens from the root to a node, read off what the node sees."""
    seen = tree.seen[node].nonzero()[:, 0].tolist()
    ordered = sorted(seen, key=lambda other: int(tree.depth[other]))
    return [sequences[tree.prompts[int(tree.owner[other])]][int(tree.depth[other])] for other in ordered]


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12),
    st.integers(1, 20),
)
def test_a_tree_has_every_beginning_once(sequences, nodes):
    trees = prefix_trees(sequences, nodes)
    assert sorted(index for tree in trees for index in tree.prompts) == list(range(len(sequences)))
    for tree in trees:
        own = [sequences[index] for index in tree.prompts]
        assert len(tree) == len(beginnings(own))
        assert len(tree) <= nodes or len(beginnings(own)) == max(map(len, own))
        assert [path(tree, int(node), sequences) for node in tree.last] == own
        assert {tuple(path(tree, node, sequences)) for node in range(len(tree))} == beginnings(own)


def test_without_sequences_there_is_no_tree():
    assert prefix_trees([], 8) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_trees_states_are_those_of_its_sequences(random_model, architecture):
    model = random_model(architecture)
    [tree] = prefix_trees(SEQUENCES, 100)
    frame = tree_frame(model, tree)
    assert frame is not None
    states = tree_states(model, tree, frame, SEQUENCES, 3)
    for place, index in enumerate(tree.prompts):
        alone = model.states(torch.tensor([SEQUENCES[index]]), [3])[3][0]
        nodes = tree.seen[tree.last[place]].nonzero()[:, 0]
        order = tree.depth[nodes].argsort()
        torch.testing.assert_close(states[nodes[order]], alone, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_trees_and_padded_batches_sweep_alike(random_model, architecture, monkeypatch):
    site = Site(random_model(architecture), 2)
    vectors = torch.randn(2, site.width, generator=torch.Generator().manual_seed(0))
    alphas = (-0.5, 0.0, 0.5)
    trees = Sweep(site, PROMPTS, alphas, 3.0, batch_size=8)
    assert all(packed.steered.frame for packed in trees._packed)
    assert sum(packed.steered.states.shape[1] for packed in trees._packed) < sum(map(len, trees._ids))
    monkeypatch.setattr(steering, "tree_frame", lambda model, tree: None)
    padded = Sweep(site, PROMPTS, alphas, 3.0, batch_size=8)
    assert not any(packed.steered.frame for packed in padded._packed)
    torch.testing.assert_close(trees.run(vectors), padded.run(vectors), atol=2e-4, rtol=1e-4)


def test_a_model_that_a_tree_deceives_is_run_plainly(random_model, monkeypatch):
    """A mask that hides nothing gives other logits: the sweep notices and does without trees."""
    site = Site(random_model("llama"), 2)

    def open_frame(model, tree):
        calls = tree_frame(model, tree).calls
        return Frame([call | {"attention_mask": torch.zeros_like(call["attention_mask"])} for call in calls])

    plain = Sweep(site, PROMPTS, (0.0, 1.0), 1.0, batch_size=8)
    monkeypatch.setattr(site.model, "tree_agreement", {})  # it looks at a model once
    monkeypatch.setattr(steering, "tree_frame", open_frame)
    noticed = Sweep(site, PROMPTS, (0.0, 1.0), 1.0, batch_size=8)
    assert not any(packed.steered.frame for packed in noticed._packed)
    torch.testing.assert_close(noticed.baseline, plain.baseline, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 100.0], ids=["trees", "batches"])
def test_below_the_site_trees_and_whole_sequences_are_the_same(random_model, share, monkeypatch):
    model = random_model("qwen2")
    trees = prefix_trees(SEQUENCES, 8)
    frames = [tree_frame(model, tree) for tree in trees]
    assert len(trees) > 1
    monkeypatch.setattr(prefix_tree, "SHARED", share)
    for tree, states in zip(trees, forest_states(model, trees, frames, SEQUENCES, 3, 2), strict=True):
        for place, index in enumerate(tree.prompts):
            alone = model.states(torch.tensor([SEQUENCES[index]]), [3])[3][0]
            nodes = tree.seen[tree.last[place]].nonzero()[:, 0]
            order = tree.depth[nodes].argsort()
            torch.testing.assert_close(states[nodes[order]], alone, atol=2e-5, rtol=1e-4)
