"""What a steered model writes on from prompts, greedily, and at which tokens it is steered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from lrt_bench.models.decoding import Decoding
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


@torch.inference_mode()
def write_greedily(
    site: Site,
    prompts: Sequence[list[int]],
    offsets: Tensor,
    tokens: int,
    *,
    positions: Positions = "all",
    rows: int = 256,
) -> list[list[int]]:
    """Return the `tokens` likeliest tokens after each prompt, fewer where the model ends the text.

    offsets [p, d] : what is added at the site to each prompt's steered tokens, the written ones included. The
    end-of-text token itself is left out.
    """
    written: list[list[int]] = [[] for _ in prompts]
    lengths = [len(ids) for ids in prompts]
    for length in sorted(set(lengths)):
        alike = [p for p in range(len(prompts)) if lengths[p] == length]
        for start in range(0, len(alike), rows):
            chunk = alike[start : start + rows]
            ids = torch.tensor([prompts[p] for p in chunk])
            texts = _write(site, ids, offsets[chunk], tokens, positions)
            for p, text in zip(chunk, texts, strict=True):
                written[p] = text
    return written


def _write(site: Site, ids: Tensor, offsets: Tensor, tokens: int, positions: Positions) -> list[list[int]]:
    """Continue prompts [b, t] of one length, each up to the first token that ends a text."""
    model, length = site.model, ids.shape[1]
    model.check_length(length + tokens)
    steered = steered_tokens(positions, length, length + tokens)
    read = 0  # tokens so far, those of the present step included

    def changed(states: Tensor, layer: int) -> Tensor:
        now = steered[read - states.shape[1] : read]
        if layer != site.layer or not bool(now.any()):
            return states
        added = offsets.to(states.device)[:, None] * now.to(states.device)[None, :, None]
        return (states.float() + added).to(states.dtype)

    decoding, step = Decoding(model, changed), ids
    columns: list[Tensor] = []
    for _ in range(tokens):
        read += step.shape[1]
        step = model.head.all(decoding.next(step)).argmax(1)[:, None].cpu()
        columns.append(step)
    return [_before_end(text, model.ends) for text in torch.cat(columns, 1).tolist()]


def _before_end(text: list[int], ends: Collection[int]) -> list[int]:
    """Cut a text before the first token that ends it."""
    return text[: next((place for place, token in enumerate(text) if token in ends), len(text))]
