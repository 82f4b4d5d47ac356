"""The floating-point operations of a sweep that does nothing twice, and the rate of plain matrix products.

Counted for whole blocks laid out like Llama's, two operations a multiply-add. That the first block's
projections are linear in the offset (`shifted_block.py`) is left out. A beginning that prompts share is
counted once for each (vector, alpha): the tokens of all prompts are the nodes of a tree. Layers up to
the site run once a node; those above once a node and (vector, alpha), the last of them without queries
and MLP but at the prompts' last tokens. Attention is counted over a token's real ancestors. Norms,
rotations, soft-maxes and the embedding are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lrt_bench.models.decoders.transformers_model import TransformersModel
from lrt_bench.models.sites import Site


@dataclass(frozen=True)
class Shape:
    """A Llama-like model's sizes; `queries` and `keys` are heads times their width."""

    width: int
    queries: int
    keys: int
    intermediate: int
    layers: int
    layer: int

    @classmethod
    def of(cls, site: Site) -> Shape:
        assert isinstance(site.model, TransformersModel)
        config = site.model.module.config
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            config.hidden_size, config.num_attention_heads * head, config.num_key_value_heads * head,
            config.intermediate_size, config.num_hidden_layers, site.layer,
        )  # fmt: skip

    @property
    def products(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of a block's matrix products."""
        d, q, k, f = self.width, self.queries, self.keys, self.intermediate
        return [(d, q), (d, k), (d, k), (q, d), (d, f), (d, f), (f, d)]


@dataclass(frozen=True)
class Tree:
    """The prefix tree of some prompts.

    nodes : tokens, those of a shared beginning once.
    ancestors : over all nodes, the tokens that each sees, itself included.
    ends : different prompts; `seen` the tokens that their last tokens see, over all of them.
    """

    nodes: int
    ancestors: int
    ends: int
    seen: int

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]]) -> Tree:
        prefixes = {tuple(ids[:end]) for ids in prompts for end in range(1, len(ids) + 1)}
        whole = {tuple(ids) for ids in prompts}
        return cls(len(prefixes), sum(map(len, prefixes)), len(whole), sum(map(len, whole)))


def operations(shape: Shape, prompts: Sequence[Sequence[int]], moved: int) -> float:
    """Operations of a sweep of `prompts` (token ids) under `moved` offsets that are not 0, and unsteered."""
    tree = Tree.of(prompts)
    d, q, k, f = shape.width, shape.queries, shape.keys, shape.intermediate
    block = tree.nodes * 2.0 * (d * (q + 2 * k) + q * d + 3 * d * f) + 4.0 * q * tree.ancestors
    last = tree.nodes * 4.0 * d * k + tree.ends * 2.0 * (2 * d * q + 3 * d * f) + 4.0 * q * tree.seen
    choice = 4.0 * d * len(prompts)
    above = shape.layers - shape.layer
    upper = (above - 1) * block + last if above else 0.0
    return shape.layer * block + (moved + 1) * (upper + choice)


def full_operations(shape: Shape, prompts: Sequence[Sequence[int]], moved: int, vocabulary: int) -> float:
    """Operations of a full forward of each prompt for each offset that is not 0, and one unsteered."""
    d, q, k, f = shape.width, shape.queries, shape.keys, shape.intermediate
    tokens, seen = sum(map(len, prompts)), sum(len(ids) * (len(ids) + 1) / 2 for ids in prompts)
    block = tokens * 2.0 * (d * (q + 2 * k) + q * d + 3 * d * f) + 4.0 * q * seen
    return (moved + 1) * (shape.layers * block + tokens * 2.0 * d * vocabulary)


def product_work(
    shape: Shape, rows: int, dtype: torch.dtype, device: str
) -> tuple[Callable[[], object], float]:
    """A call that does one block's matrix products on `rows` tokens, and its operations."""
    generator = torch.Generator().manual_seed(0)
    factors = [
        tuple(torch.randn(a, b, generator=generator).to(device, dtype) for a, b in ((rows, i), (o, i)))
        for i, o in shape.products
    ]

    def multiply() -> None:
        for states, weight in factors:
            torch.nn.functional.linear(states, weight)

    return multiply, sum(2.0 * rows * i * o for i, o in shape.products)
