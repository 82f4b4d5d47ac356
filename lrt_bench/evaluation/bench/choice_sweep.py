"""The measurement that scores come from: choice prompts swept over alphas under steering vectors."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from torch import Tensor

from lrt_bench.data.tasks import ChoicePrompt, ChoiceTask
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.models.sites import Site
from lrt_bench.results.metrics import Array
from lrt_bench.steering.sweep import Sweep

Item = TypeVar("Item")


def evenly_spaced(items: Sequence[Item], most: int | None) -> list[Item]:
    """Return at most so many of some items, evenly spaced among them; all where no number is given."""
    count = min(len(items), most or len(items))
    return [items[place * len(items) // count] for place in range(count)]


@dataclass(frozen=True, eq=False)
class ChoiceSweep:
    """The choice tasks of one target site, swept under vectors.

    Parameters
    ----------
    inputs
        The pair's tasks; their contrastive pairs say which of them have a vector.
    target
        The site that is steered.
    alphas, over_steering
        The scored grid, which holds 0, and the alphas past it.
    spread
        The unit of alpha at the target site.
    prompts
        Of a task's scored prompts at most so many are swept, evenly spaced; all of them by default.
    """

    inputs: TaskInputs
    target: Site
    alphas: tuple[float, ...]
    over_steering: tuple[float, ...]
    spread: float
    batch_size: int
    prompts: int | None = None
    _sweeps: dict[str, Sweep] = field(default_factory=dict, init=False, repr=False)

    @property
    def swept(self) -> tuple[float, ...]:
        """The scored alphas, then the over-steering ones: the last axis of propensities."""
        return (*self.alphas, *self.over_steering)

    @functools.cached_property
    def tasks(self) -> list[ChoiceTask]:
        """Choice tasks with a vector, and at least one prompt that the target's tokenizer can score."""
        choices = self.inputs.of_kind(ChoiceTask)
        return [t for t in choices if len(self.inputs.contrasts(t)) > 1 and self.of(t).encoded]

    @property
    def not_scorable(self) -> tuple[str, ...]:
        """Choice tasks that the models' tokenizers, or their contexts, make impossible to score."""
        scorable = {task.name for task in self.tasks}
        return tuple(task.name for task in self.inputs.of_kind(ChoiceTask) if task.name not in scorable)

    def asked(self, task: ChoiceTask) -> Sequence[ChoicePrompt]:
        """Return the task's scored prompts that are swept."""
        return evenly_spaced(task.choices, self.prompts)

    def of(self, task: ChoiceTask) -> Sweep:
        """Return one task's sweep, its prompts encoded once."""
        if task.name not in self._sweeps:
            self._sweeps[task.name] = Sweep(
                self.target, self.asked(task), self.swept, self.spread, 2 * self.batch_size
            )
        return self._sweeps[task.name]

    def propensities(self, vectors: dict[str, Tensor], over: bool) -> dict[str, Tensor]:
        """Sweep each task under its vectors.

        Parameters
        ----------
        vectors
            {task: [seeds, d_target]}.
        over
            Whether to sweep the over-steering alphas too; chance floors do without them.

        Returns
        -------
        dict
            {task: [seeds, prompts, swept alphas]}; the last axis ends with the scored ones without `over`.
        """
        first = None if over else len(self.alphas)
        return {task.name: self.of(task).run(vectors[task.name], first) for task in self.tasks}

    def scored(self, m: Tensor) -> Array:
        """Return propensities of the scored alphas only, float64."""
        return np.asarray(m[..., : len(self.alphas)].double().numpy())

    def delta(self, m: Tensor) -> Array:
        """D = m - m(alpha 0) on the scored alphas."""
        scored = self.scored(m)
        zero = self.alphas.index(0.0)
        return scored - scored[..., zero : zero + 1]
