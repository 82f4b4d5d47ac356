"""Texts that steering wrote: what they predict at each token, under any other offset at the site.

Lower layers, and what native steering predicts, are kept from the writing. A text under an offset is one job;
jobs of any texts and offsets are run together, those of like length in one batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.models.batching import forwards
from lrt_bench.models.memory import halving
from lrt_bench.models.sites import Site, computed_by
from lrt_bench.steering.continuation import Positions, Written, steered_tokens
from lrt_bench.steering.divergences import Divergence, hellinger, root_distance, roots

BLOCK = 2**19  # logits over the vocabulary that are held at a time
ROOTS = 2**28  # numbers of native's predictions that are kept: 1 GiB; more are made again each time


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
    def steps(self) -> Tensor:
        """Lengths of what is added, with their signs [alphas]."""
        return torch.tensor(self.alphas, dtype=torch.float32) * self.length


class SteeredTexts:
    """What native steering wrote after some prompts, to which other offsets are compared.

    Parameters
    ----------
    site : the target model and layer.
    prompts : their lengths, in tokens.
    written : one a prompt, what native steering at one strength wrote on from it.
    native : the offsets of that steering [p, d].
    rows : texts in one forward.
    """

    def __init__(
        self,
        site: Site,
        prompts: Sequence[int],
        written: Sequence[Written],
        native: Tensor,
        setting: Setting,
        rows: int = 64,
    ) -> None:
        self.site, self.setting, self._rows = site, setting, rows
        self._states = torch.cat([text.states for text in written])  # [all tokens, d]
        final = torch.cat([text.final for text in written])  # [all tokens that are read, d]
        self._lengths = torch.tensor([len(text.states) for text in written])
        self._reads = torch.tensor([len(text.final) for text in written])
        self._first = torch.tensor(prompts) - 1  # the prompt's last token, where reading begins
        kinds = [kind.__name__ for kind in setting.divergences]
        # what divergences depend on, beside the jobs: a cache's key
        self.parts = [
            computed_by(site), [text.ids for text in written], list(prompts), native, setting.tokens,
            setting.positions, kinds, rows,
        ]  # fmt: skip
        # what is compared with: native's predictions by their roots, or else the states that predict them
        self._rooted = setting.divergences == (hellinger,)
        self._kept = self._rooted and len(final) * len(site.model.head.weight) <= ROOTS
        self._native = torch.cat([roots(part) for part in self._blocks(final)]) if self._kept else final

    @torch.inference_mode()
    def divergences(self, texts: Tensor, offsets: Tensor) -> Tensor:
        """D(native, steered by the offset) of each job, a text [j] under an offset [j, d].

        Returns [j, tokens + 1, kinds], float64; 0 after a text's end. Raises UserError where logits are not
        finite.
        """
        shape = (len(texts), self.setting.tokens + 1, len(self.setting.divergences))
        measured = torch.zeros(shape, dtype=torch.float64)
        run = functools.partial(self._batch, texts, offsets)
        for batch in forwards(self.site.model, self._lengths[texts].tolist(), self._rows):
            for part, values in halving(run, batch):
                chosen = list(part)
                real = torch.arange(shape[1])[None] < self._reads[texts[chosen]][:, None]
                laid = torch.zeros(len(chosen), *shape[1:], dtype=torch.float64)
                laid[real] = values
                measured[chosen] = laid
        if not bool(torch.isfinite(measured).all()):
            name = self.site.model.name
            raise UserError(f"{name}: its logits are not finite under steering: try --dtype float32")
        return measured

    def _batch(self, texts: Tensor, offsets: Tensor, jobs: Sequence[int]) -> Tensor:
        """Return D of some jobs at each token that is read: [n, kinds]."""
        model, chosen = self.site.model, texts[list(jobs)]
        states = self._steered(chosen, offsets[list(jobs)])
        ahead = torch.arange(self.setting.tokens + 1)[None]
        real = ahead < self._reads[chosen][:, None]
        read = torch.minimum(self._first[chosen][:, None] + ahead, self._lengths[chosen][:, None] - 1)
        final = model.resume_at(states, self.site.layer, read)[real.to(states.device)]
        starts = (self._reads.cumsum(0) - self._reads)[chosen]
        places = (starts[:, None] + ahead)[real]
        return self._compared(places.to(self._native.device), model.finish(final[:, None])[:, 0])

    def _steered(self, texts: Tensor, offsets: Tensor) -> Tensor:
        """Return the texts' states at the site, each with its offset added, padded: [b, t, d]."""
        lengths = self._lengths[texts]
        place = torch.arange(int(lengths.max()))[None]
        starts = (self._lengths.cumsum(0) - self._lengths)[texts]
        tokens = starts[:, None] + torch.minimum(place, lengths[:, None] - 1)
        device = self._states.device
        states, added = self._states[tokens.to(device)].float(), offsets.to(device)[:, None]
        if self.setting.positions == "all":
            return states.add_(added)
        prompts = (self._first[texts] + 1).tolist()
        steered = torch.stack([
            steered_tokens(self.setting.positions, prompt, place.shape[1]) for prompt in prompts
        ])  # fmt: skip
        return states.add_(added * steered.to(device)[..., None])

    def _compared(self, places: Tensor, final: Tensor) -> Tensor:
        """D of what the head reads [n, d] to native at some places [n]: [n, kinds], float64."""
        parts = []
        for where, other in zip(places.split(self._size), self._blocks(final), strict=True):
            native = self._native[where]
            if self._rooted:
                reference = native if self._kept else roots(self.site.model.head.all(native))
                parts.append(root_distance(reference, roots(other))[:, None].cpu())
            else:
                sides = self.site.model.head.all(native).log_softmax(-1), other.log_softmax(-1)
                parts.append(torch.stack([kind(*sides) for kind in self.setting.divergences], -1).cpu())
        return torch.cat(parts).double()

    @property
    def _size(self) -> int:
        """Tokens whose predictions are held at a time."""
        return self.site.model.head.rows_at_once(BLOCK)

    def _blocks(self, final: Tensor) -> Iterator[Tensor]:
        """Yield logits over the vocabulary of what the head reads [n, d], `_size` tokens at a time."""
        return (self.site.model.head.all(part) for part in final.split(self._size))
