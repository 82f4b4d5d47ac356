"""Behaviour share: how much of what native steering does to a model's predictions a vector does too.

The natively steered target writes on from each prompt. Along that text three models predict each next token:
the target unsteered, steered natively, and steered by a row's vector. With D a divergence of distributions
over the whole vocabulary,

    share = 1 - sum D(native, row) / sum D(native, unsteered)

over prompts, alphas and tokens: 1 predicts as native steering does, 0 as no steering does, and less than 0 is
worse than none. The first token counts beside the ones after it (`weighted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.files.cache.recall import recall
from lrt_bench.models.sites import Site
from lrt_bench.steering.kept_writing import kept_writing
from lrt_bench.steering.steered_texts import Setting, SteeredTexts
from lrt_bench.steering.sweep import unit

NOTHING = b""  # the name of the vectors that steer nothing
WRITTEN = 4  # times as many texts are written at once as are measured: a step has one token a text


@dataclass(frozen=True)
class Concept:
    """What a concept's behaviour is measured on.

    prompts : token ids; texts that fit into the model's context with `Setting.tokens` after them.
    native : native vectors [groups, d]; one is the reference of each prompt.
    group : the prompts' references [p], places in `native`.
    """

    prompts: Sequence[list[int]]
    native: Tensor
    group: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.group) != len(self.prompts) or self.native.ndim != 2:
            shape = tuple(self.native.shape)
            raise ValueError(f"native {shape}: want [groups, d] and a group for each prompt")


class Behaviour:
    """The behaviour of a target under native steering on a concept's prompts, to which rows are compared.

    `behaviours` makes them, several at once.

    Parameters
    ----------
    texts : what native steering wrote, all concepts' together.
    first : the place of this concept's first text among them. A prompt's texts, one an alpha, follow each
        other.

    Attributes
    ----------
    prompts : how many there are.
    unsteered : D(native, unsteered) by prompt, alpha, token and divergence [p, alphas, tokens + 1, kinds],
        float64; 0 after a text's end. The first token is the one after the prompt.
    """

    def __init__(self, texts: SteeredTexts, first: int, group: Sequence[int]) -> None:
        self.texts, self.prompts = texts, len(group)
        self._first, self._group = first, torch.tensor(list(group), dtype=torch.long)
        self._known: dict[bytes, Tensor] = {}  # D of rows that were measured, by their vectors' bytes

    @property
    def unsteered(self) -> Tensor:
        """D(native, unsteered)."""
        return self._known[NOTHING]

    def divergence(self, vectors: Tensor) -> Tensor:
        """D(native, row) under each row's vectors [v, groups, d]: [v, p, alphas, tokens + 1, kinds], float64.

        Vectors that were measured before are not measured again: rows share halves, and chance is a row too.
        A row whose vectors are all zero is the unsteered model's to the bit. Raises UserError on a vector
        that is not finite.
        """
        measure([(self, vectors)])
        return torch.stack([self._known[name] for name in _names(vectors)])

    def new(self, vectors: Tensor) -> dict[bytes, Tensor]:
        """Return the rows among vectors [v, groups, d] that were not measured yet, by name."""
        if not torch.isfinite(vectors).all():
            raise UserError("a steering vector holds NaN or infinity")
        rows = dict(zip(_names(vectors), vectors, strict=True))
        return {name: row for name, row in rows.items() if name not in self._known}

    def jobs(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return every text under one row's vectors [groups, d]: texts [p alphas], offsets [p alphas, d]."""
        steps = self.texts.setting.steps
        offsets = unit(vectors.float())[self._group][:, None] * steps[None, :, None]
        return self._first + torch.arange(self.prompts * len(steps)), offsets.flatten(0, 1)

    def know(self, name: bytes, divergences: Tensor) -> None:
        """Take in what was measured of one row's jobs [p alphas, tokens + 1, kinds]."""
        alphas = len(self.texts.setting.alphas)
        self._known[name] = divergences.view(self.prompts, alphas, *divergences.shape[1:])


def behaviours(site: Site, concepts: Sequence[Concept], setting: Setting, rows: int = 64) -> list[Behaviour]:
    """Return the behaviour on several concepts' prompts: all are written on together.

    rows : texts in one forward. Raises UserError on a native vector that is not finite, or on a prompt that
    leaves no room.
    """
    for concept in concepts:
        if not torch.isfinite(concept.native).all():
            raise UserError("a steering vector holds NaN or infinity")
    prompts = [ids for concept in concepts for ids in concept.prompts for _ in setting.alphas]
    added = torch.cat([unit(concept.native.float())[list(concept.group)] for concept in concepts])
    offsets = (added[:, None] * setting.steps[None, :, None]).flatten(0, 1)
    written = kept_writing(
        site, prompts, offsets, setting.tokens, positions=setting.positions, rows=WRITTEN * rows
    )
    texts = SteeredTexts(site, [len(ids) for ids in prompts], written, offsets, setting, rows)
    made, first = [], 0
    for concept in concepts:
        made.append(Behaviour(texts, first, concept.group))
        first += len(concept.group) * len(setting.alphas)
    nothing = [torch.zeros_like(concept.native)[None] for concept in concepts]
    measure(list(zip(made, nothing, strict=True)))
    return made


def measure(asked: Sequence[tuple[Behaviour, Tensor]]) -> None:
    """Measure rows' vectors [v, groups, d] on several concepts in common batches, where they are new.

    The behaviours are of one `behaviours`. Raises UserError on a vector that is not finite.
    """
    new = [
        (behaviour, name, *behaviour.jobs(row))
        for behaviour, vectors in asked
        for name, row in behaviour.new(vectors).items()
    ]
    if not new:
        return
    texts = torch.cat([chosen for _, _, chosen, _ in new])
    offsets = torch.cat([added for *_, added in new])
    steered = new[0][0].texts
    measured = recall(
        "divergences", [*steered.parts, texts, offsets],
        lambda: {"divergences": steered.divergences(texts, offsets)},
    )["divergences"]  # fmt: skip
    sizes = [len(chosen) for _, _, chosen, _ in new]
    for (behaviour, name, *_), part in zip(new, measured.split(sizes), strict=True):
        behaviour.know(name, part)


def _names(vectors: Tensor) -> list[bytes]:
    """Return what tells rows' vectors [v, groups, d] apart."""
    return [
        row.numpy().tobytes() if bool(row.any()) else NOTHING for row in vectors.float().cpu().contiguous()
    ]


def weighted(divergence: Tensor, first: float) -> Tensor:
    """One number a prompt: the first token's divergence and the mean of the later ones', summed over alphas.

    divergence [..., p, alphas, tokens + 1]; first : the first token's weight, 0 to 1 -> [..., p].
    """
    later = divergence[..., 1:].mean(-1)
    return (first * divergence[..., 0] + (1 - first) * later).sum(-1)


def share(row: Tensor, unsteered: Tensor) -> float | None:
    """1 - sum D(native, row) / sum D(native, unsteered), seeds averaged: [..., p], [p].

    None where native steering changes nothing.
    """
    whole = float(unsteered.double().sum())
    return 1 - float(row.double().sum(-1).mean()) / whole if whole > 0 else None
