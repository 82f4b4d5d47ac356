"""The rows of a pair: every control and every mapping, as the vectors that it steers with."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.suites import PairSpec
from lrt_bench.data.tasks import ChoiceTask, VectorTask
from lrt_bench.errors import UserError, line_in
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, Vectors, both_ways, half_vectors, native_vectors
from lrt_bench.mappings import BUILT_IN, FixedLinear, LinearMapping, Mapping, digest_of, find_method, name_of
from lrt_bench.mappings.base import Spectrum
from lrt_bench.mappings.ridge import Ridge
from lrt_bench.models.states import PairedStates
from lrt_bench.results.schema.audit_records import AuditRecord
from lrt_bench.results.schema.records import MappingRecord

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

    def compare_with(self, references: dict[str, Reference]) -> None:
        """Take the native references; a row that audits itself scores with them."""
        return

    @abstractmethod
    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers each task with: {task: [seeds, d_target]}."""

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the row's vectors from half of a task's pairs, by group of prompts: [seeds, groups, d].

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

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return native_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the target's own vectors from the half that a prompt's group is not scored on."""
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class NativeSplit(Row):
    """The target's vectors from two disjoint halves of the prompts: the ceiling."""

    over_steered = True

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return half_vectors({task.name: bench.inputs.target_states(task) for task in tasks})

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the target's own vectors from the half that a prompt's group is not scored on."""
        assert bench.behaviour is not None
        return bench.behaviour.own_halves(task)[None]


class Nothing(Row):
    """The zero vector."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return {task.name: torch.zeros(1, bench.target.width) for task in tasks}


class RandomDirections(Row):
    """Directions drawn uniformly, each in both senses: the luck of a direction's sign cancels."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        return both_ways(bench.random_directions(), tasks)

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the directions that chance is measured by, each in one sense: [directions, groups, d].

        Behaviour has no sign that would have to cancel: a direction's opposite is one more draw.
        """
        assert bench.behaviour is not None
        return bench.behaviour.chance


class Shuffled(Row):
    """The same fit on states paired at random, several shuffles: what a map owes to the pairing.

    Its strength is the one that ridge chooses on true pairs. Every draw of documents is shuffled.
    """

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        began = time.perf_counter()
        for shuffle in range(max(bench.suite.shuffles, len(bench.ridges))):
            moments = bench.fit_states(shuffle).shuffled(bench.seed + shuffle)
            weight = Spectrum(moments).weight(bench.ridges[shuffle % len(bench.ridges)].strength_)
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
        """Hash of the code behind the row."""
        return digest_of(Ridge)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        choices = bench.choice_sweep.tasks
        own = transferred(bench, choices, list(bench.ridges))
        nothing = torch.zeros(1, bench.target.width)
        vectors_of = {}
        for task in tasks:
            start = choices.index(task) + 1 if isinstance(task, ChoiceTask) and task in choices else 0
            order = [*choices[start:], *choices[:start]]
            others = [own[other.name] for other in order if other.card.concept != task.card.concept]
            vectors_of[task.name] = torch.cat(others[: self.OTHERS]) if others else nothing
        return vectors_of


class Readout(Row):
    """The unembedding difference of the choice words: how much is a direct logit readout."""

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        vectors_of = {}
        for task in tasks:
            encoded = bench.choice_sweep.of(task).encoded if isinstance(task, ChoiceTask) else []
            tokens = torch.tensor([[row.positive, row.negative] for row in encoded], dtype=torch.long)
            rows = bench.target.model.unembedding(tokens.flatten()) if len(tokens) else None
            vectors_of[task.name] = torch.zeros(1, bench.target.width)
            if rows is not None:
                each = rows[::2] - rows[1::2]
                mean = each.mean(0)
                # balanced letters cancel: what rounding leaves of them is no direction
                if mean.norm() > 1e-4 * each.norm(dim=1).mean():
                    vectors_of[task.name] = mean[None]
        return vectors_of

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the readout through the final norm's gain, which `vectors` leave out."""
        assert bench.behaviour is not None
        readout = bench.behaviour.of(task).readout
        return readout.expand(1, bench.behaviour.groups, -1)


class Unembedding(Row):
    """The two unembeddings alone as a map: what carrying output directions would do, without a corpus.

    Where there is no such map (`steering.readout.unembedding_map` says where) it steers with nothing.
    """

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        weight = bench.inputs.unembedding_map
        if weight is None:
            return {task.name: torch.zeros(1, bench.target.width) for task in tasks}
        source = native_vectors({task.name: bench.inputs.source_states(task) for task in tasks})
        return {name: vectors @ weight.T for name, vectors in source.items()}

    def half_vectors(self, bench: PairBench, task: ChoiceTask, vectors: Tensor) -> Tensor:
        """Return the source's own vectors from half of a task's pairs, carried by the map."""
        assert bench.behaviour is not None
        carried = bench.behaviour.by_unembeddings(task)
        return super().half_vectors(bench, task, vectors) if carried is None else carried[None]


