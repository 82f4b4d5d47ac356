"""Vectors whose order of goodness is known, on a pair of the embedded family.

Every ladder is a list of rungs from better to worse: mixtures of the native vector with a random one, affine
fits on fewer and fewer tokens, and affine fits on a planted pair whose source states were blurred by more and
more noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import CorpusSpec
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.tasks import ChoiceTask
from lrt_bench.mappings.affine import Affine
from lrt_bench.mappings.moments import Moments, spread
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.loading import Models
from lrt_bench.models.sites import Site
from lrt_bench.models.states import PairedStates, collect
from lrt_bench.steering.concepts import ConceptStates, concept_states
from lrt_bench.steering.sweep import encode_choices, unit

PAIRS = {
    "S3-L2": ("nano/S", 3, "nano/L", 2),
    "S2-L3": ("nano/S", 2, "nano/L", 3),
    "planted": ("nano/S", 2, "planted-rotation:nano/S", 2),
}
TASKS = (
    "sentiment", "language", "tense", "person", "number", "register", "mood", "case", "refusal", "topic-dogs",
)  # fmt: skip
COSINES = (0.9, 0.7, 0.5, 0.3)
FIT_TOKENS = (40_000, 5_000, 1_000, 200)
NOISE = (
    0.0,
    0.5,
    1.0,
    2.0,
    4.0,
)  # standard deviation of the blur, in standard deviations of a source dimension
DRAWS = 3  # of a rung that has luck in it
PROMPTS = 16  # of a task's scored prompts, evenly spaced
SEED = 15


@dataclass
class Case:
    """A pair ready to be measured: its sites, its states, and each task's prompts and concept states."""

    name: str
    source: Site
    target: Site
    states: PairedStates
    prompts: dict[str, list[list[int]]]
    concepts: dict[str, tuple[ConceptStates, ConceptStates]]

    @property
    def spread(self) -> float:
        """The target site's spread."""
        return spread(self.states.moments.variance_y)

    def native(self, task: str) -> Tensor:
        """Return the native vector [d]."""
        return self.concepts[task][1].vector


def load_case(name: str, models: Models) -> Case:
    """Read a pair's states on the default suite's corpus, and its tasks."""
    source_model, source_layer, target_model, target_layer = PAIRS[name]
    source = Site(models.get(source_model), source_layer)
    target = Site(models.get(target_model), target_layer)
    corpus = CorpusSpec(fit_tokens=40_000, validation_tokens=5_000, sample_tokens=24_000)
    states = collect(source, target, corpus.corpus(Data()), corpus.budget, seed=SEED, batch_size=64)
    prompts, concepts = {}, {}
    for task in map(find_task, TASKS):
        assert isinstance(task, ChoiceTask)
        encoded = [row.ids for row in encode_choices(target, task.choices)]
        prompts[task.name] = encoded[:: max(1, len(encoded) // PROMPTS)][:PROMPTS]
        concepts[task.name] = (concept_states(source, task.vector), concept_states(target, task.vector))
    return Case(name, source, target, states, prompts, concepts)


def rungs(case: Case) -> dict[str, dict[str, Tensor]]:
    """Every row's vectors of each task [draws, d], by name; a name's part before ':' is its ladder."""
    rows = {"bound:halves": {task: _half(case, task) for task in case.concepts}}
    rows |= {f"mixture:{cosine}": _mixture(case, cosine) for cosine in COSINES}
    if case.name == "planted":
        rows |= {f"noise:{level}": _blurred(case, level) for level in NOISE}
    else:
        rows |= {f"tokens:{count}": _fitted(case, count) for count in FIT_TOKENS}
    return rows | _chance(case)


def _half(case: Case, task: str) -> Tensor:
    return case.concepts[task][1].half(0).vector[None]


def _mixture(case: Case, cosine: float) -> dict[str, Tensor]:
    """Return unit vectors at a given cosine to the native one, in random directions from it."""
    generator = torch.Generator().manual_seed(SEED)
    mixed = {}
    for task in case.concepts:
        native = unit(case.native(task))
        noise = torch.randn(DRAWS, len(native), generator=generator)
        noise = unit(noise - (noise @ native)[:, None] * native)
        mixed[task] = cosine * native + (1 - cosine**2) ** 0.5 * noise
    return mixed


def _mapped(case: Case, moments: list[Moments]) -> dict[str, Tensor]:
    """Vectors under affine fits on some moments: {task: [fits, d]}."""
    weights = []
    for each in moments:
        fit = Affine()
        states = case.states.copy()
        states.moments = each
        fit.fit(states)
        weights.append(fit.weight)
    return {
        task: torch.stack([(weight.double() @ pair[0].vector.double()).float() for weight in weights])
        for task, pair in case.concepts.items()
    }


def _drawn(case: Case, count: int, draw: int) -> tuple[Tensor, Tensor]:
    """Paired states of some tokens of the sample."""
    sample = case.states.sample
    generator = torch.Generator().manual_seed(SEED + draw)
    chosen = torch.randperm(len(sample), generator=generator)[:count].sort().values.numpy()
    return torch.from_numpy(sample.x[chosen]), torch.from_numpy(sample.y[chosen])


def _fitted(case: Case, count: int) -> dict[str, Tensor]:
    if count > len(case.states.sample):
        return _mapped(case, [case.states.moments])
    return _mapped(case, [Moments.of(*_drawn(case, count, draw)) for draw in range(DRAWS)])


def _blurred(case: Case, level: float) -> dict[str, Tensor]:
    """Fits on 5,000 tokens whose source states carry noise of `level` standard deviations."""
    moments = []
    for draw in range(DRAWS if level else 1):
        x, y = _drawn(case, 5_000, draw)
        generator = torch.Generator().manual_seed(SEED + 100 + draw)
        moments.append(Moments.of(x + level * x.std(0) * torch.randn(x.shape, generator=generator), y))
    return _mapped(case, moments)


def _chance(case: Case) -> dict[str, dict[str, Tensor]]:
    """Random directions, and ridge fits on states paired at random."""
    generator = torch.Generator().manual_seed(SEED + 7)
    width = case.target.width
    random = {task: torch.randn(8, width, generator=generator) for task in case.concepts}
    ridge = Ridge()
    ridge.fit(case.states)
    shuffles = []
    for seed in range(4):
        from lrt_bench.mappings.base import Spectrum

        shuffles.append(Spectrum(case.states.shuffled(seed)).weight(ridge.strength_))
    shuffled = {
        task: torch.stack([(weight.double() @ pair[0].vector.double()).float() for weight in shuffles])
        for task, pair in case.concepts.items()
    }
    return {"chance:random": random, "chance:shuffled": shuffled, "control:readout": _readout(case)}


def _readout(case: Case) -> dict[str, Tensor]:
    """Return the unembedding difference of each task's choice words."""
    rows = {}
    for name in case.concepts:
        task = find_task(name)
        assert isinstance(task, ChoiceTask)
        encoded = encode_choices(case.target, task.choices)
        tokens = torch.tensor([[row.positive, row.negative] for row in encoded])
        unembedded = case.target.model.unembedding(tokens.flatten())
        assert unembedded is not None
        rows[name] = (unembedded[::2] - unembedded[1::2]).mean(0)[None]
    return rows
