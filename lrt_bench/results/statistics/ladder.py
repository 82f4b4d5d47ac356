"""The area under a score over the logarithm of the tokens that were fitted on, by task.

A score is read at several numbers of tokens, on the same tasks, prompts and draws of documents. A task's area
is a weighted mean of its shares, so it is on a score's scale, and both intervals of a score are made of it
as they are of shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrt_bench.results.metrics import Array
from lrt_bench.results.statistics.inference import GateSample, TaskSample


def log_weights(tokens: Sequence[int]) -> Array:
    """Return each rung's part of the area by the trapezoid rule over log tokens: [rungs], sums to 1.

    Raises ValueError unless there are two numbers of tokens or more, ascending.
    """
    places = np.log(np.asarray(tokens, dtype=np.float64))
    steps = np.diff(places)
    if not len(steps) or not bool((steps > 0).all()):
        raise ValueError(f"tokens {tuple(tokens)}: want two or more, ascending")
    weights = np.zeros(len(places))
    weights[:-1] += steps / 2
    weights[1:] += steps / 2
    return np.asarray(weights / steps.sum())


@dataclass(frozen=True)
class AreaSample:
    """One task of one row at every rung; stands where `inference` takes a `TaskSample`.

    rungs : ascending in tokens, on the same prompts and fits. weights [rungs] : as `log_weights` has them.
    gate : always None. Which tasks count was decided at each rung.

    Raises ValueError where rungs differ in prompts or fits.
    """

    rungs: tuple[TaskSample, ...]
    weights: Array
    gate: GateSample | None = None

    def __post_init__(self) -> None:
        shapes = {rung.numerator.shape for rung in self.rungs}
        if len(shapes) != 1 or len(self.rungs) != len(self.weights):
            raise ValueError(f"rungs: want one of each weight, alike in fits and prompts, got {shapes}")

    @property
    def prompts(self) -> int:
        """Number of scored prompts."""
        return self.rungs[0].prompts

    @property
    def share(self) -> float:
        """The area: the weighted mean of the rungs' clipped shares."""
        return float(self.weights @ [rung.share for rung in self.rungs])

    @property
    def seed_shares(self) -> Array:
        """The area of each draw of documents alone [draws]: a draw's rungs are not independent."""
        return np.asarray(self.weights @ np.stack([rung.seed_shares for rung in self.rungs]))

    @property
    def by_definition(self) -> bool:
        """Whether the row is at every rung what it is compared with, or no steering at all."""
        return all(rung.by_definition for rung in self.rungs)

    @property
    def shares_without(self) -> Array:
        """The area of the other prompts, without each one in turn, the same at every rung [prompts]."""
        return np.asarray(self.weights @ np.stack([rung.shares_without for rung in self.rungs]))
