"""Refusal: instructions under addition and ablation, and a proxy that reads it without writing.

The paper's section 3.3. A vector is the difference of means over harmless and harmful instructions, so that a
positive alpha steers towards answering. Everything here is said of refusing: higher is more refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lrt_bench.data.chat import render
from lrt_bench.data.corpus import encode
from lrt_bench.data.tasks import ContrastPair, Prompt, RefusalTask, TaskCard
from lrt_bench.errors import UserError
from lrt_bench.models.batching import by_length, pad
from lrt_bench.models.checks.probes import check_finite
from lrt_bench.models.sites import Site
from lrt_bench.models.texts import token_ids
from lrt_bench.steering.generation import generate, offsets_for
from lrt_bench.steering.sweep import Interventions, first_token

Kind = Literal["add", "ablate", "ablate-all"]


def wrapped(tokenizer: Any, card: TaskCard, instruction: str) -> str:
    """Wrap the instruction up to where the answer begins: in the chat template, the card's, or plain."""
    if card.template and not getattr(tokenizer, "chat_template", None):
        return card.template.replace("{instruction}", instruction)
    return render(tokenizer, instruction)


def instruction_pairs(tokenizer: Any, task: RefusalTask) -> Sequence[ContrastPair]:
    """Return the texts whose last states make a refusal task's vector, as the model reads them."""
    return [
        ContrastPair(
            positive=wrapped(tokenizer, task.card, pair.positive),
            negative=wrapped(tokenizer, task.card, pair.negative),
        )
        for pair in task.vector
    ]


@dataclass(frozen=True)
class WrappedInstructions:
    """Instructions as one model reads them, and the tokens that open a refusal or an answer."""

    texts: list[str]
    refuse: list[int]
    comply: list[int]


def wrap_instructions(
    tokenizer: Any, task: RefusalTask, instructions: Sequence[Prompt]
) -> WrappedInstructions:
    """Wrap instructions and find the first tokens of the card's openings.

    An opening follows the wrapped instruction after a space, unless that ends in white space. A token that
    opens both is left out; where a side has none left the proxy cannot be read: UserError.
    """
    texts = [wrapped(tokenizer, task.card, row.prompt) for row in instructions]
    space = "" if texts[0][-1:].isspace() else " "
    bare = encode(tokenizer, texts[:1])[0].ids
    sides = []
    for openings in (task.openings.refuse, task.openings.comply):
        spaced = [space + opening for opening in openings]
        whole = encode(tokenizer, [texts[0] + opening for opening in spaced])
        pairs = zip(whole, spaced, strict=True)
        firsts = {first_token(tokenizer, bare, tokens.ids, opening) for tokens, opening in pairs}
        sides.append({token for token in firsts if token is not None})
    refuse, comply = sorted(sides[0] - sides[1]), sorted(sides[1] - sides[0])
    if not refuse or not comply:
        raise UserError(
            f"task {task.name}: openings: in this tokenizer both sides begin with the same tokens"
        )
    return WrappedInstructions(texts, refuse, comply)


@torch.inference_mode()
def refusal_odds(
    site: Site, wrapped_instructions: WrappedInstructions, changes: Interventions, batch_size: int = 64
) -> Tensor:
    """Log-odds of opening a refusal against opening an answer, at the first token of the answer: [v, p].

    log sum exp of the refusing tokens' logits minus that of the complying ones': nothing is written for it.
    """
    model = site.model
    encoded = token_ids(model, wrapped_instructions.texts, "instruction")
    jobs = [(v, p) for v in range(len(changes)) for p in range(len(encoded))]
    refuse_ids, comply_ids = wrapped_instructions.refuse, wrapped_instructions.comply
    tokens = torch.tensor(refuse_ids + comply_ids)
    all_odds = torch.empty(len(changes), len(encoded))
    for batch in by_length([len(encoded[p]) for _, p in jobs], batch_size, model):
        chosen = [jobs[i] for i in batch]
        ids = pad([encoded[p] for _, p in chosen])
        states = run_changed(site, ids, changes[[v for v, _ in chosen]])
        last = torch.tensor([len(encoded[p]) - 1 for _, p in chosen], device=states.device)
        final = model.finish(states[torch.arange(len(chosen), device=states.device), last][:, None])[:, 0]
        logits = model.head.choice(final, tokens.expand(len(chosen), -1)).cpu()
        check_finite(model, logits, "its logits under steering")
        refuse, comply = logits.split([len(refuse_ids), len(comply_ids)], 1)
        odds = refuse.logsumexp(1) - comply.logsumexp(1)
        for (v, p), value in zip(chosen, odds, strict=True):
            all_odds[v, p] = value
    return all_odds


@torch.inference_mode()
def run_changed(site: Site, ids: Tensor, changes: Interventions) -> Tensor:
    """Return the last block's output [b, t, d] for ids [b, t], each row under its own intervention."""
    model = site.model
    model.check_length(ids.shape[1])
    frame, states = model.frame(ids.shape[1]), model.embed(ids)
    for index in range(model.n_layers):
        states = model.block(index, states, frame)
        states = changes.to(states.device).apply(states, index + 1, site.layer)
    return states


@dataclass(frozen=True)
class InterventionAnswers:
    """Instructions under one intervention: what was written, and what is known of each without a scorer.

    odds, losses [p] : log-odds of refusing; nats a token of the answer under the unsteered model, NaN where
        nothing was written.
    """

    kind: Kind
    alpha: float | None
    answers: list[str]
    odds: Tensor
    losses: Tensor


def run_points(
    site: Site, task: RefusalTask, instructions: Sequence[Prompt], vector: Tensor, unit_length: float,
    alphas: Sequence[float], *, ablations: Sequence[Kind] = ("ablate", "ablate-all"), batch_size: int = 64,
) -> list[InterventionAnswers]:  # fmt: skip
    """Greedy answers, and odds, at each alpha (in units of `unit_length`) and under each ablation."""
    kinds: list[tuple[Kind, float | None]] = [("add", alpha) for alpha in alphas]
    parts = [Interventions.adding(offsets_for(vector, alphas, unit_length))]
    for kind in ablations:
        kinds.append((kind, None))
        parts.append(Interventions.ablating(vector[None], everywhere=kind == "ablate-all"))
    changes = Interventions.joined(parts)
    wrapped_ones = wrap_instructions(site.model.tokenizer, task, instructions)
    odds = refusal_odds(site, wrapped_ones, changes, batch_size)
    written = generate(
        site, wrapped_ones.texts, changes, task.card.new_tokens, temperature=0.0, batch_size=batch_size
    )
    return [
        InterventionAnswers(kind, alpha, written.texts[i], odds[i], written.cross_entropy[i])
        for i, (kind, alpha) in enumerate(kinds)
    ]
