"""Streams paired states from two sites and a corpus: one pass feeds all that a mapping may see.

The pass keeps the moments of the fit split (whole), a bounded sample of it (memory-mapped, uniform over
the stream), and a bounded validation set. Nothing else is held, so memory does not grow with the corpus.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrt_bench.corpus import Corpus, Coverage, PairedTokens
from lrt_bench.errors import UserError
from lrt_bench.memory import halving
from lrt_bench.models import Site
from lrt_bench.moments import Moments


@dataclass(frozen=True)
class Budget:
    """How many tokens a fit may read, and how many of them are kept for methods that need samples."""

    fit_tokens: int = 60_000
    validation_tokens: int = 6_000
    sample_tokens: int = 30_000


class Sample:
    """A uniform random sample of a stream of pairs (reservoir sampling), in memory-mapped files."""

    def __init__(self, size: int, d_x: int, d_y: int, seed: int) -> None:
        with tempfile.TemporaryDirectory(prefix="lrt-bench-", ignore_cleanup_errors=True) as folder:
            self.x = np.memmap(Path(folder) / "x.f32", np.float32, "w+", shape=(size, d_x))
            self.y = np.memmap(Path(folder) / "y.f32", np.float32, "w+", shape=(size, d_y))
        # The files have no name any more: the system frees them with the process, however it ends.
        self.size, self.seen = size, 0
        self._rng = np.random.default_rng([seed, 7])

    def __len__(self) -> int:
        return min(self.seen, self.size)

    def update(self, x: np.ndarray, y: np.ndarray) -> None:
        """Algorithm R: pair number i replaces a random one with probability size / (i + 1)."""
        index = np.arange(self.seen, self.seen + len(x))
        slots = np.where(index < self.size, index, self._rng.integers(0, index + 1))
        chosen = slots < self.size
        self.x[slots[chosen]] = x[chosen]
        self.y[slots[chosen]] = y[chosen]
        self.seen += len(x)


@dataclass
class PairedStates:
    """All that a mapping is fitted on. Mappings read `moments`, `batches()` and `validation`.

    Attributes
    ----------
    moments : of every fit pair.
    validation : source [n, d_source] and target [n, d_target] states of other documents, float32.
    validation_text : the token sequences of those states, for running the target on mapped states.
    tokens : fit pairs seen.
    coverage : how many tokens of either side are in a pair.
    seconds : wall time of the pass.
    """

    moments: Moments
    sample: Sample
    validation: tuple[Tensor, Tensor]
    validation_text: list[PairedTokens]
    tokens: int
    coverage: Coverage
    digest: str
    seconds: float

    @property
    def d_source(self) -> int:
        return len(self.moments.mean_x)

    @property
    def d_target(self) -> int:
        return len(self.moments.mean_y)

    def copy(self) -> PairedStates:
        """The same states, of which a method may change its copy."""
        return replace(
            self,
            moments=self.moments.to("cpu", copy=True),
            validation=(self.validation[0].clone(), self.validation[1].clone()),
        )

    def batches(self, size: int = 512, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over the sample in a shuffled order: pairs of float32 tensors, `size` rows each.

        It can be iterated again; another seed gives another order.
        """
        order = np.random.default_rng(seed).permutation(len(self.sample))
        for start in range(0, len(order), size):
            rows = np.sort(order[start : start + size])  # sorted reads of a memory map
            yield torch.from_numpy(self.sample.x[rows]), torch.from_numpy(self.sample.y[rows])

    def shuffled(self, seed: int) -> Moments:
        """Moments of the sample's states paired at random: the `shuffled` control.

        Only the cross-product depends on the pairing; the rest is that of the sample.
        """
        x, y = self._centred_sample
        order = np.random.default_rng([seed, 11]).permutation(len(x))
        return replace(self._sample_moments, s_xy=(x.T @ y[order]).double())

    @functools.cached_property
    def _sample_moments(self) -> Moments:
        moments = Moments.zeros(self.d_source, self.d_target)
        for x, y in self.batches(8192):
            moments.update(x, y)
        return moments

    @functools.cached_property
    def _centred_sample(self) -> tuple[Tensor, Tensor]:
        size = len(self.sample)
        x, y = (torch.from_numpy(np.array(side[:size])) for side in (self.sample.x, self.sample.y))
        return x - self._sample_moments.mean_x.float(), y - self._sample_moments.mean_y.float()


