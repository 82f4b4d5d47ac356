"""What a steered model writes on from prompts, greedily, and at which tokens it is steered.

The writing computes the lower layers and the steered predictions of every token: they are kept, so that no
later pass makes them again.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lrt_bench.models.decoding import Decoding
from lrt_bench.models.memory import halving
from lrt_bench.models.sites import Site

Positions = Literal["all", "but-last", "last"]
POSITIONS: tuple[Positions, ...] = ("all", "but-last", "last")


def steered_tokens(positions: Positions, prompt_tokens: int, length: int) -> Tensor:
    """Which of `length` tokens are steered [length], when the prompt has `prompt_tokens` of them.

    all : every one. but-last : the prompt's but its last. last : the prompt's last and all after it. The last
    two share the first between them, so that what attention carries is what `but-last` alone does.
    """
    place = torch.arange(length)
    if positions == "all":
        return torch.ones(length, dtype=torch.bool)
    before = place < prompt_tokens - 1
    return before if positions == "but-last" else ~before


@dataclass(frozen=True)
class Written:
    """A prompt and what a steered model wrote on from it.

    ids : the prompt's and the written tokens. states [t, d] : at the site, before anything is added.
    final [q, d] : what the head reads under the steering at the prompt's last token and at each written one.
    """

    ids: list[int]
    states: Tensor
    final: Tensor


def write_greedily(
    site: Site,
    prompts: Sequence[list[int]],
    offsets: Tensor,
    tokens: int,
    *,
    positions: Positions = "all",
    rows: int = 256,
) -> list[Written]:
    """Write the `tokens` likeliest tokens after each prompt, fewer where the model ends the text.

    offsets [p, d] : what is added at the site to each prompt's steered tokens, the written ones included. The
    end-of-text token itself is left out.
    """
    written: dict[int, Written] = {}
    lengths = [len(ids) for ids in prompts]
    for length in sorted(set(lengths)):
        alike = [p for p in range(len(prompts)) if lengths[p] == length]
        for start in range(0, len(alike), rows):
            write = functools.partial(_write, site, prompts, offsets, tokens, positions)
            for part, texts in halving(write, alike[start : start + rows]):
                written |= dict(zip(part, texts, strict=True))
    return [written[p] for p in range(len(prompts))]


@torch.inference_mode()
def _write(
    site: Site,
    prompts: Sequence[list[int]],
    offsets: Tensor,
    tokens: int,
    positions: Positions,
    chosen: Sequence[int],
) -> list[Written]:
    """Continue chosen prompts, all of one length, each up to the first token that ends a text."""
    model, step = site.model, torch.tensor([prompts[p] for p in chosen])
    length, added = step.shape[1], offsets[list(chosen)].to(model.device)[:, None]
    model.check_length(length + tokens)
    steered = steered_tokens(positions, length, length + tokens).to(model.device)
    read = 0  # tokens so far, those of the present step included
    at_site: list[Tensor] = []

    def changed(states: Tensor, layer: int) -> Tensor:
        if layer != site.layer:
            return states
        at_site.append(states[:, -step.shape[1] :])
        now = steered[read - states.shape[1] : read].to(states.device)
        return (states.float() + added.to(states.device) * now[None, :, None]).to(states.dtype)

    decoding, ids, finals = Decoding(model, changed), [step], []
    for place in range(tokens + 1):
        read += step.shape[1]
        finals.append(decoding.next(step))
        if place < tokens:
            step = model.head.all(finals[-1]).argmax(1)[:, None].cpu()
            ids.append(step)
    states, final = torch.cat(at_site, 1), torch.stack(finals, 1)
    return [
        Written(text, own[: len(text)].clone(), read_at[: len(text) - length + 1].clone())
        for row, own, read_at in zip(torch.cat(ids, 1).tolist(), states, final, strict=True)
        for text in [row[:length] + _before_end(row[length:], model.ends)]
    ]


def _before_end(text: list[int], ends: Collection[int]) -> list[int]:
    """Cut a text before the first token that ends it."""
    return text[: next((place for place, token in enumerate(text) if token in ends), len(text))]
