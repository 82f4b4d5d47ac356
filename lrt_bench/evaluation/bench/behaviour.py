"""The measurement of behaviour: native references from halves, unit of alpha, chance."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import BehaviourSpec
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.states import StatesSource
from lrt_bench.results.metrics import Array
from lrt_bench.results.schema.behaviour import ratio
from lrt_bench.steering.behaviour import Behaviour, Setting, weighted
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.damage import DamageUnit, NeutralText, damage_unit
from lrt_bench.steering.readout import choice_readout, unembedding_map, without
from lrt_bench.steering.sweep import unit

UNIT_GUESS = 0.65  # spreads: about a unit of damage on the embedded family; the search begins there


@dataclass(frozen=True)
class WithoutReadout:
    """The target under native steering without the readout's direction; arrays as `BehaviourReference`'s."""

    behaviour: Behaviour
    native: Array
    ceiling: Array


@dataclass(frozen=True)
class BehaviourReference:
    """What a task's rows are compared with; arrays [prompts] sum over alphas, tokens weighted.

    Attributes
    ----------
    whole
        The target under native steering.
    native, ceiling
        D(native, unsteered) and D(native, native of the other half), [prompts].
    chance
        D(native, random direction), [directions, prompts].
    without_readout
        The same with the readout's direction projected out of both sides; None where it is not asked for.
    readout
        The readout's direction [d_target], zeros where there is none.
    readout_share, unembedding_share
        Shares of the controls that know unembeddings only: the readout, and the unembeddings' map.
    damage
        What native does to neutral text (`BehaviourReferences.damage`).
    """

    whole: Behaviour
    native: Array
    ceiling: Array
    chance: Array
    without_readout: WithoutReadout | None
    readout: Tensor
    readout_share: float | None
    unembedding_share: float | None
    damage: float | None
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

    @property
    def chance(self) -> Tensor:
        """The random directions, each the same for every group: [directions, groups, d_target]."""
        return self.random[:, None].expand(-1, self.groups, -1)

    def own_halves(self, task: ChoiceTask) -> Tensor:
        """Native vectors of the halves that rows' vectors are from, [groups, d_target]."""
        return torch.stack([own.vector for own, _ in self.halves(self.inputs.target_states(task))])

    def per_prompt(self, divergence: Tensor) -> Array:
        """Sum over alphas, the first token and the mean later one weighted: [..., p, a, t, 1] -> [..., p]."""
        return np.asarray(weighted(divergence[..., 0], self.spec.first).numpy())

    def damage(self, vectors: Tensor) -> float | None:
        """Mean damage of vectors [v, d_target] over the alphas, nats a token; None for a zero vector."""
        if not bool(vectors.any(1).all()):
            return None
        steps = torch.tensor(self.spec.alphas) * self.unit.length
        offsets = (unit(vectors.float())[:, None] * steps[None, :, None]).flatten(0, 1)
        return float(self.text.damage(offsets).mean())

    def _by_unembeddings(self, task: ChoiceTask) -> Tensor | None:
        """Source vectors of the halves, carried by the unembeddings' map: [groups, d_target]."""
        weight = self.unembedding_map
        if weight is None:
            return None
        halves = self.halves(self.inputs.source_states(task))
        return torch.stack([own.vector for own, _ in halves]) @ weight.T

    def of(self, task: ChoiceTask) -> BehaviourReference:
        """Return one task's references, measured at the first call."""
        if task.name not in self._references:
            self._references[task.name] = self._reference(task)
        return self._references[task.name]

    def _prompts(self, task: ChoiceTask) -> list[list[int]]:
        """Return the task's scored prompts that leave room for what is written, or raise UserError."""
        model, tokens = self.inputs.target.model, self.spec.tokens
        encoded = [row.ids for row in self.sweep.of(task).encoded]
        prompts = [ids for ids in encoded if len(ids) <= model.context - tokens]
        if not prompts:
            raise UserError(
                f"suite: behaviour.tokens {tokens}: no prompt of {task.name} leaves room for them in "
                f"{model.name}, which reads {model.context}; give fewer"
            )
        return prompts

    def _reference(self, task: ChoiceTask) -> BehaviourReference:
        spec, target = self.spec, self.inputs.target
        prompts = self._prompts(task)
        group = [place % self.groups for place in range(len(prompts))]
        other = torch.stack([other.vector for _, other in self.halves(self.inputs.target_states(task))])
        own = self.own_halves(task)
        readout = choice_readout(target.model, self.sweep.of(task).encoded)
        setting = Setting(spec.alphas, self.unit.length, spec.tokens, positions=spec.positions)
        whole = Behaviour(target, prompts, other, group, setting, self.batch_size)
        native = self.per_prompt(whole.unsteered)
        bare = None
        if spec.without_readout:
            behaviour = Behaviour(target, prompts, without(other, readout), group, setting, self.batch_size)
            bare = WithoutReadout(
                behaviour,
                self.per_prompt(behaviour.unsteered),
                self._compared(behaviour, without(own, readout))[0],
            )
        controls = [
            vectors if vectors is None else ratio(self._compared(whole, vectors), native)
            for vectors in (self._by_readout(readout), self._by_unembeddings(task))
        ]
        return BehaviourReference(
            whole=whole,
            native=native,
            ceiling=self._compared(whole, own)[0],
            chance=self.per_prompt(whole.divergence(self.chance)),
            without_readout=bare,
            readout=readout,
            readout_share=controls[0],
            unembedding_share=controls[1],
            damage=self.damage(self.inputs.target_states(task).vector[None]),
            failures=len(task.choices) - len(prompts),
        )

    def _compared(self, behaviour: Behaviour, vectors: Tensor) -> Array:
        """D(native, row) of one row's vectors [groups, d_target]: [1, prompts]."""
        return self.per_prompt(behaviour.divergence(vectors[None]))

    def _by_readout(self, readout: Tensor) -> Tensor | None:
        """Return the readout for every group [groups, d_target]; None where there is none."""
        return readout.expand(self.groups, -1) if bool(readout.any()) else None
