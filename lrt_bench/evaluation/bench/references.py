"""What the rows of a pair are compared with: native vectors, halves, chance, own states."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.tasks import FidelityTask, RefusalTask, Task
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.states import StatesSource
from lrt_bench.evaluation.fidelity import OwnStates, Stitching
from lrt_bench.results.metrics import Array, TaskErrors, is_steerable, slopes
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.refusal_selection import AlphaChoice, validate_alphas
from lrt_bench.steering.sweep import unit

Vectors = dict[str, Tensor]  # {task: [seeds, d_target]}


@dataclass(frozen=True)
class Reference:
    """What a task's rows are compared with.

    Attributes
    ----------
    native, half_a, half_b
        D of the native vector and of two halves', [prompts, scored alphas].
    over, half_over
        D of the native vector and of half B's, [prompts, over-steering alphas].
    baseline
        Propensities at alpha 0, [prompts].
    steerable, effect
        Whether native steering is clear of chance, and the interval of its lead.
    """

    native: Array
    half_a: Array
    half_b: Array
    over: Array
    half_over: Array
    baseline: Array
    steerable: bool
    effect: tuple[float, float]

    def errors(self, delta: Array, wanted: Array | None = None) -> TaskErrors:
        """Return what steering R2 is made of, for a row's D [seeds, prompts, scored alphas].

        wanted : what D is compared with [prompts, scored alphas]; by default that of the native vector.
        """
        wanted = self.native if wanted is None else wanted
        error, energy = np.square(delta - wanted).sum(2), np.square(wanted).sum(1)
        return TaskErrors(error, energy, self.split_error, self.split_energy)

    @property
    def split_error(self) -> Array:
        """sum_a (D_A - D_B)^2 for each prompt: how far two native vectors act apart."""
        return np.asarray(np.square(self.half_a - self.half_b).sum(1))

    @property
    def split_energy(self) -> Array:
        """sum_a D_B^2 for each prompt."""
        return np.asarray(np.square(self.half_b).sum(1))


def native_vectors(concepts: Mapping[str, ConceptStates]) -> Vectors:
    """Return the target's own vectors, {task: [1, d_target]}."""
    return {name: states.vector[None] for name, states in concepts.items()}


def half_vectors(concepts: Mapping[str, ConceptStates]) -> Vectors:
    """Return the vectors of two disjoint halves of each concept's pairs, {task: [2, d_target]}."""
    return {name: torch.stack([s.half(0).vector, s.half(1).vector]) for name, s in concepts.items()}


def random_directions(count: int, width: int, seed: int) -> Tensor:
    """Draw unit directions [count, width], the same for every task of a run."""
    generator = torch.Generator().manual_seed(seed + 4242)
    return unit(torch.randn(count, width, generator=generator))


def both_ways(directions: Tensor, tasks: Sequence[Task]) -> Vectors:
    """Return each direction and its opposite for every task, {task: [2 directions, d_target]}."""
    return {task.name: torch.cat([directions, -directions]) for task in tasks}


@dataclass(frozen=True)
class ReferencePropensities:
    """The three reference controls' propensities, {task: [seeds, prompts, swept alphas]} each."""

    native: Mapping[str, Tensor]
    split: Mapping[str, Tensor]
    random: Mapping[str, Tensor]


def choice_references(
    sweep: ChoiceSweep, swept: ReferencePropensities, *, directions: int, bootstrap: int, seed: int
) -> dict[str, Reference]:
    """Compute the native references of every choice task from the reference controls' propensities.

    Parameters
    ----------
    directions
        How many random directions were drawn; their opposites stand behind them.
    bootstrap
        Replicates of the interval that says whether a task is steerable.
    """
    alphas = np.asarray(sweep.alphas)
    references = {}
    for task in sweep.tasks:
        native, split, random = (side[task.name] for side in (swept.native, swept.split, swept.random))
        slope = slopes(sweep.scored(native[0]), alphas)
        chance = slopes(sweep.scored(random), alphas)[:directions]
        steerable, effect = is_steerable(slope, chance, replicates=bootstrap, seed=seed)
        half_a, half_b = sweep.delta(split)
        baseline = sweep.scored(native[0])[:, sweep.alphas.index(0.0)]
        over, half_over = (
            m[:, len(alphas) :].double().numpy() - baseline[:, None] for m in (native[0], split[1])
        )
        references[task.name] = Reference(
            sweep.delta(native[0]), half_a, half_b, over, half_over, baseline, steerable, effect
        )
    return references


@dataclass(frozen=True, eq=False)
class RefusalAlphas:
    """The alphas that the native vector chooses on a refusal task's validation split, for every row."""

    inputs: TaskInputs
    spread: float
    batch_size: int
    _choices: dict[str, AlphaChoice] = field(default_factory=dict, init=False, repr=False)

    def of(self, task: RefusalTask) -> AlphaChoice:
        """Return the task's alphas, chosen at the first call."""
        if task.name not in self._choices:
            vector = self.inputs.target_states(task).vector
            self._choices[task.name] = validate_alphas(
                self.inputs.target, task, vector, self.spread, self.batch_size
            )
        return self._choices[task.name]

    def receive(self, choices: Mapping[str, AlphaChoice]) -> None:
        """Take choices that were made elsewhere, {task: choice}."""
        self._choices.update(choices)


@dataclass(frozen=True, eq=False)
class FidelityReferences:
    """The target's own states, and the texts on which maps are stitched, for every map's fidelity."""

    inputs: TaskInputs
    source: StatesSource

    @functools.cached_property
    def own_states(self) -> OwnStates:
        """The target's states that no fit was given."""
        return OwnStates(self.source.states().held_out[1])

    @functools.cached_property
    def stitching(self) -> Stitching | None:
        """The texts on which maps are stitched; None where no task asks for it."""
        rows = sum(task.card.stitch_rows for task in self.inputs.of_kind(FidelityTask))
        texts = self.source.states().held_out_text[:rows]
        return Stitching(self.inputs.source, self.inputs.target, texts) if rows else None
