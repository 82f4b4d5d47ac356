"""Concepts' vectors as fitted maps carry them; a task-aware map is first given the texts that it may read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lrt_bench.data.tasks import ChoiceTask, VectorTask
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.mappings import Mapping
from lrt_bench.mappings.concepts.task_aware import KnownConcept, TaskAware
from lrt_bench.steering.concepts import ConceptStates


def transferred(bench: PairBench, tasks: Sequence[VectorTask], mappings: list[Mapping]) -> Vectors:
    """Each task's vectors under each map: {task: [maps, d_target]}, in float32."""
    carried = {}
    for task in tasks:
        states = bench.inputs.source_states(task)
        vectors = [
            carrier(bench, task, mapping).transfer(states.positive, states.negative) for mapping in mappings
        ]
        carried[task.name] = torch.stack([vector.float().cpu() for vector in vectors])
    return carried


def carrier(bench: PairBench, task: VectorTask, mapping: Mapping) -> Mapping:
    """Return the map that carries a task's vector: a task-aware one is made of the concepts that it reads."""
    if not isinstance(mapping, TaskAware):
        return mapping
    known = known_concepts(bench, task, mapping)
    return mapping.given(known) if known else mapping.corpus_


def half_carriers(bench: PairBench, task: ChoiceTask, mapping: Mapping) -> list[Mapping]:
    """Return the map for each group of prompts; of the concept's own texts it reads the group's half."""
    references = bench.behaviour
    assert references is not None
    if not isinstance(mapping, TaskAware) or mapping.reads != "own":
        return [carrier(bench, task, mapping)] * references.groups
    sides = (
        references.halves(states)
        for states in (bench.inputs.source_states(task), bench.inputs.target_states(task))
    )
    return [mapping.given([known(source, target)]) for (source, _), (target, _) in zip(*sides, strict=True)]


def known_concepts(bench: PairBench, task: VectorTask, mapping: TaskAware) -> list[KnownConcept]:
    """Return the concepts that a map may read for a task: its own, or those of other choice tasks."""
    if mapping.reads == "own":
        read: Sequence[VectorTask] = [task]
    else:
        others = bench.inputs.of_kind(ChoiceTask)
        read = [other for other in others if other.card.concept != task.card.concept]
    return [known(bench.inputs.source_states(one), bench.inputs.target_states(one)) for one in read]


def known(source: ConceptStates, target: ConceptStates) -> KnownConcept:
    """Return a concept's states in both models, on the CPU."""
    sides = (source.positive, source.negative, target.positive, target.negative)
    return KnownConcept(*(states.float().cpu() for states in sides))
