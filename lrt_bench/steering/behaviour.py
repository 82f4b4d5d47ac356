"""Behaviour share: how much of what native steering does to a model's predictions a vector does too.

The natively steered target writes on from each prompt. Along that text three models predict each next token:
the target unsteered, steered natively, and steered by a row's vector. With D a divergence of distributions
over the whole vocabulary,

    share = 1 - sum D(native, row) / sum D(native, unsteered)

over prompts, alphas and tokens: 1 predicts as native steering does, 0 as no steering does, and less than 0 is
worse than none. The first token counts beside the ones after it (`weighted`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.batching import forwards, pad
from lrt_bench.models.memory import halving
from lrt_bench.models.sites import Site
from lrt_bench.steering.continuation import Positions, steered_tokens, write_greedily
from lrt_bench.steering.divergences import Divergence, hellinger
from lrt_bench.steering.sweep import unit

ZERO = b""  # the name of the vector that steers nothing
HELD = 2**22  # logits over the vocabulary that are held at a time, for each of the two sides


@dataclass(frozen=True)
class Setting:
    """How behaviour is measured.

    alphas : strengths other than 0, in units of `length`; tokens : written after each prompt.
    divergences : the kinds that are measured, at once.
    positions : the tokens that are steered (`continuation.steered_tokens`).
    """

    alphas: tuple[float, ...]
    length: float
    tokens: int
    divergences: tuple[Divergence, ...] = (hellinger,)
    positions: Positions = "all"

    def __post_init__(self) -> None:
        if not self.alphas or 0.0 in self.alphas:
            raise ValueError(f"alphas {self.alphas}: give one or more, none of them 0")
        if not self.length > 0 or self.tokens < 1:
            raise ValueError(f"length {self.length}, tokens {self.tokens}: both are above 0")

    @property
    def kinds(self) -> int:
        """How many divergences are measured."""
        return len(self.divergences)


@dataclass(frozen=True)
class _Text:
    """A prompt and what native steering at one alpha writes on from it."""

    prompt: int
    alpha: int
    ids: list[int]
    first: int  # the place of the prompt's last token, from which predictions are read


@dataclass(frozen=True)
class _Batch:
    """Texts of like length: states at the site [b, t, d], what is read of them, and native's final states.

    read [b, q] : places of the tokens whose predictions are read, padded; real [b, q] says which are.
    native [n, d] : what the head reads under native steering, at the n real ones.
    """

    texts: list[_Text]
    states: Tensor
    steered: Tensor
    read: Tensor
    real: Tensor
    native: Tensor


class Behaviour:
    """The behaviour of a target under native steering on some prompts, to which rows are compared.

    Parameters
    ----------
    site : the target model and layer.
    prompts : token ids; the texts that fit into the model's context with `setting.tokens` after them.
    native : native vectors [groups, d]; one is the reference of each prompt.
    group : the prompts' references [p], places in `native`.
    rows : texts in one forward.

    Attributes
    ----------
    unsteered : D(native, unsteered) by prompt, alpha, token and divergence [p, alphas, tokens + 1, kinds],
        float64; 0 after a text's end. The first token is the one after the prompt.
    """

    def __init__(
        self,
        site: Site,
        prompts: Sequence[list[int]],
        native: Tensor,
        group: Sequence[int],
        setting: Setting,
        rows: int = 64,
    ) -> None:
        self.site, self.setting, self.rows = site, setting, rows
        self.prompts = len(prompts)
        self._group = torch.tensor(list(group), dtype=torch.long)
        if self._group.shape != (len(prompts),) or native.ndim != 2:
            raise ValueError(f"native {tuple(native.shape)}: want [groups, d] and a group for each prompt")
        self._check(native)
        self._steps = torch.tensor(setting.alphas, dtype=torch.float32) * setting.length
        texts = self._written(prompts, native)
        lengths = [len(text.ids) for text in texts]
        self._batches = [
            batch
            for places in forwards(site.model, lengths, rows)
            for _, batch in halving(lambda part: self._batch([texts[i] for i in part], native), places)
        ]
        self.unsteered = self._measured(torch.zeros_like(native)[None])[0]
        self._known = {ZERO: self.unsteered}  # D of rows that were measured, by their vectors' bytes

    @torch.inference_mode()
    def divergence(self, vectors: Tensor) -> Tensor:
        """D(native, row) under each row's vectors [v, groups, d]: [v, p, alphas, tokens + 1, kinds], float64.

        Vectors that were measured before are not measured again: rows share halves, and chance is a row too.
        A row whose vectors are all zero is the unsteered model's to the bit. Raises UserError on a vector
        that is not finite.
        """
        self._check(vectors)
        names = [
            row.contiguous().numpy().tobytes() if bool(row.any()) else ZERO for row in vectors.float().cpu()
        ]
        new = {name: v for v, name in enumerate(names) if name not in self._known}
        if new:
            measured = self._measured(vectors[list(new.values())])
            self._known.update(zip(new, measured, strict=True))
        return torch.stack([self._known[name] for name in names])

    def _check(self, vectors: Tensor) -> None:
        if not torch.isfinite(vectors).all():
            raise UserError("a steering vector holds NaN or infinity")

    def _written(self, prompts: Sequence[list[int]], native: Tensor) -> list[_Text]:
        """Return what native steering writes, for every prompt and alpha."""
        jobs = [(p, a) for p in range(len(prompts)) for a in range(len(self._steps))]
        offsets = self._offsets(native[None], jobs)[0]
        written = write_greedily(
            self.site,
            [prompts[p] for p, _ in jobs],
            offsets,
            self.setting.tokens,
            positions=self.setting.positions,
            rows=4 * self.rows,
        )
        return [
            _Text(p, a, [*prompts[p], *text], len(prompts[p]) - 1)
            for (p, a), text in zip(jobs, written, strict=True)
        ]

    def _offsets(self, vectors: Tensor, jobs: Sequence[tuple[int, int]]) -> Tensor:
        """Return what is added for each (prompt, alpha): vectors [v, groups, d] -> [v, jobs, d]."""
        groups = self._group[[p for p, _ in jobs]]
        steps = self._steps[[a for _, a in jobs]]
        return unit(vectors.float())[:, groups] * steps[None, :, None]

    @torch.inference_mode()
    def _batch(self, texts: list[_Text], native: Tensor) -> _Batch:
        """Return the lower layers of some texts, once, and what native steering makes of them."""
        ids = pad([text.ids for text in texts])
        states = self.site.model.states(ids, [self.site.layer])[self.site.layer]
        steered = torch.stack([
            steered_tokens(self.setting.positions, text.first + 1, ids.shape[1]) for text in texts
        ])  # fmt: skip
        ahead = torch.arange(self.setting.tokens + 1)[None]
        first = torch.tensor([text.first for text in texts])[:, None]
        last = torch.tensor([len(text.ids) - 1 for text in texts])[:, None]
        real = first + ahead <= last
        read = torch.minimum(first + ahead, last)
        bare = _Batch(texts, states, steered, read, real, torch.empty(0))
        final = self._final(bare, native[None])[0]
        return _Batch(texts, states, steered, read, real, final)

    def _final(self, batch: _Batch, vectors: Tensor) -> Tensor:
        """Return what the head reads where `batch` is read, under vectors [v, groups, d]: [v, n, d]."""
        model, layer = self.site.model, self.site.layer
        offsets = self._offsets(vectors, [(text.prompt, text.alpha) for text in batch.texts])
        device = batch.states.device
        added = offsets.to(device)[:, :, None] * batch.steered.to(device)[None, :, :, None]
        states = (batch.states[None].float() + added).flatten(0, 1)
        final = model.resume_at(states, layer, batch.read.repeat(len(vectors), 1))
        kept = final.view(len(vectors), *batch.read.shape, -1)[:, batch.real.to(final.device)]
        return model.finish(kept.flatten(0, 1)[:, None])[:, 0].view(len(vectors), kept.shape[1], -1)

    def _measured(self, vectors: Tensor) -> Tensor:
        """Return D(native, row) of every text under each row, laid out as `divergence` says."""
        shape = (len(vectors), self.prompts, len(self._steps), self.setting.tokens + 1, self.setting.kinds)
        divergences = torch.zeros(shape, dtype=torch.float64)
        for batch in self._batches:
            compared = functools.partial(self._to_native, batch, vectors)
            together = max(1, self.rows // len(batch.texts))
            places = [text.prompt for text in batch.texts], [text.alpha for text in batch.texts]
            for start in range(0, len(vectors), together):
                chunk = range(start, min(start + together, len(vectors)))
                for part, values in halving(compared, chunk):
                    laid = torch.zeros(len(part), *batch.real.shape, self.setting.kinds, dtype=torch.float64)
                    laid[:, batch.real] = values
                    divergences[part[0] : part[-1] + 1, places[0], places[1]] = laid
        return divergences

    def _to_native(self, batch: _Batch, vectors: Tensor, rows: Sequence[int]) -> Tensor:
        """D(native, row) of some rows at each token that is read: [v, n, kinds]."""
        return self._between(batch.native[None], self._final(batch, vectors[list(rows)]))

    @torch.inference_mode()
    def _between(self, reference: Tensor, other: Tensor) -> Tensor:
        """Return D of what the head reads: [v, n, kinds].

        reference [a, n, d], other [b, n, d]; one of a and b is 1, or both are equal. The
        vocabulary's logits are held for a block of tokens.
        """
        head, count = self.site.model.head, max(len(reference), len(other))
        size = max(1, HELD // (count * len(head.weight)))
        parts = []
        for sides in zip(reference.split(size, 1), other.split(size, 1), strict=True):
            first, second = (head.all(side).log_softmax(-1) for side in sides)
            rows = [(first[v % len(first)], second[v % len(second)]) for v in range(count)]
            parts.append(torch.stack([self._kinds(*row) for row in rows]).cpu())
        divergences = torch.cat(parts, 1).double()
        if not bool(torch.isfinite(divergences).all()):
            name = self.site.model.name
            raise UserError(f"{name}: its logits are not finite under steering: try --dtype float32")
        return divergences

    def _kinds(self, reference: Tensor, other: Tensor) -> Tensor:
        """Every divergence of log-probabilities [n, vocabulary]: [n, kinds]."""
        return torch.stack([divergence(reference, other) for divergence in self.setting.divergences], -1)


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
