"""Rows that no method gives: a built-in map with stored answers mixed in, and native vectors made worse.

They are for trials of what a private score holds back (`private_trial`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.tasks import ChoiceTask, VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.rows import Row, controls, mapping_row


def _native() -> Row:
    return next(row for row in controls() if row.name == "native")


@dataclass
class StoredRow(Row):
    """A built-in map's vectors, moved a share of the way to the native ones: what a cheat could store."""

    base: str = "ridge"
    share: float = 1.0

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        self._honest = mapping_row(self.base)
        own, native = self._honest.vectors(bench, tasks), _native().vectors(bench, tasks)
        self.mappings = self._honest.mappings  # as many fits as the base has
        return {name: torch.lerp(own[name], native[name].expand_as(own[name]), self.share) for name in own}

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return both rows' vectors of half of a task's pairs, mixed as the whole ones are."""
        own, native = (row.half_vectors(bench, task, vectors) for row in (self._honest, _native()))
        return torch.lerp(own, native.expand_as(own), self.share)


@dataclass
class WorsenedRow(Row):
    """The native vectors turned by random directions to a cosine with what they were; their lengths stay."""

    cosine: float = 1.0

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [1, d_target]}."""
        native = _native().vectors(bench, tasks)
        return {name: self._turned(vectors, index) for index, (name, vectors) in enumerate(native.items())}

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the native vectors of half of a task's pairs, turned alike."""
        native = _native().half_vectors(bench, task, vectors)
        return self._turned(native, [one.name for one in bench.choice_sweep.tasks].index(task.name))

    def _turned(self, vectors: Tensor, index: int) -> Tensor:
        """Turn vectors [..., d] towards one random direction of the task's."""
        drawn = torch.randn(vectors.shape[-1], generator=torch.Generator().manual_seed(index))
        length = vectors.norm(dim=-1, keepdim=True)
        along = vectors / length
        aside = drawn - (along @ drawn)[..., None] * along
        aside = aside / aside.norm(dim=-1, keepdim=True)
        return length * (self.cosine * along + (1 - self.cosine**2) ** 0.5 * aside)


def stored(base: str, share: float) -> StoredRow:
    """Return a row of stored answers, named by its base and the percentage that is stored."""
    return StoredRow(
        f"{base}-{100 * share:.0f}-stored", "", control=False, track="corpus", base=base, share=share
    )


def worsened(cosine: float) -> WorsenedRow:
    """Return a row of worsened native vectors, named by the cosine in hundredths."""
    return WorsenedRow(f"worsened-{100 * cosine:.0f}", "", control=False, track="corpus", cosine=cosine)
