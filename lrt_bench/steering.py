"""Interventions on the residual stream, and the sweep over prompts x vectors x alphas.

The layers below the target layer run once per prompt; what lies above runs once per (prompt, vector,
alpha), in a batch grown at the layer; only the choice tokens' logits are computed.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.chat import begun
from lrt_bench.corpus import encode
from lrt_bench.errors import UserError
from lrt_bench.memory import halving
from lrt_bench.models import Site
from lrt_bench.states import by_length, pad
from lrt_bench.tasks import ChoicePrompt


def unit(vector: Tensor) -> Tensor:
    """v / ||v|| along the last axis; a zero vector stays zero and so steers nothing."""
    norm = vector.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, vector / norm.clamp_min(torch.finfo(vector.dtype).tiny), 0.0)


def add(states: Tensor, direction: Tensor, strength: Tensor | float) -> Tensor:
    """h' = h + strength * direction, at every token (paper, section 3)."""
    return states + strength * direction


def ablate(states: Tensor, direction: Tensor) -> Tensor:
    """h' = h - (h . d) d: the direction's component is removed (Arditi et al. 2024)."""
    return states - (states @ direction)[..., None] * direction


def clamp(states: Tensor, direction: Tensor, value: float) -> Tensor:
    """h' has the component `value` along the direction."""
    return ablate(states, direction) + value * direction


