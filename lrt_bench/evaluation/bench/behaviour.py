"""The measurement of behaviour: native references from halves, unit of alpha, chance."""

from __future__ import annotations

import functools
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import BehaviourSpec
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.choice_sweep import ChoiceSweep, evenly_spaced
from lrt_bench.evaluation.bench.inputs import TaskInputs
from lrt_bench.evaluation.bench.states import StatesSource
from lrt_bench.results.metrics import Array
from lrt_bench.results.schema.behaviour import ratio
from lrt_bench.steering.behaviour import Behaviour, Concept, behaviours, measure, weighted
from lrt_bench.steering.concepts import ConceptStates
from lrt_bench.steering.damage import DIRECTIONS, TOKENS, DamageUnit, NeutralText
from lrt_bench.steering.kept_damage import kept_damage, kept_unit
from lrt_bench.steering.readout import choice_readout, without
from lrt_bench.steering.steered_texts import Setting
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
    """Behaviour of one pair's target, all tasks' references made when one is first asked for.

    Parameters
    ----------
    spread
        Of the target's states; the search for the unit of alpha begins near it.
    random
        Unit directions of the `random` control [directions, d_target].
    """

    spec: BehaviourSpec
    inputs: TaskInputs
    sweep: ChoiceSweep
    source: StatesSource
    spread: float
    random: Tensor
    seed: int
    batch_size: int
    _references: dict[str, BehaviourReference] = field(default_factory=dict, init=False, repr=False)
    _damages: dict[bytes, float] = field(default_factory=dict, init=False, repr=False)  # by a vector's bytes

    @functools.cached_property
    def text(self) -> NeutralText:
        """The corpus's validation text, on which damage is measured."""
        texts = [text.target_ids for text in self.source.states().validation_text]
        return NeutralText(self.inputs.target, texts, self.batch_size, self.spec.neutral_tokens or TOKENS)

    @functools.cached_property
    def unit(self) -> DamageUnit:
        """The unit of alpha."""
        guess = UNIT_GUESS * self.spread
        width = self.inputs.target.width
        directions = self.spec.directions or DIRECTIONS
        return kept_unit(self.text, width, guess, nats=self.spec.nats, directions=directions, seed=self.seed)

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
        names = [vector.numpy().tobytes() for vector in vectors.cpu().contiguous()]
        new = {name: v for v, name in enumerate(names) if name not in self._damages}
        if new:
            measured = self._damage(vectors[list(new.values())])
            self._damages.update(zip(new, measured.tolist(), strict=True))
        return sum(self._damages[name] for name in names) / len(names)

    def _damage(self, vectors: Tensor) -> Tensor:
        """Return each vector's mean damage over the alphas: [v]."""
        steps = torch.tensor(self.spec.alphas) * self.unit.length
        offsets = (unit(vectors.float())[:, None] * steps[None, :, None]).flatten(0, 1)
        return kept_damage(self.text, offsets).view(len(vectors), -1).mean(1)

    def by_unembeddings(self, task: ChoiceTask) -> Tensor | None:
        """Source vectors of the halves, carried by the unembeddings' map: [groups, d_target]."""
        weight = self.inputs.unembedding_map
        if weight is None:
            return None
        halves = self.halves(self.inputs.source_states(task))
        return torch.stack([own.vector for own, _ in halves]) @ weight.T

    def of(self, task: ChoiceTask) -> BehaviourReference:
        """Return one task's references; those of all tasks are measured at the first call."""
        if not self._references:
            self._references.update(self._measured())
        return self._references[task.name]

    def measure(self, halves: Dictionary[str, Tensor]) -> None:
        """Measure rows' vectors {task: [rows, groups, d_target]} in common batches.

        What `divergence` of the tasks' behaviours is asked for afterwards then is known already.
        """
        asked = [(self.of(task), halves[task.name]) for task in self.sweep.tasks if task.name in halves]
        measure([(reference.whole, vectors) for reference, vectors in asked])
        measure([
            (reference.without_readout.behaviour, without(vectors, reference.readout))
            for reference, vectors in asked
            if reference.without_readout is not None
        ])  # fmt: skip

    def _prompts(self, task: ChoiceTask) -> tuple[list[list[int]], int]:
        """Return the prompts that behaviour is measured on, evenly spaced among the task's scored ones.

        With them how many are lost: what is written leaves no room for them. Raises UserError where all are.
        """
        model, tokens = self.inputs.target.model, self.spec.tokens
        encoded = [row.ids for row in self.sweep.of(task).encoded]
        prompts = [ids for ids in encoded if len(ids) <= model.context - tokens]
        if not prompts:
            raise UserError(
                f"suite: behaviour.tokens {tokens}: no prompt of {task.name} leaves room for them in "
                f"{model.name}, which reads {model.context}; give fewer"
            )
        chosen = evenly_spaced(prompts, self.spec.prompts)
        return chosen, len(self.sweep.asked(task)) - len(prompts)

    def _measured(self) -> dict[str, BehaviourReference]:
        """Measure every task's references: what native writes, chance, ceilings and readout controls."""
        tasks, spec = self.sweep.tasks, self.spec
        prompts = [self._prompts(task) for task in tasks]
        native = [
            torch.stack([other.vector for _, other in self.halves(self.inputs.target_states(task))])
            for task in tasks
        ]
        readouts = [choice_readout(self.inputs.target.model, self.sweep.of(task).encoded) for task in tasks]
        ids = [chosen for chosen, _ in prompts]
        wholes = self._behaviours(ids, native)
        bares: list[Behaviour] | list[None] = [None] * len(tasks)
        if spec.without_readout:
            bares = self._behaviours(ids, [without(*sides) for sides in zip(native, readouts, strict=True)])
        rows = [self._controls(task, readout) for task, readout in zip(tasks, readouts, strict=True)]
        measure([
            (whole, torch.cat([self.chance, *(row[None] for row in own if row is not None)]))
            for whole, own in zip(wholes, rows, strict=True)
        ])  # fmt: skip
        return {
            task.name: self._reference(task, whole, bare, own, readout, lost)
            for task, whole, bare, own, readout, (_, lost) in zip(
                tasks, wholes, bares, rows, readouts, prompts, strict=True
            )
        }

    def _behaviours(self, prompts: list[list[list[int]]], native: list[Tensor]) -> list[Behaviour]:
        """Return behaviours of several tasks, prompts dealt to groups in turn."""
        spec = self.spec
        setting = Setting(spec.alphas, self.unit.length, spec.tokens, positions=spec.positions)
        concepts = [
            Concept(ids, vectors, [place % self.groups for place in range(len(ids))])
            for ids, vectors in zip(prompts, native, strict=True)
        ]
        return behaviours(self.inputs.target, concepts, setting, self.batch_size)

    def _controls(self, task: ChoiceTask, readout: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return native of the other half, the readout and the unembeddings' map, [groups, d_target] each.

        None where there is no readout, or no such map.
        """
        by_readout = readout.expand(self.groups, -1) if bool(readout.any()) else None
        return self.own_halves(task), by_readout, self.by_unembeddings(task)

    def _reference(
        self,
        task: ChoiceTask,
        whole: Behaviour,
        bare: Behaviour | None,
        rows: tuple[Tensor, Tensor | None, Tensor | None],
        readout: Tensor,
        lost: int,
    ) -> BehaviourReference:
        native, own = self.per_prompt(whole.unsteered), rows[0]
        shares = [row if row is None else ratio(self._compared(whole, row), native) for row in rows[1:]]
        without_readout = None
        if bare is not None:
            ceiling = self._compared(bare, without(own, readout))[0]
            without_readout = WithoutReadout(bare, self.per_prompt(bare.unsteered), ceiling)
        return BehaviourReference(
            whole=whole,
            native=native,
            ceiling=self._compared(whole, own)[0],
            chance=self.per_prompt(whole.divergence(self.chance)),
            without_readout=without_readout,
            readout=readout,
            readout_share=shares[0],
            unembedding_share=shares[1],
            damage=self.damage(self.inputs.target_states(task).vector[None]),
            failures=lost,
        )

    def _compared(self, behaviour: Behaviour, vectors: Tensor) -> Array:
        """D(native, row) of one row's vectors [groups, d_target]: [1, prompts]."""
        return self.per_prompt(behaviour.divergence(vectors[None]))
