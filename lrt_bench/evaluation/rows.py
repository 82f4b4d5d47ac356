"""The rows of a pair: every control and every mapping, as the vectors that it steers with."""

from __future__ import annotations

import contextlib
import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec
from lrt_bench.data.tasks import Task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors, both_ways, half_vectors, native_vectors
from lrt_bench.mappings import BUILT_IN, FixedLinear, LinearMapping, Mapping, digest_of, find_mapping, name_of
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.states import PairedStates
from lrt_bench.results.records import AuditRecord, MappingRecord

T = TypeVar("T")
MAPPING_TRACKS = ("corpus", "task-aware")


@dataclass
class Row(ABC):
    """One row of the table.

    Attributes
    ----------
    mappings : the fitted maps, one a seed; empty for a row that maps no states.
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

    @abstractmethod
    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        """The vectors that the row steers each task with: {task: [seeds, d_target]}."""

    def half_vectors(self, bench: PairBench, task: Task, vectors: Tensor) -> Tensor:
        """The row's vectors from half of a task's pairs, for each group of prompts: [seeds, groups, d].

        `vectors` [seeds, d_target] are those of all pairs; a row that is made of no pairs has the same ones.
        """
        references = bench.behaviour
        assert references is not None
        if not self.mappings:
            return vectors[:, None].expand(-1, references.groups, -1)
        halves = [own for own, _ in references.halves(bench.inputs.source_states(task))]
        mapped = [
            torch.stack([mapping.transfer(own.positive, own.negative).float().cpu() for own in halves])
            for mapping in self.mappings
        ]
        return torch.stack(mapped)


class Native(Row):
    """The target's own vector: what transfer is compared with."""

    over_steered = True

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return native_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: Task, vectors: Tensor) -> Tensor:
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class NativeSplit(Row):
    """The target's vectors from two disjoint halves of the prompts: the ceiling."""

    over_steered = True

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return half_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: Task, vectors: Tensor) -> Tensor:
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class Nothing(Row):
    """The zero vector."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return {task.name: torch.zeros(1, bench.target.width) for task in tasks}


class RandomDirections(Row):
    """Directions drawn uniformly, each in both senses: the luck of a direction's sign cancels."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return both_ways(bench.random_directions(), tasks)


class Shuffled(Row):
    """The same fit on states paired at random, several shuffles: what a map owes to the pairing.

    Its strength is the one that ridge chooses on true pairs.
    """

    @property
    def digest(self) -> str:
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        began = time.perf_counter()
        for shuffle in range(bench.suite.shuffles):
            moments = bench.states.shuffled(bench.seed + shuffle)
            weight = Spectrum(moments).weight(bench.ridge.strength_)
            self.mappings.append(FixedLinear(weight, moments.mean_y - weight @ moments.mean_x))
        self.fit_seconds = time.perf_counter() - began
        return transferred(bench, tasks, self.mappings)


class OtherConcept(Row):
    """Transferred vectors of the next two other concepts in the list of choice tasks, by ridge.

    Without another concept it steers with nothing.
    """

    OTHERS = 2

    @property
    def digest(self) -> str:
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        choices = bench.choice_sweep.tasks
        own = transferred(bench, choices, [bench.ridge])
        nothing = torch.zeros(1, bench.target.width)
        found = {}
        for task in tasks:
            start = choices.index(task) + 1 if task in choices else 0
            order = [*choices[start:], *choices[:start]]
            others = [own[other.name] for other in order if other.card.concept != task.card.concept]
            found[task.name] = torch.cat(others[: self.OTHERS]) if others else nothing
        return found


class Readout(Row):
    """The unembedding difference of the choice words: how much is a direct logit readout."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        found = {}
        for task in tasks:
            encoded = bench.choice_sweep.of(task).encoded if task.card.kind == "choice" else []
            tokens = torch.tensor([[row.positive, row.negative] for row in encoded], dtype=torch.long)
            rows = bench.target.model.unembedding(tokens.flatten()) if len(tokens) else None
            found[task.name] = torch.zeros(1, bench.target.width)
            if rows is not None:
                each = rows[::2] - rows[1::2]
                mean = each.mean(0)
                # balanced letters cancel: what rounding leaves of them is no direction
                if mean.norm() > 1e-4 * each.norm(dim=1).mean():
                    found[task.name] = mean[None]
        return found

    def half_vectors(self, bench: PairBench, task: Task, vectors: Tensor) -> Tensor:
        """The readout through the final norm's gain, which `vectors` leave out."""
        assert bench.behaviour is not None
        readout = bench.behaviour.of(task).readout
        return readout.expand(1, bench.behaviour.groups, -1)