@dataclass(frozen=True)
class Interventions:
    """Changes of the residual stream at every token, one a row of a batch.

    offsets [v, d] : what is added at the site; zeros where nothing is.
    directions [v, d] : unit vectors whose component is removed; zeros where none is.
    everywhere [v] : whether it is removed after every block (Arditi et al. 2024), or at the site alone.
    """

    offsets: Tensor
    directions: Tensor
    everywhere: Tensor

    @classmethod
    def adding(cls, offsets: Tensor) -> Interventions:
        """h' = h + offset at the site, for each of offsets [v, d]."""
        never = torch.zeros(len(offsets), dtype=torch.bool)
        return cls(offsets.float(), torch.zeros_like(offsets, dtype=torch.float32), never)

    @classmethod
    def ablating(cls, vectors: Tensor, *, everywhere: bool) -> Interventions:
        """h' = h - (h . d) d with d = v / ||v||, for each of vectors [v, d]; 0 changes nothing."""
        directions = unit(vectors.float())
        return cls(torch.zeros_like(directions), directions, torch.full((len(vectors),), everywhere))

    @classmethod
    def joined(cls, parts: Sequence[Interventions]) -> Interventions:
        """Several lists as one."""
        return cls(
            torch.cat([part.offsets for part in parts]),
            torch.cat([part.directions for part in parts]),
            torch.cat([part.everywhere for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, rows: list[int]) -> Interventions:
        return Interventions(self.offsets[rows], self.directions[rows], self.everywhere[rows])

    def to(self, device: torch.device) -> Interventions:
        return Interventions(*(part.to(device) for part in (self.offsets, self.directions, self.everywhere)))

    def apply(self, states: Tensor, layer: int, site_layer: int) -> Tensor:
        """States [v, t, d] after block `layer` (counted from 1), changed, in their own type."""
        here = layer == site_layer
        if not here and not bool(self.everywhere.any()):
            return states
        changed = states.float()
        if bool(self.directions.any()):
            removed = self.directions if here else self.directions * self.everywhere[:, None]
            along = torch.einsum("vtd,vd->vt", changed, removed)
            changed = changed - along[..., None] * removed[:, None]
        if here:
            changed = changed + self.offsets[:, None]
        return changed.to(states.dtype)


@dataclass(frozen=True)
class Encoded:
    """A choice prompt in tokens: its ids and the first token of each option."""

    ids: list[int]
    positive: int
    negative: int


def encode_choices(site: Site, prompts: Sequence[ChoicePrompt]) -> list[Encoded]:
    """Tokenise prompts and the first tokens of their options.

    A prompt whose options begin with the same token in this tokenizer cannot be scored, nor one that is
    longer than the model reads: it is left out. So are as many others as it takes to have either option
    positive equally often again.
    """
    tokenizer = site.model.tokenizer
    texts = [begun(tokenizer, row.instruction, row.prompt) for row in prompts]
    bare = [tokens.ids for tokens in encode(tokenizer, texts)]
    sides = [
        [tokens.ids for tokens in encode(tokenizer, wholes)]
        for wholes in (
            [text + row.positive for text, row in zip(texts, prompts, strict=True)],
            [text + row.negative for text, row in zip(texts, prompts, strict=True)],
        )
    ]
    found = []
    for row, ids, positive, negative in zip(prompts, bare, *sides, strict=True):
        tokens = [first_token(tokenizer, ids, whole, text)
                  for whole, text in ((positive, row.positive), (negative, row.negative))]  # fmt: skip
        if tokens[0] != tokens[1] and len(ids) <= site.model.context:
            found.append((row.positive, Encoded(ids, tokens[0], tokens[1])))
    return _balanced(found, len({row.positive for row in prompts}))


def _balanced(rows: list[tuple[str, Encoded]], options: int) -> list[Encoded]:
    """As many rows of each positive option as of the rarest; none where all but one option are lost."""
    counts = Counter(option for option, _ in rows)
    if not counts or (len(counts) == 1 and options > 1):
        return []
    room = dict.fromkeys(counts, min(counts.values()))
    kept = []
    for option, encoded in rows:
        room[option] -= 1
        if room[option] >= 0:
            kept.append(encoded)
    return kept


def first_token(tokenizer: object, prompt: list[int], whole: list[int], option: str) -> int:
    """The token after the prompt; where the tokenizer merges across the border, the option's own first."""
    if whole[: len(prompt)] == prompt and len(whole) > len(prompt):
        return whole[len(prompt)]
    ids: list[int] = tokenizer(option, add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    return ids[0]


Held = tuple[list[int], Tensor, Tensor]  # prompts, their states [b, t, d] at the site, last tokens [b]


class Sweep:
    """Propensities of choice prompts under steering at a site.

    Parameters
    ----------
    site : the target model and layer.
    prompts : the scored prompts.
    alphas : strengths, in units of `spread`; 0 is swept once, whatever the vectors.
    spread : length of a step of alpha 1.
    rows : sequences in one forward of the upper layers.
    """

    def __init__(
        self, site: Site, prompts: Sequence[ChoicePrompt], alphas: Sequence[float], spread: float, rows: int
    ) -> None:
        self.site, self.rows = site, rows
        self.steps = torch.tensor(alphas, dtype=torch.float32) * spread
        self.encoded = encode_choices(site, prompts)
        self._batches: list[Held] = []
        lengths = [len(row.ids) for row in self.encoded]
        for batch in by_length(lengths, max(1, rows // 8)):
            states = site.model.states(pad([self.encoded[i].ids for i in batch]), [site.layer])[site.layer]
            last = torch.tensor([lengths[i] - 1 for i in batch], device=states.device)
            self._batches.append((batch, states, last))
        self.baseline = self._baseline()

    def _propensity(self, states: Tensor, last: Tensor, prompts: list[int]) -> Tensor:
        """m = logit(positive) - logit(negative) at the last token of grown states [b, t, d]: [b], float32."""
        model = self.site.model
        at = model.resume_last(states, self.site.layer, last)[:, None]
        options = [[self.encoded[i].positive, self.encoded[i].negative] for i in prompts]
        logits = model.head.choice(model.finish(at)[:, 0], torch.tensor(options))
        if not torch.isfinite(logits).all():
            raise UserError(f"{model.name}: its logits are not finite under steering: try --dtype float32")
        return (logits[:, 0] - logits[:, 1]).cpu()

    def _steered(self, held: Held, offsets: Tensor, chosen: Sequence[int]) -> Tensor:
        """Propensities of a batch of prompts under each chosen row of `offsets`: [chosen x prompts]."""
        batch, states, last = held
        shift = offsets[list(chosen)].to(states.device)
        steered = states[None].float() + shift[:, None, None]
        return self._propensity(steered.flatten(0, 1), last.repeat(len(chosen)), batch * len(chosen))

    def _baseline(self) -> Tensor:
        found = torch.empty(len(self.encoded))
        for batch, states, last in self._batches:
            found[batch] = self._propensity(states, last, batch)
        return found

    def run(self, vectors: Tensor, first: int | None = None) -> Tensor:
        """Propensities [v, prompts, alphas] under each vector [v, d], at the `first` alphas or at all.

        Vectors that are not finite are refused.
        """
        if not torch.isfinite(vectors).all():
            raise UserError("a steering vector holds NaN or infinity")
        steps = self.steps[:first]
        found = self.baseline[None, :, None].repeat(len(vectors), 1, len(steps))
        mirrored = _mirrored(vectors, steps.tolist())
        moving = [
            (v, a)
            for v in range(len(vectors))
            for a in range(len(steps))
            if float(steps[a]) != 0 and bool(vectors[v].any()) and v not in mirrored
        ]
        if moving:
            directions = unit(vectors.float())
            offsets = torch.stack([directions[v] * steps[a] for v, a in moving])
        for held in self._batches if moving else ():
            batch = held[0]
            grown = max(1, self.rows // len(batch))
            for start in range(0, len(moving), grown):
                chunk = range(start, min(start + grown, len(moving)))
                for part, m in halving(functools.partial(self._steered, held, offsets), chunk):
                    for index, values in zip(part, m.split(len(batch)), strict=True):
                        v, a = moving[index]
                        found[v, batch, a] = values
        for v, (twin, order) in mirrored.items():
            found[v] = found[twin][:, order]
        return found


def _mirrored(vectors: Tensor, steps: list[float]) -> dict[int, tuple[int, list[int]]]:
    """Vectors that are an earlier one turned round: at alpha they act as the earlier one at -alpha.

    {vector: (the earlier one, the alphas' order)}; empty where the grid is not symmetric.
    """
    if sorted(steps) != sorted(-step for step in steps):
        return {}
    order = [steps.index(-step) for step in steps]
    return {
        v: (twin, order)
        for v in range(len(vectors))
        for twin in range(v)
        if vectors[v].any() and torch.equal(vectors[v], -vectors[twin])
    }
