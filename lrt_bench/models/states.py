"""Streams paired states from two sites and a corpus: one pass feeds all that a mapping may see.

The pass keeps the moments of the fit split (whole), a bounded sample of it (memory-mapped, uniform over
the stream), and a bounded validation set. Nothing else is held, so memory does not grow with the corpus.

It is cut into shards whose bounds depend on the text alone. Whoever reads a shard, and whenever, the moments
are merged in the shards' order and the sample's choices depend on counts: the states are the same.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.corpus import Budget, Corpus, Coverage, PairedTokens
from lrt_bench.data.sufficiency import VALIDATION_FLOOR, check_floors, enough_first, enough_for_draws
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.batching import by_length, pad, paired_forwards
from lrt_bench.models.checks.probes import check_finite
from lrt_bench.models.memory import give_back, halving
from lrt_bench.models.sample import Sample
from lrt_bench.models.sites import Site

SHARD = 128  # sequences of a shard; whole batches, one at least
Kept = Literal["validation", "unseen"]  # of documents that no fit reads
Sides = tuple[np.ndarray, np.ndarray]
Begin = Callable[[int, int, torch.device], Moments]  # `Moments.zeros`, or `Moments.without_s_yy`


@dataclass
class PairedStates:
    """All that a mapping is fitted on: one draw of documents.

    Mappings read `moments`, `batches()` and `validation`.

    Attributes
    ----------
    moments : of every fit pair.
    validation : source [n, d_source] and target [n, d_target] states of other documents, float32.
    validation_text : the token sequences of those states, for running the target on mapped states.
    unseen : the same of further documents, which no method is given: fidelity is measured on them; None
        where none were asked for, or the text ended.
    unseen_text : the token sequences of those.
    tokens : fit pairs seen.
    coverage : how many tokens of either side are in a pair.
    seconds : wall time of the pass, shared out among its draws.
    shown : places of the validation states that a method is given, where it is not given all. What else is
        measured on validation texts is measured on all of them, and is the same for every draw and budget.
    """

    moments: Moments
    sample: Sample
    validation: tuple[Tensor, Tensor]
    validation_text: list[PairedTokens]
    tokens: int
    coverage: Coverage
    digest: str
    seconds: float
    unseen: tuple[Tensor, Tensor] | None = None
    unseen_text: list[PairedTokens] = field(default_factory=list)
    shown: np.ndarray | None = None

    @property
    def d_source(self) -> int:
        """Width of the source's states."""
        return len(self.moments.mean_x)

    @property
    def d_target(self) -> int:
        """Width of the target's states."""
        return len(self.moments.mean_y)

    @property
    def held_out(self) -> tuple[Tensor, Tensor]:
        """States that fidelity is measured on: the unseen ones, or the validation states without them."""
        return self.validation if self.unseen is None else self.unseen

    @property
    def held_out_text(self) -> list[PairedTokens]:
        """The token sequences of those states."""
        return self.validation_text if self.unseen is None else self.unseen_text

    @property
    def given(self) -> PairedStates:
        """The states with those of validation alone that a method is given."""
        if self.shown is None:
            return self
        rows = torch.from_numpy(self.shown.copy())  # it may be of a file that is read-only
        x, y = self.validation
        return replace(self, validation=(x[rows], y[rows]), validation_text=[], shown=None)

    def copy(self) -> PairedStates:
        """Return the same states, of which a method may change its copy; what it may not see is left out."""
        given = self.given
        return replace(
            given,
            unseen=None,
            unseen_text=[],
            moments=self.moments.to("cpu", copy=True),
            validation=(given.validation[0].clone(), given.validation[1].clone()),
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


def gather(states: Tensor, positions: list[np.ndarray]) -> Tensor:
    """Return the states of some positions of each row, row after row: [b, t, d] -> [n, d]."""
    length = states.shape[1]
    rows = np.concatenate([row * length + tokens for row, tokens in enumerate(positions)])
    return states.flatten(0, 1).index_select(0, torch.from_numpy(rows).to(states.device))


def paired_states(
    source: Site, target: Site, texts: list[PairedTokens], batch_size: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """For batches of `texts`: (indices, source states [n, d_source], target states [n, d_target]).

    States are in the order of the indices and, within a text, of its pairs.
    """

    def both(batch: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = [texts[i] for i in batch]
        x = source.read(pad([text.source_ids for text in chosen]))
        y = target.read(pad([text.target_ids for text in chosen]))
        return (
            gather(x, [text.source_at for text in chosen]),
            gather(y, [text.target_at for text in chosen]),
        )

    lengths = [(len(text.source_ids), len(text.target_ids)) for text in texts]
    for batch in paired_forwards((source.model, target.model), lengths, batch_size):
        for part, (x, y) in halving(both, batch):
            yield list(part), x, y


@dataclass(frozen=True)
class Shard:
    """Texts of one split that are read together, and which of their states are kept.

    Attributes
    ----------
    texts : in batches of like length.
    rows : of the shard's pairs, in the order in which they are read, those whose states are kept.
    slots : the kept ones' places, in the sample or among the validation states.
    draw : the draw that a fit shard belongs to.
    """

    split: Literal["fit"] | Kept
    texts: list[PairedTokens]
    rows: np.ndarray
    slots: np.ndarray
    draw: int = 0

    def kept(self, seen: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the shard's pairs `seen`, `seen` + 1, ... are kept."""
        first, end = np.searchsorted(self.rows, (seen, seen + len(x)))
        if end - first == len(x):
            return x, y
        rows = torch.from_numpy(self.rows[first:end] - seen).to(x.device)
        return x[rows], y[rows]


@dataclass(frozen=True)
class ShardStates:
    """What is read of a shard: a fit shard's moments, and the kept rows x [n, d_source], y [n, d_target]."""

    moments: Moments | None
    x: np.ndarray
    y: np.ndarray


def read_shard(
    source: Site, target: Site, shard: Shard, batch_size: int, begin: Begin = Moments.zeros
) -> ShardStates:
    """Run both models on a shard; `begin` makes the moments that it is summed in.

    On a GPU nothing waits for it until the shard's end: moments are summed there, and what is kept is copied
    in one go, so that the next batch's text is prepared while it computes.
    """
    device = target.model.device if target.model.device.type == "cuda" else torch.device("cpu")
    moments = begin(source.width, target.width, device) if shard.split == "fit" else None
    kept: list[tuple[Tensor, Tensor]] = []
    seen = 0
    for _, x, y in paired_states(source, target, shard.texts, batch_size):
        x, y = x.to(device), y.to(device)
        if moments is not None:
            moments.update(x, y)
        kept.append(shard.kept(seen, x, y))
        seen += len(x)
    states = [torch.cat(side).cpu() for side in zip(*kept, strict=True)]
    for site, read in zip((source, target), states, strict=True):
        check_finite(site.model, read, f"its states at layer {site.layer}")
    if moments is not None:
        check_finite(target.model, moments.mean_y, f"its states at layer {target.layer}")
        check_finite(source.model, moments.mean_x, f"its states at layer {source.layer}")
    xs, ys = (read.numpy() for read in states)
    return ShardStates(moments.to("cpu") if moments else None, xs, ys)


class Pass:
    """One pass over a corpus up to a budget: it hands out shards, and puts together what is read of them.

    Parameters
    ----------
    tokenizers, limits, widths : of the source and of the target: tokenizer, longest text, width of the site.
    batch_size : sequences in one forward.
    begin : what the moments are begun with, here and by whoever reads the shards.
    """

    def __init__(
        self,
        corpus: Corpus,
        budget: Budget,
        tokenizers: tuple[Any, Any],
        limits: tuple[int, int],
        widths: tuple[int, int],
        *,
        seed: int = 0,
        batch_size: int = 64,
        begin: Begin = Moments.zeros,
    ) -> None:
        self._began = time.perf_counter()
        self.corpus, self.budget = corpus, budget
        self._tokenizers, self._limits = tokenizers, limits
        self._rows, self._shard_rows = batch_size, max(1, SHARD // batch_size) * batch_size
        draws = range(budget.draws)
        self._moments = [begin(*widths, torch.device("cpu")) for _ in draws]
        self._samples = [Sample(budget.sample_tokens, *widths, seed + draw) for draw in draws]
        self._texts: dict[Kept, list[PairedTokens]] = {"validation": [], "unseen": []}
        self._widths = widths
        self._states: dict[Kept, Sides] = {}

    def shards(self) -> Iterator[Shard]:
        """Return the shards in their order, fit first; they may be read before earlier ones are added.

        Raises UserError where the corpus has too little text for a fit or for a validation.
        """
        budget, handed_out = self.budget, [0] * self.budget.draws
        held_out = {"validation": 0, "unseen": 0}
        wanted = {"validation": budget.validation_tokens, "unseen": budget.unseen_tokens}
        blocks = enough_first(self.corpus, self.corpus.pairs(*self._tokenizers, self._limits))
        for block in enough_for_draws(self.corpus, blocks, budget):
            fit: list[list[PairedTokens]] = [[] for _ in handed_out]
            for text in block:
                draw = text.document % budget.draws
                if text.split == "fit" and handed_out[draw] < budget.fit_tokens:
                    if budget.draws > 1:
                        text = text.cut(budget.fit_tokens - handed_out[draw])
                    fit[draw].append(text)
                    handed_out[draw] += len(text.source_at)
                elif text.split == "validation":
                    kept: Kept = "validation" if held_out["validation"] < wanted["validation"] else "unseen"
                    if held_out[kept] < wanted[kept]:
                        self._texts[kept].append(text)
                        held_out[kept] += len(text.source_at)
            for draw, own in enumerate(fit):
                yield from self._fit_shards(draw, own)
            del block, fit, own  # before the next one is made
            enough = all(held_out[name] >= wanted[name] for name in wanted)
            if min(handed_out) >= budget.fit_tokens and enough:
                break
        check_floors(self.corpus, min(handed_out), held_out["validation"], budget)
        yield from self._kept_shards("validation")
        if held_out["unseen"] >= VALIDATION_FLOOR:
            yield from self._kept_shards("unseen")
        elif self.budget.unseen_tokens:
            self.corpus.data.say(
                f"{self.corpus.source}: the text ends before a third split: fidelity is of validation states"
            )

    def _fit_shards(self, draw: int, own: list[PairedTokens]) -> Iterator[Shard]:
        """Yield the shards of a block's texts that belong to one draw."""
        for chosen in by_length([len(text.source_ids) for text in own], self._shard_rows):
            texts = [own[i] for i in chosen]
            kept = self._samples[draw].draw(sum(len(text.source_at) for text in texts))
            yield Shard("fit", texts, *kept, draw)
            del texts

    def _kept_shards(self, split: Kept) -> Iterator[Shard]:
        """Yield the shards of the validation or the unseen texts; their states stand in the texts' order."""
        texts = self._texts[split]
        ends = np.cumsum([len(text.source_at) for text in texts])
        x, y = (np.empty((ends[-1], width), np.float32) for width in self._widths)
        self._states[split] = x, y
        for chosen in by_length([len(text.source_ids) for text in texts], self._shard_rows):
            slots = [np.arange(ends[i] - len(texts[i].source_at), ends[i]) for i in chosen]
            places = np.concatenate(slots)
            yield Shard(split, [texts[i] for i in chosen], np.arange(len(places)), places)

    def add(self, shard: Shard, read: ShardStates) -> float:
        """Take in what was read of a shard, in the shards' order: the share of the fit that is done."""
        if shard.split == "fit":
            assert read.moments is not None
            self._moments[shard.draw].merge(read.moments)
            self._samples[shard.draw].put(shard.slots, read.x, read.y)
        else:
            for side, kept in zip(self._states[shard.split], (read.x, read.y), strict=True):
                side[shard.slots] = kept
        read_tokens = sum(moments.n for moments in self._moments)
        return min(1.0, read_tokens / (self.budget.draws * self.budget.fit_tokens))

    def draws(self) -> tuple[PairedStates, ...]:
        """Return the paired states of every draw, once every shard is added.

        Draws differ in what fits are given; what is measured on other texts is measured on the same ones.
        """
        x, y = self._states["validation"]
        unseen = self._states.get("unseen")
        seconds = (time.perf_counter() - self._began) / self.budget.draws
        return tuple(
            PairedStates(
                moments, sample, (torch.from_numpy(x), torch.from_numpy(y)), self._texts["validation"],
                moments.n, self.corpus.coverage, self.corpus.digest, seconds,
                None if unseen is None else (torch.from_numpy(unseen[0]), torch.from_numpy(unseen[1])),
                self._texts["unseen"] if unseen is not None else [],
                self._shown(draw),
            )
            for draw, (moments, sample) in enumerate(zip(self._moments, self._samples, strict=True))
        )  # fmt: skip

    def _shown(self, draw: int) -> np.ndarray | None:
        """Return places of the validation states that a draw's fit is shown: of its own documents."""
        most = self.budget.shown_tokens
        if not most:
            return None
        texts = self._texts["validation"]
        owner = np.concatenate([np.full(len(t.source_at), t.document % self.budget.draws) for t in texts])
        return np.flatnonzero(owner == draw)[:most]


def collect_draws(
    source: Site,
    target: Site,
    corpus: Corpus,
    budget: Budget,
    *,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[float], None] = lambda done: None,
    begin: Begin = Moments.zeros,
) -> tuple[PairedStates, ...]:
    """One pass over the corpus up to the budget, here and now: the states of every draw.

    begin : `Moments.without_s_yy` where nothing that is fitted on the states reads S_yy: it is spared.
    Raises UserError where the corpus has too little text for a fit or for a validation.
    """
    sides = source.model, target.model
    whole = Pass(
        corpus, budget, (sides[0].tokenizer, sides[1].tokenizer), (sides[0].context, sides[1].context),
        (source.width, target.width), seed=seed, batch_size=batch_size, begin=begin,
    )  # fmt: skip
    for shard in whole.shards():
        progress(whole.add(shard, read_shard(source, target, shard, batch_size, begin)))
    give_back()
    return whole.draws()


def collect(source: Site, target: Site, corpus: Corpus, budget: Budget, **settings: Any) -> PairedStates:
    """Return the states of the first draw, as `collect_draws` reads them."""
    return collect_draws(source, target, corpus, budget, **settings)[0]
