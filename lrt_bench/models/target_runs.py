"""The target on corpus text, run on from its site on states in the place of its own, with gradients.

What a target-aware map's fit is given (`mappings.target.target_aware`). It reads the first documents of the
corpus, a bounded number of tokens of either split. The blocks below the site are run once; all that is
run again are the blocks above it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.corpus import Budget, Corpus, PairedTokens
from lrt_bench.models.base import Frame
from lrt_bench.models.batching import pad, paired_by_length
from lrt_bench.models.sites import Site
from lrt_bench.models.states import gather

FIT_TOKENS, HELD_OUT_TOKENS = 16_384, 4_096  # paired tokens that the target is run on at most
LEAST, MOST = 128, 1024  # tokens of a batch; between them as many as `HELD` allows
HELD = 1 << 25  # numbers of log-probabilities that a batch may have, 128 MiB


@dataclass(frozen=True)
class RunTexts:
    """Texts of a draw: of the fit split, and of documents that no fit reads."""

    fit: list[PairedTokens]
    held_out: list[PairedTokens]


def run_texts(
    corpus: Corpus, tokenizers: tuple[Any, Any], limits: tuple[int, int], budget: Budget, draw: int = 0
) -> RunTexts:
    """Return the first texts of the corpus that a fit may run the target on.

    No more of the fit split than a fit of the budget reads, and no more of the validation split than it is
    shown: of the draw's own documents where there are several draws.

    Parameters
    ----------
    tokenizers, limits : of the source and of the target: tokenizer, longest text.
    """
    shown = budget.shown_tokens or budget.validation_tokens
    wanted = {"fit": min(budget.fit_tokens, FIT_TOKENS), "validation": min(shown, HELD_OUT_TOKENS)}
    texts: dict[str, list[PairedTokens]] = {"fit": [], "validation": []}
    for block in corpus.pairs(*tokenizers, limits):
        for text in block:
            if wanted[text.split] > 0 and text.document % budget.draws == draw:
                texts[text.split].append(text.cut(wanted[text.split]))
                wanted[text.split] -= len(text.source_at)
        if max(wanted.values()) <= 0:
            break
    return RunTexts(texts["fit"], texts["validation"])


@dataclass(eq=False)
class CorpusRuns:
    """The target on some texts of a pair's corpus; states are read when they are first asked for."""

    source: Site
    target: Site
    texts: RunTexts

    @classmethod
    def of(cls, source: Site, target: Site, corpus: Corpus, budget: Budget, draw: int = 0) -> CorpusRuns:
        """Return the target on the texts of a corpus that a fit of a budget may run it on (`run_texts`)."""
        tokenizers = source.model.tokenizer, target.model.tokenizer
        limits = source.model.context, target.model.context
        return cls(source, target, run_texts(corpus, tokenizers, limits, budget, draw))

    @functools.cached_property
    def fit(self) -> Sequence[RunBatch]:
        """Batches of the fit split."""
        return list(self._batches(self.texts.fit))

    @functools.cached_property
    def held_out(self) -> Sequence[RunBatch]:
        """Batches of documents that no fit reads."""
        return list(self._batches(self.texts.held_out))

    @property
    def tokens(self) -> int:
        """Tokens that were run through the target's blocks above the site so far, repeats counted."""
        read = [batch for side in ("fit", "held_out") for batch in vars(self).get(side, ())]
        return sum(batch.runs * batch.length for batch in read)

    def _batches(self, texts: Sequence[PairedTokens]) -> Iterator[RunBatch]:
        models = self.source.model, self.target.model
        lengths = [(len(text.source_ids), len(text.target_ids)) for text in texts]
        room = min(MOST, max(LEAST, HELD // len(self.target.model.head.weight)))
        for alike in paired_by_length(models, lengths, len(texts)):
            size = max(1, room // max(lengths[index][1] for index in alike))
            for start in range(0, len(alike), size):
                chosen = [texts[index] for index in alike[start : start + size]]
                x = self.source.read(pad([text.source_ids for text in chosen]))
                own = self.target.read(pad([text.target_ids for text in chosen]))
                yield RunBatch(self.target, chosen, gather(x, [t.source_at for t in chosen]).cpu(), own)


@dataclass(eq=False)
class RunBatch:
    """Some texts: paired tokens' states of both sides, and the target to be run on from its site.

    Attributes
    ----------
    source : [n, d_source]. whole : the target's states at the site [b, t, d].
    runs : how often the blocks above the site were run.
    """

    site: Site
    texts: Sequence[PairedTokens]
    source: Tensor
    whole: Tensor
    runs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        length = self.whole.shape[1]
        places = np.concatenate([row * length + text.target_at for row, text in enumerate(self.texts)])
        self._places = torch.from_numpy(places).to(self.whole.device)
        self.source, self.whole = self.source.clone(), self.whole.clone()  # no longer of inference mode

    @property
    def length(self) -> int:
        """The texts' tokens in the target."""
        return sum(len(text.target_ids) for text in self.texts)

    @property
    def target(self) -> Tensor:
        """The target's own states of the paired tokens [n, d]."""
        return self.whole.flatten(0, 1)[self._places]

    def own(self) -> Tensor:
        """Log-probabilities after each paired token, the target undisturbed: [n, vocabulary], no gradient."""
        with torch.no_grad():
            return self._log_probabilities(self._own_finals)

    def continued(self, states: Tensor) -> Tensor:
        """Return the same with states [n, d] in the paired tokens' place: gradients flow to them.

        Tokens without a partner, BOS among them, keep the target's own state.
        """
        rows = states.to(self.whole.device, self.whole.dtype)
        mixed = self.whole.flatten(0, 1).index_copy(0, self._places, rows)
        return self._log_probabilities(self._finals(mixed.view_as(self.whole)))

    @functools.cached_property
    def _own_finals(self) -> Tensor:
        with torch.no_grad():
            return self._finals(self.whole)

    def _finals(self, states: Tensor) -> Tensor:
        """Run the blocks above the site; what the head reads at the paired tokens [n, d]."""
        model = self.site.model
        frame = _of_no_inference(model.frame(states.shape[1]))
        for index in range(self.site.layer, model.n_layers):
            states = model.tracked_block(index, states, frame)
        self.runs += 1
        return model.tracked_finish(states).flatten(0, 1)[self._places]

    def _log_probabilities(self, finals: Tensor) -> Tensor:
        return self.site.model.head.all(finals).log_softmax(-1)


def _of_no_inference(frame: Frame) -> Frame:
    """Return a frame whose tensors autograd may keep."""
    return Frame([{name: _plain(value) for name, value in call.items()} for call in frame.calls])


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return value
