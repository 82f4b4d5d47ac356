"""Where a bench has its paired states from: a pass over the corpus, or whoever read them already."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lrt_bench.data.corpus import Budget, Corpus
from lrt_bench.models.kept_states import draw_keys, recall_draws
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates, collect_draws


class StatesSource(ABC):
    """Hands a bench its paired states, when they are first needed."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what the corpus is read from; known without reading it."""

    @property
    @abstractmethod
    def revisions(self) -> Mapping[str, str]:
        """Revision of each data set that was read: {id: Hub commit or hash of local files}."""

    @abstractmethod
    def draws(self) -> tuple[PairedStates, ...]:
        """Paired states of the source and the target site, of every draw of documents."""

    def states(self) -> PairedStates:
        """Paired states of the first draw."""
        return self.draws()[0]


@dataclass(eq=False)
class CorpusStates(StatesSource):
    """Paired states from one pass over a corpus, made at the first call and kept, in the cache too.

    Parameters
    ----------
    source, target
        The sites whose states are paired.
    corpus, budget
        The text, and how much of it is read.
    progress
        Called with the share of the pass that is done.
    """

    source: Site
    target: Site
    corpus: Corpus
    budget: Budget
    seed: int
    batch_size: int
    progress: Callable[[float], None] = lambda done: None
    _draws: tuple[PairedStates, ...] | None = field(default=None, init=False, repr=False)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of what the corpus is read from."""
        return self.corpus.fingerprint()

    @property
    def revisions(self) -> Mapping[str, str]:
        """Revision of each data set that was read."""
        return self.corpus.data.revisions

    def draws(self) -> tuple[PairedStates, ...]:
        """Paired states of both sites, of every draw.

        Raises
        ------
        UserError
            Where the corpus has too little text.
        """
        if self._draws is None:
            keys = draw_keys(
                self.source, self.target, self.fingerprint, self.budget,
                seed=self.seed, batch_size=self.batch_size,
            )  # fmt: skip
            self._draws = recall_draws(keys, self._collected)
        return self._draws

    def _collected(self) -> tuple[PairedStates, ...]:
        return collect_draws(
            self.source, self.target, self.corpus, self.budget,
            seed=self.seed, batch_size=self.batch_size, progress=self.progress,
        )  # fmt: skip

    def release(self) -> None:
        """Free the states; a later call of `states` would read the corpus again."""
        self._draws = None


@dataclass(eq=False)
class ReceivedStates(StatesSource):
    """Paired states that were read elsewhere; `receive` hands them in."""

    corpus_fingerprint: str = ""
    data_revisions: Mapping[str, str] = field(default_factory=dict)
    received: tuple[PairedStates, ...] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what the corpus was read from, as its reader gave it."""
        return self.corpus_fingerprint

    @property
    def revisions(self) -> Mapping[str, str]:
        """Revision of each data set that was read."""
        return self.data_revisions

    def receive(self, draws: tuple[PairedStates, ...], revisions: Mapping[str, str]) -> None:
        """Take every draw's states, and the revisions of the data sets that they were read from."""
        self.received, self.data_revisions = draws, revisions

    def draws(self) -> tuple[PairedStates, ...]:
        """Paired states that were handed in."""
        if self.received is None:
            raise RuntimeError("a bench's states were asked for before they were handed in")
        return self.received
