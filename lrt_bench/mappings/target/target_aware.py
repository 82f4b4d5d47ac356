"""What a target-aware map is given beside paired states: the target, run on from its site on corpus text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from lrt_bench.errors import UserError
from lrt_bench.mappings.base import FitStates, LinearMapping


class TargetBatch(Protocol):
    """Some documents of the corpus: n tokens of the target that have a partner in the source.

    Attributes
    ----------
    source [n, d_source], target [n, d_target] : states of the same tokens, float32.
    """

    @property
    def source(self) -> Tensor:
        """The source's states [n, d_source]."""

    @property
    def target(self) -> Tensor:
        """The target's own states [n, d_target]."""

    def own(self) -> Tensor:
        """Log-probabilities of the token after each, the target undisturbed: [n, vocabulary], no gradient."""

    def continued(self, states: Tensor) -> Tensor:
        """Return the same with states [n, d_target] in the place of its own: gradients flow to them."""


class TargetRuns(Protocol):
    """The target on a bounded number of corpus documents; never on a concept's texts or a scored prompt.

    Attributes
    ----------
    fit : of documents of the fit split. held_out : of documents that no fit reads, to stop and to choose by.
    """

    @property
    def fit(self) -> Sequence[TargetBatch]:
        """Batches of documents that a fit may learn from."""

    @property
    def held_out(self) -> Sequence[TargetBatch]:
        """Batches of other documents."""


class TargetAware(LinearMapping):
    """A linear map whose fit may run the target on corpus text; ranked apart.

    Once fitted it is a matrix like any other: it is kept, and carries vectors, without the target.
    """

    track = "target-aware"
    stochastic = True

    def fit(self, states: FitStates) -> None:
        """Refuse: states alone are not enough.

        Raises UserError.
        """
        raise UserError(
            f"{type(self).__name__} runs the target, which is not at hand here: "
            "evaluate, fit and transfer fit such a map"
        )

    def solve(self, states: FitStates) -> Tensor:
        """Refuse, as `fit` does."""
        self.fit(states)
        return self.weight

    def fit_on_target(self, states: FitStates, target: TargetRuns) -> None:
        """Learn the weight from paired states and runs of the target; the bias follows from the means."""
        self.weight = self.solve_on_target(states, target)
        moments = states.moments
        self.bias = moments.mean_y - self.weight @ moments.mean_x

    @abstractmethod
    def solve_on_target(self, states: FitStates, target: TargetRuns) -> Tensor:
        """Return the weight [d_target, d_source], float64."""
