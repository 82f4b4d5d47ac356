"""Contrastive prompts to steering vectors (Contrastive Activation Addition, Rimsky et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.chat import with_instruction
from lrt_bench.data.tasks import ContrastPair
from lrt_bench.files.cache.recall import recall
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.batching import forwards, pad
from lrt_bench.models.checks.probes import check_finite
from lrt_bench.models.memory import halving
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.models.texts import token_ids


@dataclass(frozen=True)
class ConceptStates:
    """States at the last token of a concept's prompts, at one site: positive and negative [n, d]."""

    positive: Tensor
    negative: Tensor

    @property
    def vector(self) -> Tensor:
        """Mean of the positive states minus mean of the negative ones [d] (paper, section 3)."""
        return (self.positive.double().mean(0) - self.negative.double().mean(0)).float()

    def half(self, which: int) -> ConceptStates:
        """Return the concept from half of its pairs: halves 0 and 1 share no prompt.

        Pairs go to the halves two by two, so that data whose options alternate is balanced in each.
        """
        index = torch.arange(len(self.positive))
        chosen = (index if len(index) < 4 else index // 2) % 2 == which
        return ConceptStates(self.positive[chosen], self.negative[chosen])

    def halves(self, split: int) -> tuple[ConceptStates, ConceptStates]:
        """Two halves that share no prompt, drawn anew by every `split`; split 0 is that of `half`.

        Pairs go two by two, as in `half`. The draw depends on the number of pairs and on `split` alone: both
        sites of a pair are split alike.
        """
        if split == 0:
            return self.half(0), self.half(1)
        count = len(self.positive)
        size = 1 if count < 4 else 2
        blocks = -(-count // size)
        order = np.random.default_rng([split, 505]).permutation(blocks)
        first = torch.zeros(blocks, dtype=torch.bool)
        first[torch.from_numpy(order[: blocks // 2].copy())] = True
        chosen = first.repeat_interleave(size)[:count]
        return (
            ConceptStates(self.positive[chosen], self.negative[chosen]),
            ConceptStates(self.positive[~chosen], self.negative[~chosen]),
        )


def last_states(site: Site, texts: Sequence[str], batch_size: int = 64) -> Tensor:
    """States [n, d] at the last token of each text, float32, on the CPU.

    Raises
    ------
    UserError
        Where a text gives no token, or the states are not finite in the model's precision.
    """
    encoded = token_ids(site.model, texts)
    states = torch.empty(len(encoded), site.width)

    def at_last(batch: Sequence[int]) -> Tensor:
        chosen = [encoded[i] for i in batch]
        run = site.read(pad(chosen))
        last = torch.tensor([len(ids) - 1 for ids in chosen], device=run.device)
        return run[torch.arange(len(chosen), device=run.device), last].cpu()

    for batch in forwards(site.model, [len(ids) for ids in encoded], batch_size):
        for part, last in halving(at_last, batch):
            states[list(part)] = last
    check_finite(site.model, states, f"its states at layer {site.layer}")
    return states


def contrast_texts(model: LanguageModel, pairs: Sequence[ContrastPair]) -> list[str]:
    """Return what a model reads of contrastive pairs: all positive texts, then all negative ones."""
    return [with_instruction(model.tokenizer, pair.instruction, pair.positive) for pair in pairs] + [
        with_instruction(model.tokenizer, pair.instruction, pair.negative) for pair in pairs
    ]


def readable(pairs: Sequence[ContrastPair], models: Sequence[LanguageModel]) -> tuple[ContrastPair, ...]:
    """Return the pairs that every one of `models` can read whole; what is longer is left out.

    Pairs go two by two, so that data whose options alternate stays balanced.
    """
    long: set[int] = set()
    for model in models:
        for index, tokens in enumerate(model.encode(contrast_texts(model, pairs))):
            if len(tokens.ids) > model.context:
                long.add(index % len(pairs) // 2)
    return tuple(pair for index, pair in enumerate(pairs) if index // 2 not in long)


def concept_states(site: Site, pairs: Sequence[ContrastPair], batch_size: int = 64) -> ConceptStates:
    """Both sides of a concept's contrastive pairs at a site."""
    texts = contrast_texts(site.model, pairs)
    states = recall(
        "concept", [computed_by(site), texts, batch_size],
        lambda: {"states": last_states(site, texts, batch_size)},
    )["states"]  # fmt: skip
    return ConceptStates(states[: len(pairs)], states[len(pairs) :])