def pad(rows: list[list[int]]) -> Tensor:
    """Token ids [b, t], padded on the right with id 0; nothing real sees the padding (see models.py)."""
    length = max(map(len, rows))
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def by_length(lengths: list[int], rows: int) -> Iterator[list[int]]:
    """Indices of sequences in batches of like length, longest first, at most `rows` in each."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), rows):
        yield order[start : start + rows]


def _gather(states: Tensor, positions: list[np.ndarray]) -> Tensor:
    row = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
    at = np.concatenate(positions)
    return states[torch.from_numpy(row), torch.from_numpy(at)]


def paired_states(
    source: Site, target: Site, texts: list[PairedTokens], rows: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """For batches of `texts`: (indices, source states [n, d_source], target states [n, d_target]).

    States are in the order of the indices and, within a text, of its pairs.
    """

    def both(batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = [texts[i] for i in batch]
        x = source.read(pad([text.source_ids for text in chosen]))
        y = target.read(pad([text.target_ids for text in chosen]))
        return (
            _gather(x, [text.source_at for text in chosen]),
            _gather(y, [text.target_at for text in chosen]),
        )

    for batch in by_length([len(text.source_ids) for text in texts], rows):
        for part, (x, y) in halving(both, batch):
            yield list(part), x, y


def collect(
    source: Site,
    target: Site,
    corpus: Corpus,
    budget: Budget,
    *,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[float], None] = lambda done: None,
) -> PairedStates:
    """One pass over the corpus up to the budget.

    Raises UserError where the corpus has too little text for a fit or for a validation.
    """
    began = time.perf_counter()
    moments = Moments.zeros(source.width, target.width)
    sample = Sample(budget.sample_tokens, source.width, target.width, seed)
    held_out: list[PairedTokens] = []
    held_out_tokens = 0
    limits = source.model.context, target.model.context
    for block in corpus.pairs(source.model.tokenizer, target.model.tokenizer, limits):
        fit, room = [], budget.fit_tokens - moments.n
        for text in block:
            if text.split == "fit" and room > 0:
                fit.append(text)
                room -= len(text.source_at)
            elif text.split == "validation" and held_out_tokens < budget.validation_tokens:
                held_out.append(text)
                held_out_tokens += len(text.source_at)
        for _, x, y in paired_states(source, target, fit, batch_size):
            moments.update(x.cpu(), y.cpu())
            sample.update(x.cpu().numpy(), y.cpu().numpy())
            progress(min(1.0, moments.n / budget.fit_tokens))
        if moments.n >= budget.fit_tokens and held_out_tokens >= budget.validation_tokens:
            break
    _check_size(corpus, moments.n, held_out_tokens)
    x, y = _validation_states(source, target, held_out, batch_size)
    return PairedStates(
        moments, sample, (x, y), held_out, moments.n, corpus.coverage, corpus.digest,
        time.perf_counter() - began,
    )  # fmt: skip


def _check_size(corpus: Corpus, fit: int, validation: int) -> None:
    if fit < 200 or validation < 20:
        raise UserError(
            f"{corpus.source}: too little text for a fit ({fit} tokens) and a validation ({validation} "
            "tokens) that share no document; give more documents (blank lines part them in a .txt file)"
        )


def _validation_states(
    source: Site, target: Site, texts: list[PairedTokens], batch_size: int
) -> tuple[Tensor, Tensor]:
    """Validation states in the order of `texts`, so that each text's rows are known."""
    parts: dict[int, tuple[Tensor, Tensor]] = {}
    for batch, x, y in paired_states(source, target, texts, batch_size):
        sizes = [len(texts[i].source_at) for i in batch]
        for index, x_part, y_part in zip(batch, x.split(sizes), y.split(sizes), strict=True):
            parts[index] = (x_part.cpu(), y_part.cpu())
    ordered = [parts[index] for index in range(len(texts))]
    return torch.cat([x for x, _ in ordered]), torch.cat([y for _, y in ordered])
