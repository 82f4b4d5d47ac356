"""Prompts that begin alike, as one sequence: every distinct beginning is a node, and is run once.

Under causal attention a token's states depend on the tokens before it alone, steered or not: prompts that
share a beginning share its states. A tree's nodes are laid out in one row, each at its own position in its
prompt, and each sees its ancestors only. Nothing is padded, and prompts that share nothing may lie in a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrt_bench.models.base import Frame, LanguageModel
from lrt_bench.models.batching import forwards, pad

SHARED = 1.5  # tokens of the padded sequences for each node, from which trees are faster below the site
POSITIONS = ("position_ids", "cache_position")  # what a block may be handed a position at a time, last axis


@dataclass(frozen=True)
class PrefixTree:
    """The distinct beginnings of some token sequences.

    prompts [p] : indices of the sequences. last [p] : the node of each one's last token.
    depth [n] : a node's position in its sequence.
    owner [n] : a sequence through it, as its place in `prompts`.
    seen [n, n] : row i is true at node i and at its ancestors.
    """

    prompts: list[int]
    last: Tensor
    depth: Tensor
    owner: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return len(self.depth)


def prefix_trees(sequences: Sequence[Sequence[int]], nodes: int) -> list[PrefixTree]:
    """All sequences in trees of at most `nodes` nodes, or of one sequence where that one is longer."""
    trees: list[PrefixTree] = []
    prompts: list[int] = []
    size, before = 0, list[int]()
    for index in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        row = list(sequences[index])
        if prompts and size + len(row) - shared(before, row) > nodes:
            trees.append(_tree(sequences, prompts))
            prompts, size, before = [], 0, []
        size += len(row) - shared(before, row)
        prompts, before = [*prompts, index], row
    return [*trees, _tree(sequences, prompts)] if prompts else trees


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _tree(sequences: Sequence[Sequence[int]], prompts: list[int]) -> PrefixTree:
    """Return the tree of sequences in alphabetical order: each leaves the one before it at one node."""
    path: list[int] = []  # the nodes of the sequence before
    ancestors: list[list[int]] = []
    depth, owner, last = [], [], []
    before: Sequence[int] = []
    for place, index in enumerate(prompts):
        row = sequences[index]
        path = path[: shared(before, row)]
        for position in range(len(path), len(row)):
            path.append(len(ancestors))
            ancestors.append(list(path))
            depth.append(position)
            owner.append(place)
        last.append(path[-1])
        before = row
    seen = torch.zeros(len(ancestors), len(ancestors), dtype=torch.bool)
    for node, above in enumerate(ancestors):
        seen[node, above] = True
    return PrefixTree(prompts, torch.tensor(last), torch.tensor(depth), torch.tensor(owner), seen)


def tree_frame(model: LanguageModel, tree: PrefixTree) -> Frame | None:
    """Return what the model's blocks are handed for a tree, or None where they take what is not understood.

    It is what they are handed for the longest sequence, read at each node's position, and with a mask that
    hides all but the ancestors; a narrower mask (a sliding window's) stays in force among them.
    """
    frame = model.frame(int(tree.depth.max()) + 1)
    calls = []
    masks: dict[int, Tensor] = {}  # blocks that are handed one mask are handed one again
    for call in frame.calls:
        laid = _call(call, tree, model.dtype, masks)
        if laid is None:
            return None
        calls.append(laid)
    return Frame(calls)


def _call(
    call: dict[str, Any], tree: PrefixTree, dtype: torch.dtype, masks: dict[int, Tensor]
) -> dict[str, Any] | None:
    laid = dict(call)
    for name, value in call.items():
        if name == "attention_mask":
            if id(value) not in masks:
                masks[id(value)] = _mask(value, tree, dtype)
            laid[name] = masks[id(value)]
        elif name == "position_embeddings" and isinstance(value, tuple):
            laid[name] = tuple(part[:, tree.depth.to(part.device)] for part in value)
        elif name in POSITIONS and isinstance(value, Tensor):
            laid[name] = value[..., tree.depth.to(value.device)]
        elif isinstance(value, Tensor):
            return None
    return laid if "attention_mask" in call else None


def _mask(mask: Tensor | None, tree: PrefixTree, dtype: torch.dtype) -> Tensor:
    """Additive mask [1, 1, n, n]: the least number where a node does not see another."""
    seen = tree.seen
    if mask is not None:
        depth = tree.depth.to(mask.device)
        narrow = mask[0, 0][depth][:, depth]
        seen = seen.to(mask.device) & (narrow if narrow.dtype == torch.bool else narrow > -1)
    hidden = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return hidden.masked_fill(~seen, torch.finfo(dtype).min)[None, None]


def tree_states(
    model: LanguageModel, tree: PrefixTree, frame: Frame, sequences: Sequence[list[int]], layer: int
) -> Tensor:
    """Return the residual stream after `layer` at every node: [n, d]."""
    embedded = model.embed(pad([sequences[index] for index in tree.prompts]))
    owner, depth = tree.owner.to(embedded.device), tree.depth.to(embedded.device)
    states = embedded[owner, depth][None]
    for index in range(layer):
        states = model.block(index, states, frame)
    return states[0]


def forest_states(
    model: LanguageModel,
    trees: Sequence[PrefixTree],
    frames: Sequence[Frame],
    sequences: Sequence[list[int]],
    layer: int,
    batch_size: int,
) -> list[Tensor]:
    """Return the residual stream after `layer` at every node of every tree, [n, d] each.

    Where the sequences share little, whole batches of them are faster than one tree after another.
    """
    batches = list(forwards(model, [len(row) for row in sequences], batch_size))
    padded = sum(len(batch) * len(sequences[batch[0]]) for batch in batches)
    if padded > SHARED * sum(map(len, trees)):
        return [
            tree_states(model, tree, frame, sequences, layer)
            for tree, frame in zip(trees, frames, strict=True)
        ]
    alone: dict[int, Tensor] = {}
    for batch in batches:
        read = model.states(pad([sequences[index] for index in batch]), [layer])[layer]
        alone |= dict(zip(batch, read, strict=True))
    return [_at_nodes(tree, alone) for tree in trees]


def _at_nodes(tree: PrefixTree, alone: dict[int, Tensor]) -> Tensor:
    """Return a tree's nodes, each as it stands in the sequence that owns it: [n, d]."""
    parts = [alone[index][tree.depth[tree.owner == place].to(alone[index].device)]
             for place, index in enumerate(tree.prompts)]  # fmt: skip
    return torch.cat(parts)  # nodes are numbered sequence by sequence
