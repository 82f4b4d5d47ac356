"""The measurement of behaviour: native references from halves, unit of alpha, chance."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import BehaviourSpec
from lrt_bench.data.tasks import Task
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.states import StatesSource
from lrt_bench.results.behaviour import clear_of_chance
from lrt_bench.results.metrics import Array
from lrt_bench.steering.behaviour import Behaviour, Setting, weighted
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.damage import DamageUnit, NeutralText, damage_unit
from lrt_bench.steering.readout import choice_readout, unembedding_map, without

UNIT_GUESS = 0.65  # spreads: about a unit of damage on the embedded family; the search begins there


@dataclass(frozen=True)
class BehaviourReference:
    """What a task's rows are compared with; arrays [prompts] sum over alphas, tokens weighted.

    Attributes
    ----------
    whole, without_readout
        The target under native steering, whole and with the readout's direction projected out of both sides.
    native, ceiling
        D(native, unsteered) and D(native, native of the other half), [prompts].
    bare_native, bare_ceiling
        The same without the readout's direction.
    readout
        The readout's direction [d_target], zeros where there is none.
    clear, effect
        Whether native moves predictions further than random directions do, and the interval of its lead.
    """

    whole: Behaviour
    without_readout: Behaviour
    native: Array
    ceiling: Array
    bare_native: Array
    bare_ceiling: Array
    readout: Tensor
    clear: bool
    effect: tuple[float, float]
    failures: int


@dataclass(frozen=True, eq=False)
class BehaviourReferences:
    """Behaviour of one pair's target, task by task, each made when it is first asked for.

    Parameters
    ----------
    spread
        Of the target's states; the search for the unit of alpha begins near it.
    random
        Unit directions of the `random` control [directions, d_target].
    bootstrap
        Replicates of the intervals.
    """

    spec: BehaviourSpec
    inputs: TaskInputs
    sweep: ChoiceSweep
    source: StatesSource
    spread: float
    random: Tensor
    bootstrap: int
    seed: int
    batch_size: int
    _references: dict[str, BehaviourReference] = field(default_factory=dict, init=False, repr=False)

    @functools.cached_property
    def text(self) -> NeutralText:
        """The corpus's validation text, on which damage is measured."""
        texts = [text.target_ids for text in self.source.states().validation_text]
        return NeutralText(self.inputs.target, texts, self.batch_size)

    @functools.cached_property
    def unit(self) -> DamageUnit:
        """The unit of alpha."""
        guess = UNIT_GUESS * self.spread
        width = self.inputs.target.width
        return damage_unit(self.text, width, guess, nats=self.spec.nats, seed=self.seed)

    @functools.cached_property
    def unembedding_map(self) -> Tensor | None:
        """The map that the two unembeddings alone make [d_target, d_source]."""
        return unembedding_map(self.inputs.source, self.inputs.target)

    @property
    def groups(self) -> int:
        """References that prompts are dealt to: either half of every split."""
        return 2 * self.spec.splits

    def halves(self, states: ConceptStates) -> list[tuple[ConceptStates, ConceptStates]]:
        """For each group the half that a row's vector is from, and the half that native's is from."""
        pairs = [states.halves(split) for split in range(self.spec.splits)]
        return [sides for first, second in pairs for sides in ((first, second), (second, first))]

    def own_halves(self, task: Task) -> Tensor:
        """Native vectors of the halves that rows' vectors are from, [groups, d_target]."""
        return torch.stack([own.vector for own, _ in self.halves(self.inputs.target_states(task))])

    def per_prompt(self, divergence: Tensor) -> Array:
        """Sum over alphas, the first token and the mean later one weighted: [..., p, a, t, 1] -> [..., p]."""
        return np.asarray(weighted(divergence[..., 0], self.spec.first).numpy())

    def of(self, task: Task) -> BehaviourReference:
        """Return one task's references, measured at the first call."""
        if task.name not in self._references:
            self._references[task.name] = self._reference(task)
        return self._references[task.name]

    def _reference(self, task: Task) -> BehaviourReference:
        spec, target = self.spec, self.inputs.target
        room = target.model.context - spec.tokens
        encoded = [row.ids for row in self.sweep.of(task).encoded]
        prompts = [ids for ids in encoded if len(ids) <= room]
        group = [place % self.groups for place in range(len(prompts))]
        native = torch.stack([other.vector for _, other in self.halves(self.inputs.target_states(task))])
        own = self.own_halves(task)
        readout = choice_readout(target.model, self.sweep.of(task).encoded)
        setting = Setting(spec.alphas, self.unit.length, spec.tokens, positions=spec.positions)
        whole = Behaviour(target, prompts, native, group, setting, self.batch_size)
        bare = Behaviour(target, prompts, without(native, readout), group, setting, self.batch_size)
        unsteered = self.per_prompt(whole.unsteered)
        directions = self.random[:, None].expand(-1, self.groups, -1)
        chance = self.per_prompt(whole.effect(directions))
        clear, effect = clear_of_chance(unsteered, chance, replicates=self.bootstrap, seed=self.seed)
        return BehaviourReference(
            whole,
            bare,
            unsteered,
            self.per_prompt(whole.divergence(own[None]))[0],
            self.per_prompt(bare.unsteered),
            self.per_prompt(bare.divergence(without(own, readout)[None]))[0],
            readout,
            clear,
            effect,
            len(task.choices) - len(prompts),
        )
