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
from lrt_bench.steering.sweep import MAX_NORM
from lrt_bench.vectors.vector import SteeringVector

Unit = Literal["spread", "norm"]
MAX_LOSS = 700.0  # nats a token, whose exponential float64 holds
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


@dataclass(frozen=True)
class Writing:
    """How texts are written on from prompts.

    max_tokens : of one text.
    temperature : 0 is greedy; else sampled, with the same luck at every alpha (`generation.generate`).
    seed : of sampling.
    chat : prompts are instructions, wrapped in the model's chat template where it has one.
    batch_size : texts in a forward.
    """

    max_tokens: int = 40
    temperature: float = 0.0
    seed: int = 0
    chat: bool = False
    batch_size: int = 64


def measured_spread(site: Site, corpus: CorpusSpec, data: Data, batch_size: int = 64) -> float:
    """Return the unit of alpha at a site, measured on a few thousand tokens of a corpus (`moments.spread`).

    Raises UserError where the corpus has too little text.
    """
    texts = _few_texts(site.model, corpus, data)
    moments = Moments.zeros(0, site.width)
    for batch in by_length([len(text.target_ids) for text in texts], batch_size, site.model):
        states = site.read(pad([texts[i].target_ids for i in batch])).cpu()
        kept = torch.cat([states[row, texts[i].target_at] for row, i in enumerate(batch)])
        moments.update(kept[:, :0], kept)
    if moments.n < SPREAD_TOKENS // 10:
        raise UserError(f"{corpus.named}: too little text to measure the spread on ({moments.n} tokens)")
    return spread(moments.variance_y)


def _few_texts(model: LanguageModel, corpus: CorpusSpec, data: Data) -> list[PairedTokens]:
    """Return the corpus' first texts, SPREAD_TOKENS in all."""
    few: list[PairedTokens] = []
    tokens = 0
    limits = model.context, model.context
    for block in corpus.corpus(data).pairs(model.tokenizer, model.tokenizer, limits):
        for text in block:
            if tokens >= SPREAD_TOKENS:
                return few
            few.append(text)
            tokens += len(text.target_at)
    return few


def try_vector(
    site: Site,
    vector: SteeringVector,
    alphas: Sequence[float],
    prompts: Sequence[str],
    writing: Writing = Writing(),
    *,
    unit: Unit = "spread",
    measure: Callable[[], float] | None = None,
) -> Tryout:
    """Write on from each prompt, steered at each alpha and unsteered.

    Parameters
    ----------
    site : one layer of the model.
    vector : has a direction at that layer.
    alphas : strengths; 0 is added.
    prompts : texts to write on from.
    writing : how much is written, and how.
    unit : ``spread``: alpha a adds a * spread * v / ||v||; ``norm``: it adds a * v.
    measure : gives the spread where the vector does not know it.

    Raises
    ------
    UserError
        Where the vector does not fit the site, a prompt and its answer are too long, or a strength is beyond
        what the model can compute with.
    """
    direction = vector.at(site.layer)
    if len(direction) != site.width:
        raise UserError(
            f"the vector is {len(direction)} wide, {site.model.name} is {site.width}: not its vector"
        )
    if not all(map(math.isfinite, alphas)):
        raise UserError("an alpha is no number: give finite strengths")
    if not prompts or writing.max_tokens < 1:
        raise UserError("nothing to write: give at least one prompt, and one token")
    step = _step(vector, site.layer, unit, measure)
    grid = tuple(sorted({0.0, *alphas}))
    strongest = max(map(abs, grid)) * step
    if strongest > MAX_NORM:
        raise UserError(
            f"the strongest alpha adds a length of {strongest:.3g}, whose square is beyond float32: give "
            "smaller strengths, or strengths in spreads"
        )
    offsets = offsets_for(direction, grid, step)
    texts = [render(site.model.tokenizer, prompt) if writing.chat else prompt for prompt in prompts]
    written = generate(
        site, texts, offsets, writing.max_tokens,
        seed=writing.seed, temperature=writing.temperature, batch_size=writing.batch_size,
    )  # fmt: skip
    read = token_ids(site.model, texts, "prompt")
    attempts = tuple(
        tuple(
            _attempt(site, ids, written.tokens[v][p], offset, alpha, float(written.cross_entropy[v, p]))
            for v, (alpha, offset) in enumerate(zip(grid, offsets, strict=True))
        )
        for p, ids in enumerate(read)
    )
    return Tryout(site.model.name, site.layer, vector.concept, unit, step, grid, tuple(prompts), attempts)


def _step(vector: SteeringVector, layer: int, unit: Unit, measure: Callable[[], float] | None) -> float:
    """Return the length that alpha 1 adds.

    Raises UserError where it is not known.
    """
    if unit == "norm":
        return vector.norm(layer)
    if layer in vector.spread:
        return vector.spread[layer]
    if measure is None:
        raise UserError("the vector does not say its spread: measure it, or give strengths in its own length")
    return measure()


def _attempt(
    site: Site, prompt: list[int], written: list[int], offset: Tensor, alpha: float, loss: float
) -> Attempt:
    shifts = token_shifts(site, prompt, written, offset)
    if not all(map(math.isfinite, [*shifts, loss if written else 0.0])):
        raise UserError(
            f"at alpha {alpha:g} the model's logits are no finite numbers: give smaller strengths"
        )
    tokenizer = site.model.tokenizer
    text: str = tokenizer.decode(written, skip_special_tokens=True)
    perplexity = math.exp(min(loss, MAX_LOSS)) if written else None
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
    """Return the text cut at tokens; tokens that are parts of one character stay together."""
    pieces: list[Piece] = []
    before, together = "", 0.0  # the text up to this piece; the shift of its tokens so far
    for end, shift in enumerate(shifts, 1):
        together += shift
        text = tokenizer.decode(ids[:end], skip_special_tokens=True)
        if text.endswith(UNREADABLE) and end < len(ids):
            continue
        pieces.append(Piece(text[len(before) :], together))
        before, together = text, 0.0
    return tuple(pieces)
