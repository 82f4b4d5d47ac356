"""What every row of a pair has: a name, and the vectors that it steers with."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec
from lrt_bench.data.tasks import ChoiceTask, VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, Vectors
from lrt_bench.evaluation.rows.carried import half_carriers
from lrt_bench.mappings import Mapping
from lrt_bench.results.schema.audit_records import AuditRecord


@dataclass
class Row(ABC):
    """One row of the table.

    Attributes
    ----------
    mappings : the fitted maps, one a seed; empty for a row that maps no states.
    fit_texts : texts of concepts that a task-aware map was made of; None of all others.
    target_tokens : that a target-aware fit ran the target on, mean over fits; None of all others.
    fit_seconds : of the fits alone, mean over seeds; the states are counted apart.
    over_steered : whether the over-steering alphas are swept.
    """

    over_steered: ClassVar[bool] = False

    name: str
    rule: str
    control: bool = True
    track: str = "control"
    mappings: list[Mapping] = field(default_factory=list)
    fit_seconds: float = 0.0
    fit_texts: int | None = None
    target_tokens: int | None = None
    audit: AuditRecord | None = None

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return hashlib.sha256(f"control {self.name} v1".encode()).hexdigest()

    @property
    def about(self) -> dict[str, Any]:
        """Fields of the result's mapping record that this row knows better."""
        return {}

    def applies(self, pair: PairSpec) -> bool:
        """Whether the row is for this pair."""
        return True

    def compare_with(self, references: dict[str, Reference]) -> None:
        """Take the native references; a row that audits itself scores with them."""
        return

    @abstractmethod
    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers each task with: {task: [seeds, d_target]}."""

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the row's vectors from half of a task's pairs, by group of prompts: [seeds, groups, d].

        `vectors` [seeds, d_target] are those of all pairs; a row that is made of no pairs has the same ones.
        """
        references = bench.behaviour
        assert references is not None
        if not self.mappings:
            return vectors[:, None].expand(-1, references.groups, -1)
        halves = [own for own, _ in references.halves(bench.inputs.source_states(task))]
        carried = []
        for mapping in self.mappings:
            pairs = zip(half_carriers(bench, task, mapping), halves, strict=True)
            each = [carrier.transfer(own.positive, own.negative) for carrier, own in pairs]
            carried.append(torch.stack([vector.float().cpu() for vector in each]))
        return torch.stack(carried)