@dataclass
class MappingRow(Row):
    """A mapping method, fitted once on each draw; on a single one, once for each seed if it is stochastic."""

    over_steered = True

    method: type[Mapping] = Mapping  # type: ignore[type-abstract]
    instance: Mapping | None = None  # that a fit copies, where it was given in the class's place

    @property
    def digest(self) -> str:
        """Hash of the code behind the row."""
        return digest_of(self.instance or self.method)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        fits = range(bench.fits((self.instance or self.method).stochastic))
        draws = [bench.fit_states(fit) for fit in fits]
        began = time.perf_counter()
        self.mappings = [self.fitted(draws[fit], bench.seed + fit) for fit in fits]
        self.fit_seconds = (time.perf_counter() - began) / len(fits)
        for mapping in self.mappings:
            self.check_output(mapping, bench.states.validation[0][:32], bench.target.width)
        carried = self._named("transfer", lambda: transferred(bench, tasks, self.mappings))
        want = (len(fits), bench.target.width)
        for vectors in carried.values():
            if tuple(vectors.shape) != want or not bool(torch.isfinite(vectors).all()):
                shape = tuple(vectors.shape)
                raise UserError(f"mapping {self.name}: transfer gave {shape}, or NaN; want {want}, finite")
        return carried

    def made(self, seed: int) -> Mapping:
        """Return a fresh instance, or a copy of the one that was given, not fitted yet."""
        given = self.instance
        mapping = self._named("__init__", self.method if given is None else lambda: copy.deepcopy(given))
        mapping.seed = seed
        return mapping

    def fitted(self, states: PairedStates, seed: int) -> Mapping:
        """Return a fresh instance, fitted on its own copy of the states, all its randomness from `seed`."""
        with torch.random.fork_rng(), _numpy_seed(seed):
            torch.manual_seed(seed)
            mapping = self.made(seed)
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
            where = line_in(error, inspect.getsourcefile(self.method))
            raise UserError(f"mapping {self.name}: {what} fails: {kind}: {error}{where}") from error

    def check_transfer(self, mapping: Mapping, x: Tensor, d_target: int) -> None:
        """Raise UserError where a vector of states x [n, d_source] is not carried to [d_target], finite."""
        vector = self._named("transfer", lambda: mapping.transfer(x[::2], x[1::2]))
        if not isinstance(vector, Tensor) or tuple(vector.shape) != (d_target,):
            shape = tuple(vector.shape) if isinstance(vector, Tensor) else type(vector).__name__
            raise UserError(f"mapping {self.name}: transfer gave {shape}: want {(d_target,)}")
        if not torch.isfinite(vector).all():
            raise UserError(f"mapping {self.name}: transfer gave NaN or infinity: check its fit")

    def check_output(self, mapping: Mapping, x: Tensor, d_target: int) -> None:
        """Raise UserError where states x [n, d_source] are not mapped to [n, d_target], finite."""
        y = self._named("__call__", lambda: mapping(x))
        want = (len(x), d_target)
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


def transferred(bench: PairBench, tasks: Sequence[VectorTask], mappings: list[Mapping]) -> Vectors:
    """Each task's vectors under each map: {task: [maps, d_target]}, in float32."""
    carried = {}
    for task in tasks:
        states = bench.inputs.source_states(task)
        vectors = [mapping.transfer(states.positive, states.negative) for mapping in mappings]
        carried[task.name] = torch.stack([vector.float().cpu() for vector in vectors])
    return carried


def controls() -> list[Row]:
    """Return the control rows; the first three are what the others are compared with."""
    return [
        Native("native", "the target's own vector"),
        NativeSplit("native-split", "own vectors of two halves of the prompts"),
        RandomDirections("random", "random directions, each both ways"),
        Nothing("none", "no steering"),
        Shuffled("shuffled", "A v, fitted on states paired at random"),
        OtherConcept("other-concept", "A v of other concepts, by ridge"),
        Readout("readout", "unembedding difference of the choice words"),
        Unembedding(
            "unembedding", "U v, a map of the two unembeddings alone, over the tokens that both have"
        ),
    ]


def mapping_row(given: str | type[Mapping] | Mapping) -> MappingRow:
    """Return the row of a built-in mapping, of PATH.py:CLASS, of a class or of an instance."""
    method, name = find_method(given), name_of(given)
    if method.track not in MAPPING_TRACKS:
        raise UserError(f"mapping {name}: track {method.track!r}: give {' or '.join(MAPPING_TRACKS)}")
    instance = given if isinstance(given, Mapping) else None
    return MappingRow(name, method.rule, control=False, track=method.track, method=method, instance=instance)


def mapping_record(row: Row) -> MappingRecord:
    """Return what a result says of the row's method."""
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
