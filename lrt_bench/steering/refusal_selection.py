"""Layer and alpha of refusal steering, chosen with native vectors on the validation split alone.

Every other vector is then compared at the same layer and alpha, which in units of the spread is the same
strength. The scored instructions are never read here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.corpus import Corpus, PairedTokens
from lrt_bench.data.tasks import RefusalTask
from lrt_bench.errors import UserError
from lrt_bench.mappings.moments import spread
from lrt_bench.models.base import LanguageModel
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import concept_states
from lrt_bench.steering.generation import offsets_for
from lrt_bench.steering.refusal import instruction_pairs, refusal_odds, run_points, wrap_instructions
from lrt_bench.steering.sweep import Interventions

PLATEAU = 0.9  # of the largest effect: the smallest alpha that reaches it is chosen
MAX_ADDED = 1.0  # nats a token by which steered text may surprise the unsteered model more than its own does
SPREAD_TOKENS = 4_000  # of the corpus, that tell a candidate layer's spread


@dataclass(frozen=True)
class AlphaChoice:
    """What the validation split says of the native vector, by alpha (0 first), and what is chosen by it.

    answering, refusing : the chosen alpha on either side of 0; None where the vector does not act that way.
    """

    alphas: tuple[float, ...]
    odds: tuple[float, ...]
    cross_entropy: tuple[float, ...]
    answering: float | None
    refusing: float | None


def choose_alpha(alphas: Sequence[float], odds: Sequence[float], losses: Sequence[float]) -> AlphaChoice:
    """Return the smallest |alpha| on each side of 0 at which the effect has reached its plateau.

    The effect is the change of the mean log-odds of refusing, down for alpha > 0 and up for alpha < 0. Alphas
    whose text surprises the unsteered model by over `MAX_ADDED` nats a token beyond its own are left out;
    of the others the smallest that reaches `PLATEAU` of the largest effect is chosen. alphas begin with 0.
    """
    chosen: list[float | None] = []
    for sign in (1, -1):
        effects = {
            alpha: -sign * (value - odds[0])
            for alpha, value, loss in zip(alphas, odds, losses, strict=True)
            if sign * alpha > 0 and loss <= losses[0] + MAX_ADDED
        }
        best = max(effects.values(), default=0.0)
        reached = [alpha for alpha, effect in effects.items() if effect >= PLATEAU * best]
        chosen.append(min(reached, key=abs) if best > 0 else None)
    return AlphaChoice(tuple(alphas), tuple(odds), tuple(losses), *chosen)


def validate_alphas(
    site: Site, task: RefusalTask, vector: Tensor, unit_length: float, batch_size: int = 64
) -> AlphaChoice:
    """`choose_alpha` for the native vector [d] on the task's validation split alone."""
    alphas = (0.0, *task.card.alphas)
    points = run_points(
        site, task, task.instructions, vector, unit_length, alphas, ablations=(), batch_size=batch_size
    )
    losses = [float(point.losses.nanmean()) for point in points]
    return choose_alpha(
        alphas,
        [float(point.odds.mean()) for point in points],
        [math.inf if math.isnan(loss) else loss for loss in losses],
    )


@dataclass(frozen=True)
class ChosenLayer:
    """Effect of each candidate layer's own vector on the validation split, and the layer of the largest."""

    layer: int
    effects: dict[int, float]


def choose_layer(
    model: LanguageModel,
    task: RefusalTask,
    lengths: Mapping[int, float],
    alphas: Sequence[float],
    batch_size: int = 64,
) -> ChosenLayer:
    """Return the layer whose own vector moves refusal most, as steered for, on the validation split.

    The effect is the mean over alphas of the change of the log-odds of refusing, counted down for alpha > 0
    and up for alpha < 0. `lengths` gives each candidate layer's spread (`spreads`). The earliest wins a tie.
    """
    pairs = instruction_pairs(model.tokenizer, task)
    instructions = wrap_instructions(model.tokenizer, task, task.instructions)
    signs = torch.tensor([math.copysign(1, alpha) for alpha in alphas])
    effects = {}
    for layer, length in sorted(lengths.items()):
        site = Site(model, layer)
        vector = concept_states(site, pairs, batch_size).vector
        steps = offsets_for(vector, (0.0, *alphas), length)
        odds = refusal_odds(site, instructions, Interventions.adding(steps), batch_size).mean(1)
        effects[layer] = float((-signs * (odds[1:] - odds[0])).mean())
    return ChosenLayer(max(effects, key=lambda layer: effects[layer]), effects)


def spreads(
    model: LanguageModel, corpus: Corpus, layers: Sequence[int], batch_size: int = 64
) -> dict[int, float]:
    """Each layer's spread on the first `SPREAD_TOKENS` tokens of the corpus's fit split."""
    texts: list[PairedTokens] = []
    left = SPREAD_TOKENS
    for block in corpus.pairs(model.tokenizer, model.tokenizer, (model.context, model.context)):
        for text in block:
            if text.split == "fit" and left > 0:
                texts.append(text)
                left -= len(text.source_at)
        if left <= 0:
            break
    if not texts:
        raise UserError(f"{corpus.source}: no text for a fit in it; give more documents")
    kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    for batch in by_length([len(text.source_ids) for text in texts], batch_size, model):
        states = model.states(pad([texts[i].source_ids for i in batch]), layers)
        for layer in layers:
            kept[layer] += [states[layer][row, texts[i].source_at].cpu() for row, i in enumerate(batch)]
    return {layer: spread(torch.cat(parts).double().var(0, correction=0)) for layer, parts in kept.items()}


def layers_at(model: LanguageModel, depths: Sequence[float]) -> list[int]:
    """Return the layers at relative depths, each once."""
    return sorted({min(model.n_layers, max(1, round(depth * model.n_layers))) for depth in depths})