@dataclass
class MappingRow(Row):
    """A mapping method, fitted once for each seed if it is stochastic."""

    over_steered = True

    method: type[Mapping] = Mapping  # type: ignore[type-abstract]

    @property
    def digest(self) -> str:
        return digest_of(self.method)

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        states = bench.states
        seeds = range(bench.suite.fit_seeds if self.method.stochastic else 1)
        began = time.perf_counter()
        self.mappings = [self.fitted(states, bench.seed + seed) for seed in seeds]
        self.fit_seconds = (time.perf_counter() - began) / len(seeds)
        for mapping in self.mappings:
            self._check(mapping, bench)
        found = self._named("transfer", lambda: transferred(bench, tasks, self.mappings))
        want = (len(seeds), bench.target.width)
        for vectors in found.values():
            if tuple(vectors.shape) != want or not bool(torch.isfinite(vectors).all()):
                shape = tuple(vectors.shape)
                raise UserError(f"mapping {self.name}: transfer gave {shape}, or NaN; want {want}, finite")
        return found

    def fitted(self, states: PairedStates, seed: int) -> Mapping:
        """A fresh instance, fitted on its own copy of the states, all its randomness from `seed`."""
        with torch.random.fork_rng(), _numpy_seed(seed):
            torch.manual_seed(seed)
            mapping = self._named("__init__", self.method)
            mapping.seed = seed
            self._named("fit", lambda: mapping.fit(states.copy()))
        return mapping

    def _named(self, what: str, call: Callable[[], T]) -> T:
        """Run a part of the method; whatever it raises becomes one line that names it."""
        try:
            return call()
        except UserError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise UserError(f"mapping {self.name}: {what} fails: {kind}: {error}") from error

    def _check(self, mapping: Mapping, bench: PairBench) -> None:
        """Raise UserError where the mapping's output is not [n, d_target], finite."""
        x = bench.states.validation[0][:32]
        y = self._named("__call__", lambda: mapping(x))
        want = (len(x), bench.target.width)
        if not isinstance(y, Tensor) or tuple(y.shape) != want:
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise UserError(f"mapping {self.name}: __call__ returned {shape}, want {want}: map to d_target")
        if not torch.isfinite(y).all():
            raise UserError(f"mapping {self.name}: __call__ returned NaN or infinity: check its fit")


@contextlib.contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


def transferred(bench: PairBench, tasks: list[Task], mappings: list[Mapping]) -> Vectors:
    """Each task's vectors under each map: {task: [maps, d_target]}, in float32."""
    found = {}
    for task in tasks:
        states = bench.inputs.source_states(task)
        vectors = [mapping.transfer(states.positive, states.negative) for mapping in mappings]
        found[task.name] = torch.stack([vector.float().cpu() for vector in vectors])
    return found


def controls() -> list[Row]:
    """The control rows; the first three are what the others are compared with."""
    return [
        Native("native", "the target's own vector"),
        NativeSplit("native-split", "own vectors of two halves of the prompts"),
        RandomDirections("random", "random directions, each both ways"),
        Nothing("none", "no steering"),
        Shuffled("shuffled", "A v, fitted on states paired at random"),
        OtherConcept("other-concept", "A v of other concepts, by ridge"),
        Readout("readout", "unembedding difference of the choice words"),
    ]


def mapping_row(spec: str) -> MappingRow:
    """The row of a built-in mapping or of PATH.py:CLASS."""
    method = find_mapping(spec)
    if method.track not in MAPPING_TRACKS:
        raise UserError(
            f"mapping {name_of(spec)}: track {method.track!r}: give {' or '.join(MAPPING_TRACKS)}"
        )
    return MappingRow(name_of(spec), method.rule, control=False, track=method.track, method=method)


def mapping_record(row: Row) -> MappingRecord:
    """What a result says of the row's method."""
    linear = bool(row.mappings) and isinstance(row.mappings[0], LinearMapping)
    fields = {
        "name": row.name,
        "control": row.control,
        "kind": "control" if row.control else "linear" if linear else "non-linear",
        "origin": "built-in" if row.control or row.name in BUILT_IN else "file",
        "track": row.track,
        "rule": row.rule,
        "seeds": max(1, len(row.mappings)),
        "parameters": row.mappings[0].n_parameters if row.mappings else 0,
        "digest": row.digest,
        "description": BUILT_IN[row.name][2] if row.name in BUILT_IN else None,
    }
    return MappingRecord.model_validate(fields | row.about)
