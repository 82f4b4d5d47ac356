"""One pair of one suite: the parts that its rows share, each made when it is first asked for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.tasks import Task
from lrt_bench.evaluation.bench.behaviour import BehaviourReferences
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.references import FidelityReferences, RefusalAlphas, random_directions
from lrt_bench.evaluation.bench.states import StatesSource
from lrt_bench.evaluation.bench.writer import Writer
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates
from lrt_bench.models.target_runs import CorpusRuns


@dataclass(frozen=True, eq=False)
class PairBench:
    """One pair of one suite, with all that its rows share.

    Parameters
    ----------
    tasks
        The pair's tasks with their data.
    states_source
        Hands in the paired states when they are first needed.
    batch_size
        Sequences in one forward.
    data
        Where the corpus gets its rows, for fits that run the target on it.
    """

    suite: Suite
    pair: PairSpec
    source: Site
    target: Site
    tasks: Sequence[Task]
    states_source: StatesSource
    seed: int = 0
    batch_size: int = 64
    data: Data = field(default_factory=Data)

    @property
    def states(self) -> PairedStates:
        """Paired states of the two sites, of the first draw: what is measured on states has these."""
        return self.states_source.states()

    def fits(self, stochastic: bool) -> int:
        """Return how often a method is fitted: once on each draw; on a single draw, with each seed."""
        if self.suite.corpus.draws > 1:
            return self.suite.corpus.draws
        return self.suite.fit_seeds if stochastic else 1

    def fit_states(self, fit: int) -> PairedStates:
        """Return what a fit is given, by its number: the states of a draw, in turn."""
        draws = self.states_source.draws()
        return draws[fit % len(draws)].given

    def target_runs(self, fit: int) -> CorpusRuns:
        """Return the target to be run on the corpus for a fit, by its number: on documents of its draw.

        Nothing is read that the fit's states were not read from. Each fit reads anew: it costs what it costs.
        """
        corpus, budget = self.suite.corpus.corpus(self.data), self.suite.budget_of(self.pair)
        return CorpusRuns.of(self.source, self.target, corpus, budget, fit % budget.draws)

    @functools.cached_property
    def spread(self) -> float:
        """The unit of alpha at the target layer (design, protocol 4).

        Where fits are on several draws, or on few tokens, it is that of the validation states: the same for
        every budget.
        """
        if self.suite.corpus.draws > 1 or self.pair.fit_tokens is not None:
            return spread(Moments.of(*self.states.validation).variance_y)
        return spread(self.states.moments.variance_y)

    @functools.cached_property
    def inputs(self) -> TaskInputs:
        """The tasks and their concepts' states."""
        return TaskInputs(self.source, self.target, self.tasks, self.batch_size, self.suite.contrasts)

    @functools.cached_property
    def choice_sweep(self) -> ChoiceSweep:
        """The measurement that scores come from."""
        suite = self.suite
        return ChoiceSweep(
            self.inputs, self.target, suite.alphas, suite.over_steering, self.spread, self.batch_size,
            suite.prompts,
        )  # fmt: skip

    @functools.cached_property
    def behaviour(self) -> BehaviourReferences | None:
        """The measurement of behaviour; None where the suite asks for none."""
        suite = self.suite
        if suite.behaviour is None:
            return None
        return BehaviourReferences(
            suite.behaviour, self.inputs, self.choice_sweep, self.states_source, self.spread,
            self.random_directions(), self.seed, self.batch_size,
        )  # fmt: skip

    @functools.cached_property
    def writer(self) -> Writer:
        """The target's writing under steering."""
        return Writer(self.target, self.seed, self.batch_size)

    @functools.cached_property
    def refusal_alphas(self) -> RefusalAlphas:
        """The alphas at which refusal tasks' harmless instructions are answered."""
        return RefusalAlphas(self.inputs, self.spread, self.batch_size)

    @functools.cached_property
    def fidelity(self) -> FidelityReferences:
        """What mapped states are compared with."""
        return FidelityReferences(self.inputs, self.states_source)

    @functools.cached_property
    def ridges(self) -> list[Ridge]:
        """The maps behind the `other-concept` control, one a draw; `shuffled` has their strengths."""
        ridges = [Ridge() for _ in self.states_source.draws()]
        for fit, ridge in enumerate(ridges):
            ridge.fit(self.fit_states(fit))
        return ridges

    def random_directions(self) -> Tensor:
        """Draw unit directions of the `random` control [directions, d_target], the same for every task."""
        return random_directions(self.suite.random_directions, self.target.width, self.seed)
