"""A steering vector tried on prompts: what the model writes at several strengths, and each token's shift.

A token's shift is the change of its log-probability, steered against unsteered, in nats, both models having
read the same text before it: what steering adds to that very choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lrt_bench.data.chat import render
from lrt_bench.data.corpus import PairedTokens
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec
from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.generation import generate, offsets_for
from lrt_bench.vectors.vector import SteeringVector

Unit = Literal["spread", "norm"]
SPREAD_TOKENS = 4000  # that the spread is measured on, where the vector's file does not say it
UNREADABLE = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Piece:
    """A token (or tokens that make one character) of a text, and its shift in nats."""

    text: str
    shift: float


@dataclass(frozen=True)
class Attempt:
    """What was written on from a prompt at one alpha.

    perplexity : of the written text under the unsteered model; None where nothing was written.
    """

    alpha: float
    text: str
    pieces: tuple[Piece, ...]
    perplexity: float | None

    @property
    def shift(self) -> float:
        """Mean shift a piece."""
        return sum(piece.shift for piece in self.pieces) / max(len(self.pieces), 1)


@dataclass(frozen=True)
class Tryout:
    """Attempts by prompt and alpha (ascending, 0 among them), and what they were made with.

    step : what alpha 1 adds to the residual stream, as a length.
    """

    model: str
    layer: int
    concept: str | None
    unit: Unit
    step: float
    alphas: tuple[float, ...]
    prompts: tuple[str, ...]
    attempts: tuple[tuple[Attempt, ...], ...]


def measured_spread(site: Site, corpus: CorpusSpec, data: Data, rows: int = 64) -> float:
    """The unit of alpha at a site, measured on a few thousand tokens of a corpus (`moments.spread`).

    Raises UserError where the corpus has too little text.
    """
    texts = _few_texts(site.model, corpus, data)
    moments = Moments.zeros(0, site.width)
    for batch in by_length([len(text.target_ids) for text in texts], rows, site.model):
        states = site.read(pad([texts[i].target_ids for i in batch])).cpu()
        kept = torch.cat([states[row, texts[i].target_at] for row, i in enumerate(batch)])
        moments.update(kept[:, :0], kept)
    if moments.n < SPREAD_TOKENS // 10:
        raise UserError(f"{corpus.named}: too little text to measure the spread on ({moments.n} tokens)")
    return spread(moments.variance_y)


def _few_texts(model: LanguageModel, corpus: CorpusSpec, data: Data) -> list[PairedTokens]:
    """The corpus' first texts, SPREAD_TOKENS in all."""
    found: list[PairedTokens] = []
    tokens = 0
    limits = model.context, model.context
    for block in corpus.corpus(data).pairs(model.tokenizer, model.tokenizer, limits):
        for text in block:
            if tokens >= SPREAD_TOKENS:
                return found
            found.append(text)
            tokens += len(text.target_at)
    return found


def try_vector(
    site: Site,
    vector: SteeringVector,
    alphas: Sequence[float],
    prompts: Sequence[str],
    *,
    unit: Unit = "spread",
    max_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    rows: int = 64,
    measure: Callable[[], float] | None = None,
) -> Tryout:
    """Write on from each prompt, steered at each alpha and unsteered.

    unit : ``spread``: alpha a adds a * spread * v / ||v||; ``norm``: it adds a * v.
    temperature : 0 is greedy; else sampled, with the same luck at every alpha (`generation.generate`).
    chat : prompts are instructions, wrapped in the model's chat template where it has one.
    measure : gives the spread where the vector does not know it.
    Raises UserError where the vector does not fit the site, or a prompt and its answer are too long.
    """
    direction = vector.at(site.layer)
    if len(direction) != site.width:
        raise UserError(
            f"the vector is {len(direction)} wide, {site.model.name} is {site.width}: not its vector"
        )
    if not all(map(math.isfinite, alphas)):
        raise UserError("an alpha is no number: give finite strengths")
    if not prompts or max_tokens < 1:
        raise UserError("nothing to write: give at least one prompt, and one token")
    if unit == "norm":
        step = float(direction.norm())
    elif site.layer in vector.spread:
        step = vector.spread[site.layer]
    elif measure is not None:
        step = measure()
    else:
        raise UserError("the vector does not say its spread: measure it, or give strengths in its own length")
    grid = tuple(sorted({0.0, *alphas}))
    offsets = offsets_for(direction, grid, step)
    texts = [render(site.model.tokenizer, prompt) for prompt in prompts] if chat else list(prompts)
    written = generate(site, texts, offsets, max_tokens, seed=seed, temperature=temperature, rows=rows)
    read = token_ids(site.model, texts, "prompt")
    attempts = tuple(
        tuple(
            _attempt(site, ids, written.tokens[v][p], offset, alpha, float(written.cross_entropy[v, p]))
            for v, (alpha, offset) in enumerate(zip(grid, offsets, strict=True))
        )
        for p, ids in enumerate(read)
    )
    return Tryout(site.model.name, site.layer, vector.concept, unit, step, grid, tuple(prompts), attempts)


def _attempt(
    site: Site, prompt: list[int], written: list[int], offset: Tensor, alpha: float, loss: float
) -> Attempt:
    shifts = token_shifts(site, prompt, written, offset)
    tokenizer = site.model.tokenizer
    text: str = tokenizer.decode(written, skip_special_tokens=True)
    perplexity = float(torch.tensor(loss).exp()) if written else None
    return Attempt(alpha, text, _pieces(tokenizer, written, shifts), perplexity)


@torch.inference_mode()
def token_shifts(site: Site, prompt: list[int], written: list[int], offset: Tensor) -> list[float]:
    """Change of each written token's log-probability under the offset [d] at the site, in nats."""
    if not written:
        return []
    model, ids = site.model, torch.tensor([prompt + written])
    states = model.states(ids, [site.layer])[site.layer].float()
    logs = []
    for added in (torch.zeros_like(offset), offset):
        final = model.finish(model.resume(states + added.to(states.device), site.layer))
        logits = model.head.all(final[0, len(prompt) - 1 : -1]).cpu()
        logs.append(logits.log_softmax(-1).gather(1, torch.tensor(written)[:, None])[:, 0])
    shifts: list[float] = (logs[1] - logs[0]).tolist()
    return shifts


def _pieces(tokenizer: Any, ids: list[int], shifts: list[float]) -> tuple[Piece, ...]:
    """The text cut at tokens; tokens that are parts of one character stay together."""
    found: list[Piece] = []
    told, held = "", 0.0
    for end, shift in enumerate(shifts, 1):
        held += shift
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        if text.endswith(UNREADABLE) and end < len(ids):
            continue
        found.append(Piece(text[len(told) :], held))
        told, held = text, 0.0
    return tuple(found)
