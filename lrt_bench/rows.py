"""The rows of a pair: every control and every mapping, as the vectors that it steers with."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lrt_bench.bench import PairBench
from lrt_bench.errors import UserError
from lrt_bench.mappings import LinearMapping, Mapping, digest_of, find_mapping, name_of
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.ridge import STRENGTHS
from lrt_bench.tasks import Task

Vectors = dict[str, Tensor]


@dataclass
class Row(ABC):
    """One row of the table.

    Attributes
    ----------
    mappings : the fitted maps, one a seed; empty for a row that maps no states.
    fit_seconds : of the fits alone; the states are counted apart.
    """

    name: str
    rule: str
    control: bool = True
    track: str = "control"
    mappings: list[Mapping] = field(default_factory=list)
    fit_seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return hashlib.sha256(f"control {self.name} v1".encode()).hexdigest()

    @abstractmethod
    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        """The vectors that the row steers each task with: {task: [seeds, d_target]}."""


class Native(Row):
    """The target's own vector: what transfer is compared with."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return {task.name: bench.target_states(task).vector[None] for task in tasks}


class NativeSplit(Row):
    """The target's vectors from two disjoint halves of the prompts: the ceiling."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        states = {task.name: bench.target_states(task) for task in tasks}
        return {name: torch.stack([s.half(0).vector, s.half(1).vector]) for name, s in states.items()}


class Nothing(Row):
    """The zero vector."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        return {task.name: torch.zeros(1, bench.target.width) for task in tasks}


class RandomDirections(Row):
    """Directions drawn uniformly, each in both senses: the luck of a direction's sign cancels."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        drawn = bench.random_directions()
        return {task.name: torch.cat([drawn, -drawn]) for task in tasks}


class _Shuffled(LinearMapping):
    """Ridge on states paired at random, its strength the one that ridge chooses on true pairs."""

    strength = STRENGTHS[0]

    def solve(self, states: object) -> Tensor:
        raise NotImplementedError

    def fit_moments(self, bench: PairBench, seed: int) -> None:
        moments = bench.states.shuffled(seed)
        self.weight = Spectrum(moments).weight(bench.ridge.strength_)
        self.bias = moments.mean_y - self.weight @ moments.mean_x


class Shuffled(Row):
    """The same fit on states paired at random, several shuffles.

    A random pairing knows no sense of direction, so each vector steers both ways: luck of sign cancels.
    """

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        began = time.perf_counter()
        for shuffle in range(bench.suite.shuffles):
            mapping = _Shuffled()
            mapping.fit_moments(bench, bench.seed + shuffle)
            self.mappings.append(mapping)
        self.fit_seconds = time.perf_counter() - began
        found = transferred(bench, tasks, self.mappings)
        return {name: torch.cat([vectors, -vectors]) for name, vectors in found.items()}


class OtherConcept(Row):
    """Another concept's transferred vector: the next ones in the list of tasks, by ridge."""

    OTHERS = 3

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        own = transferred(bench, tasks, [bench.ridge])
        names = list(own)
        count = min(self.OTHERS, len(names) - 1)
        if count == 0:
            return {name: torch.zeros(1, bench.target.width) for name in names}
        return {
            name: torch.cat([own[names[(i + step) % len(names)]] for step in range(1, count + 1)])
            for i, name in enumerate(names)
        }


class Readout(Row):
    """The unembedding difference of the choice words: how much is a direct logit readout."""

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        found = {}
        for task in tasks:
            encoded = bench.sweep(task).encoded if task.card.kind == "choice" else []
            tokens = torch.tensor([[row.positive, row.negative] for row in encoded], dtype=torch.long)
            rows = bench.target.model.unembedding(tokens.flatten()) if len(tokens) else None
            if rows is None:
                found[task.name] = torch.zeros(1, bench.target.width)
            else:
                difference = rows.view(len(tokens), 2, -1)
                found[task.name] = (difference[:, 0] - difference[:, 1]).mean(0)[None]
        return found


@dataclass
class MappingRow(Row):
    """A mapping method, fitted once for each seed if it is stochastic."""

    method: type[Mapping] = Mapping  # type: ignore[type-abstract]

    @property
    def digest(self) -> str:
        return digest_of(self.method)

    def vectors(self, bench: PairBench, tasks: list[Task]) -> Vectors:
        states = bench.states
        began = time.perf_counter()
        for seed in range(bench.suite.fit_seeds if self.method.stochastic else 1):
            mapping = self.method()
            mapping.seed = bench.seed + seed
            try:
                mapping.fit(states)
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"mapping {self.name}: fit fails: {type(error).__name__}: {error}") from error
            self._check(mapping, bench)
            self.mappings.append(mapping)
        self.fit_seconds = time.perf_counter() - began
        return transferred(bench, tasks, self.mappings)

    def _check(self, mapping: Mapping, bench: PairBench) -> None:
        """Raise UserError where the mapping's output is not [n, d_target], finite."""
        x = bench.states.validation[0][:32]
        try:
            y = mapping(x)
        except Exception as error:
            raise UserError(
                f"mapping {self.name}: calling it fails: {type(error).__name__}: {error}"
            ) from error
        want = (len(x), bench.target.width)
        if not isinstance(y, Tensor) or tuple(y.shape) != want:
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise UserError(f"mapping {self.name}: __call__ returned {shape}, want {want}: map to d_target")
        if not torch.isfinite(y).all():
            raise UserError(f"mapping {self.name}: __call__ returned NaN or infinity: check its fit")


def transferred(bench: PairBench, tasks: list[Task], mappings: list[Mapping]) -> Vectors:
    """Each task's vectors under each map: {task: [maps, d_target]}, in float32."""
    found = {}
    for task in tasks:
        states = bench.source_states(task)
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
        Shuffled("shuffled", "A v and -A v, fitted on states paired at random"),
        OtherConcept("other-concept", "A v of other concepts, by ridge"),
        Readout("readout", "unembedding difference of the choice words"),
    ]


def mapping_row(spec: str) -> MappingRow:
    """The row of a built-in mapping or of PATH.py:CLASS."""
    method = find_mapping(spec)
    return MappingRow(name_of(spec), method.rule, control=False, track=method.track, method=method)
