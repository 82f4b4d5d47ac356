"""What the rows of one pair share: states, concepts, the unit of alpha, sweeps, native references.

Everything is made when it is first asked for, so that a pair whose rows are all finished costs nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.corpus import Corpus
from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.tasks import (
    ChoiceTask,
    ContrastPair,
    FidelityTask,
    GenerationTask,
    RefusalTask,
    SideEffectTask,
    Task,
    TaskKind,
    VectorTask,
)
from lrt_bench.evaluation.fidelity import OwnStates, Stitching
from lrt_bench.mappings.moments import spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.results.metrics import Array, is_steerable, slopes
from lrt_bench.steering.concepts import ConceptStates, concept_states, readable
from lrt_bench.steering.generation import TextLoss, Written, generate_all
from lrt_bench.steering.refusal import instruction_pairs
from lrt_bench.steering.refusal_selection import AlphaChoice, validate_alphas
from lrt_bench.steering.sweep import Sweep, unit


@dataclass(frozen=True)
class Reference:
    """What a task's rows are compared with.

    Deltas [prompts, alphas]: `over` and `half_over` (half B's) on the over-steering alphas,
    the others on the scored ones.
    """

    native: Array
    half_a: Array
    half_b: Array
    over: Array
    half_over: Array
    baseline: Array
    steerable: bool
    effect: tuple[float, float]

    @property
    def split_error(self) -> Array:
        """sum_a (D_A - D_B)^2 for each prompt: how far two native vectors act apart."""
        return np.asarray(np.square(self.half_a - self.half_b).sum(1))

    @property
    def split_energy(self) -> Array:
        return np.asarray(np.square(self.half_b).sum(1))


@dataclass
class PairBench:
    """One pair of one suite, with all that its rows share.

    Attributes
    ----------
    swept : the scored alphas, then the over-steering ones: the last axis of propensities, which ends with
        the scored ones where a row is not over-steered.
    """

    suite: Suite
    pair: PairSpec
    source: Site
    target: Site
    seed: int
    batch_size: int
    progress: Callable[[float], None] = lambda done: None
    tasks: list[Task] = field(default_factory=list)
    data: Data = field(default_factory=Data)

    def __post_init__(self) -> None:
        self.tasks = self.tasks or self.suite.tasks_of(self.pair)
        self.swept = (*self.suite.alphas, *self.suite.over_steering)
        self._sweeps: dict[str, Sweep] = {}
        self._contrasts: dict[str, tuple[ContrastPair, ...]] = {}
        self._concepts: dict[tuple[str, str], ConceptStates] = {}
        self._unsteered: dict[str, Written] = {}
        self._neutral: dict[str, TextLoss] = {}
        self.alpha_choices: dict[str, AlphaChoice] = {}

    def of_kind(self, kind: type[TaskKind]) -> list[TaskKind]:
        return [task for task in self.tasks if isinstance(task, kind)]

    @functools.cached_property
    def choices(self) -> list[ChoiceTask]:
        """Choice tasks with a vector, and at least one prompt that the target's tokenizer can score."""
        return [t for t in self.of_kind(ChoiceTask) if len(self.contrasts(t)) > 1 and self.sweep(t).encoded]

    @property
    def not_scorable(self) -> tuple[str, ...]:
        """Choice tasks that the models' tokenizers, or their contexts, make impossible to score."""
        scorable = {task.name for task in self.choices}
        return tuple(task.name for task in self.of_kind(ChoiceTask) if task.name not in scorable)

    @functools.cached_property
    def corpus(self) -> Corpus:
        return self.suite.corpus.corpus(self.data)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of what the corpus is read from."""
        return self.corpus.fingerprint()

    @functools.cached_property
    def states(self) -> PairedStates:
        return collect(
            self.source, self.target, self.corpus, self.suite.corpus.budget,
            seed=self.seed, batch_size=self.batch_size, progress=self.progress,
        )  # fmt: skip

    @functools.cached_property
    def spread(self) -> float:
        """The unit of alpha at the target layer (design, protocol 4)."""
        return spread(self.states.moments.variance_y)

    def source_states(self, task: VectorTask) -> ConceptStates:
        return self._concept("source", self.source, task)

    def target_states(self, task: VectorTask) -> ConceptStates:
        return self._concept("target", self.target, task)

    def contrasts(self, task: VectorTask) -> tuple[ContrastPair, ...]:
        """A task's contrastive pairs that both models can read whole."""
        if task.name not in self._contrasts:
            self._contrasts[task.name] = readable(task.vector, (self.source.model, self.target.model))
        return self._contrasts[task.name]

    def _concept(self, side: str, site: Site, task: VectorTask) -> ConceptStates:
        if (side, task.name) not in self._concepts:
            pairs = (
                instruction_pairs(site.model.tokenizer, task)
                if isinstance(task, RefusalTask)
                else self.contrasts(task)
            )
            self._concepts[side, task.name] = concept_states(site, pairs, self.batch_size)
        return self._concepts[side, task.name]

    def write(self, tasks: Sequence[GenerationTask], offsets: Sequence[Tensor]) -> list[Written]:
        """Write on from each generation task's prompts under each of its offsets [v, d]."""
        found: dict[str, Written] = {}
        for length in {task.card.new_tokens for task in tasks}:
            works = {
                task.name: ([row.prompt for row in task.prompts], by)
                for task, by in zip(tasks, offsets, strict=True)
                if task.card.new_tokens == length
            }
            rows = 4 * self.batch_size
            written = generate_all(self.target, list(works.values()), length, seed=self.seed, rows=rows)
            found |= dict(zip(works, written, strict=True))
        return [found[task.name] for task in tasks]

    def unsteered(self, task: GenerationTask) -> Written:
        """What the target writes on a generation task's prompts by itself, for every row."""
        if task.name not in self._unsteered:
            [self._unsteered[task.name]] = self.write([task], [torch.zeros(1, self.target.width)])
        return self._unsteered[task.name]

    def neutral(self, task: SideEffectTask) -> TextLoss:
        """The loss of a side-effect task's texts, for every row."""
        if task.name not in self._neutral:
            texts = [row.prompt for row in task.prompts]
            self._neutral[task.name] = TextLoss(self.target, texts, self.batch_size)
        return self._neutral[task.name]

    @functools.cached_property
    def own_states(self) -> OwnStates:
        """The target's validation states, for every map's fidelity."""
        return OwnStates(self.states.validation[1])

    @functools.cached_property
    def stitching(self) -> Stitching | None:
        """The texts on which maps are stitched; None where no task asks for it."""
        rows = sum(task.card.stitch_rows for task in self.of_kind(FidelityTask))
        texts = self.states.validation_text[:rows]
        return Stitching(self.source, self.target, texts) if rows else None

    def alpha_choice(self, task: RefusalTask) -> AlphaChoice:
        """The alphas that the native vector chooses on a refusal task's validation split, for every row."""
        if task.name not in self.alpha_choices:
            vector = self.target_states(task).vector
            self.alpha_choices[task.name] = validate_alphas(
                self.target, task, vector, self.spread, self.batch_size
            )
        return self.alpha_choices[task.name]

    @functools.cached_property
    def ridge(self) -> Ridge:
        """The map behind the `other-concept` control; its strength is that of `shuffled`."""
        ridge = Ridge()
        ridge.fit(self.states)
        return ridge

    def sweep(self, task: ChoiceTask) -> Sweep:
        if task.name not in self._sweeps:
            rows = 2 * self.batch_size
            self._sweeps[task.name] = Sweep(self.target, task.choices, self.swept, self.spread, rows)
        return self._sweeps[task.name]

    def propensities(self, vectors: dict[str, Tensor], over: bool) -> dict[str, Tensor]:
        """Sweep each task under its vectors [seeds, d]: {task: [seeds, prompts, swept alphas]}.

        over : sweep the over-steering alphas too; chance floors do without them.
        """
        first = None if over else len(self.suite.alphas)
        return {task.name: self.sweep(task).run(vectors[task.name], first) for task in self.choices}

    def random_directions(self) -> Tensor:
        """Unit directions of the `random` control [directions, d_target], the same for every task."""
        generator = torch.Generator().manual_seed(self.seed + 4242)
        noise = torch.randn(self.suite.random_directions, self.target.width, generator=generator)
        return unit(noise)

    def scored(self, m: Tensor) -> Array:
        """Propensities of the scored alphas only, float64."""
        return np.asarray(m[..., : len(self.suite.alphas)].double().numpy())

    def delta(self, m: Tensor) -> Array:
        """D = m - m(alpha 0) on the scored alphas."""
        scored = self.scored(m)
        zero = self.suite.alphas.index(0.0)
        return scored - scored[..., zero : zero + 1]

    def reference(
        self, native: dict[str, Tensor], split: dict[str, Tensor], random: dict[str, Tensor]
    ) -> dict[str, Reference]:
        """The native references of every choice task, from the three controls' propensities."""
        alphas = np.asarray(self.suite.alphas)
        found = {}
        for task in self.choices:
            name = task.name
            slope = slopes(self.scored(native[name][0]), alphas)
            chance = slopes(self.scored(random[name]), alphas)[: self.suite.random_directions]
            steerable, effect = is_steerable(slope, chance, replicates=self.suite.bootstrap, seed=self.seed)
            half_a, half_b = self.delta(split[name])
            baseline = self.scored(native[name][0])[:, self.suite.alphas.index(0.0)]
            over, half_over = (
                m[:, len(alphas) :].double().numpy() - baseline[:, None]
                for m in (native[name][0], split[name][1])
            )
            found[name] = Reference(
                self.delta(native[name][0]), half_a, half_b, over, half_over, baseline, steerable, effect
            )
        return found
