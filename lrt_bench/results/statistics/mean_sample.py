"""One task read several times: on the pairs of a suite, or at several numbers of tokens.

A row's weighted mean over them is on a score's scale, so both intervals of a score are made of it as they are
of shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrt_bench.results.metrics import Array
from lrt_bench.results.statistics.inference import GateSample, TaskSample


@dataclass(frozen=True)
class MeanSample:
    """One task of one row at every part; stands where `inference` takes a `TaskSample`.

    parts : with as many fits each. weights [parts] : sum to 1.
    gate : always None. Which tasks count was decided at each part.

    Raises ValueError where parts differ in fits.
    """

    parts: tuple[TaskSample, ...]
    weights: Array
    gate: GateSample | None = None

    def __post_init__(self) -> None:
        fits = {len(part.numerator) for part in self.parts}
        if len(fits) != 1 or len(self.parts) != len(self.weights):
            raise ValueError(f"parts: want one of each weight, alike in fits, got {fits}")

    @property
    def same_prompts(self) -> bool:
        """Whether all parts have as many prompts, of which the k-th are then one."""
        return len({part.prompts for part in self.parts}) == 1

    @property
    def prompts(self) -> int:
        """Number of scored prompts."""
        return self.parts[0].prompts

    @property
    def share(self) -> float:
        """The weighted mean of the parts' clipped shares."""
        return float(self.weights @ [part.share for part in self.parts])

    @property
    def seed_shares(self) -> Array:
        """The mean of each fit alone [fits]: the k-th fits of all parts are one."""
        return np.asarray(self.weights @ np.stack([part.seed_shares for part in self.parts]))

    @property
    def by_definition(self) -> bool:
        """Whether the row is at every part what it is compared with, or no steering at all."""
        return all(part.by_definition for part in self.parts)

    @property
    def shares_without(self) -> Array:
        """The mean of the other prompts, without each one in turn, the same at every part [prompts].

        Raises ValueError where parts have other prompts.
        """
        if not self.same_prompts:
            raise ValueError("parts: other prompts: no prompt can be left out of all")
        return np.asarray(self.weights @ np.stack([part.shares_without for part in self.parts]))
