"""The inputs of a pair's measurements: its tasks, their contrastive pairs, their concepts' states."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from torch import Tensor

from lrt_bench.data.tasks import ContrastPair, RefusalTask, Task, TaskBase, VectorTask
from lrt_bench.models.sites import Site
from lrt_bench.steering.concepts import ConceptStates, concept_states, readable
from lrt_bench.steering.readout import unembedding_map
from lrt_bench.steering.refusal import instruction_pairs

Side = Literal["source", "target"]
TaskKind = TypeVar("TaskKind", bound=TaskBase)


@dataclass(frozen=True, eq=False)
class TaskInputs:
    """A pair's tasks, and the states of their concepts at both sites, read once each.

    Parameters
    ----------
    tasks
        Tasks with their data, in the suite's order.
    batch_size
        Sequences in one forward.
    most
        Contrastive pairs of a task that its vectors are made of at most, the first ones; all by default.
    """

    source: Site
    target: Site
    tasks: Sequence[Task]
    batch_size: int
    most: int | None = None
    _contrasts: dict[str, tuple[ContrastPair, ...]] = field(default_factory=dict, init=False, repr=False)
    _concepts: dict[tuple[Side, tuple[ContrastPair, ...]], ConceptStates] = field(
        default_factory=dict, init=False, repr=False
    )  # by the texts: a choice and a writing task of one concept share them

    def of_kind(self, kind: type[TaskKind]) -> list[TaskKind]:
        """Tasks of one kind, in order."""
        return [task for task in self.tasks if isinstance(task, kind)]

    def contrasts(self, task: VectorTask) -> tuple[ContrastPair, ...]:
        """Return the task's contrastive pairs that both models can read whole."""
        if task.name not in self._contrasts:
            models = (self.source.model, self.target.model)
            self._contrasts[task.name] = readable(task.vector[: self.most], models)
        return self._contrasts[task.name]

    def source_states(self, task: VectorTask) -> ConceptStates:
        """Return the concept's states at the source site: two tensors [pairs, d_source]."""
        return self._concept("source", self.source, task)

    def target_states(self, task: VectorTask) -> ConceptStates:
        """Return the concept's states at the target site: two tensors [pairs, d_target]."""
        return self._concept("target", self.target, task)

    @functools.cached_property
    def unembedding_map(self) -> Tensor | None:
        """The map that the two unembeddings alone make [d_target, d_source]; None where there is none."""
        return unembedding_map(self.source, self.target)

    def _concept(self, side: Side, site: Site, task: VectorTask) -> ConceptStates:
        if isinstance(task, RefusalTask):
            pairs = tuple(instruction_pairs(site.model.tokenizer, task))
        else:
            pairs = self.contrasts(task)
        if (side, pairs) not in self._concepts:
            self._concepts[side, pairs] = concept_states(site, pairs, self.batch_size)
        return self._concepts[side, pairs]
