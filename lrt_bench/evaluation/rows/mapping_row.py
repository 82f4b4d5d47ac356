"""The row of a mapping method: fitted, checked, and carried task by task."""

from __future__ import annotations

import contextlib
import copy
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lrt_bench.data.tasks import VectorTask
from lrt_bench.errors import UserError, line_in
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Vectors
from lrt_bench.evaluation.rows.base import Row
from lrt_bench.evaluation.rows.carried import known_concepts, transferred
from lrt_bench.mappings import BUILT_IN, LinearMapping, Mapping, digest_of, find_method, is_built_in, name_of
from lrt_bench.mappings.concepts.task_aware import TaskAware
from lrt_bench.mappings.target.target_aware import TargetAware
from lrt_bench.models.states import PairedStates
from lrt_bench.models.target_runs import CorpusRuns
from lrt_bench.results.schema.records import MappingRecord

T = TypeVar("T")
MAPPING_TRACKS = ("corpus", "target-aware", "task-aware", "unpaired")


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

    @property
    def runs_target(self) -> bool:
        """Whether a fit runs the target on corpus text."""
        return issubclass(self.method, TargetAware)

    def vectors(self, bench: PairBench, tasks: Sequence[VectorTask]) -> Vectors:
        """Return the vectors that the row steers with, {task: [seeds, d_target]}."""
        fits = range(bench.fits((self.instance or self.method).stochastic))
        draws = [bench.fit_states(fit) for fit in fits]
        began = time.perf_counter()
        runs = [bench.target_runs(fit) for fit in fits] if self.runs_target else []
        self.mappings = [
            self.fitted(draws[fit], bench.seed + fit, runs[fit] if runs else None) for fit in fits
        ]
        self.fit_seconds = (time.perf_counter() - began) / len(fits)
        self.target_tokens = round(sum(run.tokens for run in runs) / len(fits)) if runs else None
        for mapping in self.mappings:
            self.check_output(mapping, bench.states.validation[0][:32], bench.target.width)
        carried = self._named("transfer", lambda: transferred(bench, tasks, self.mappings))
        self.fit_texts = self._texts(bench, tasks)
        want = (len(fits), bench.target.width)
        for vectors in carried.values():
            if tuple(vectors.shape) != want or not bool(torch.isfinite(vectors).all()):
                shape = tuple(vectors.shape)
                raise UserError(f"mapping {self.name}: transfer gave {shape}, or NaN; want {want}, finite")
        return carried

    def _texts(self, bench: PairBench, tasks: Sequence[VectorTask]) -> int | None:
        """Return how many texts of concepts each map was made of, the mean over tasks; None without any."""
        [first, *_] = self.mappings
        if not isinstance(first, TaskAware):
            return None
        counts = [sum(len(one.texts[0]) for one in known_concepts(bench, task, first)) for task in tasks]
        return round(sum(counts) / len(counts)) if counts else None

    def made(self, seed: int) -> Mapping:
        """Return a fresh instance, or a copy of the one that was given, not fitted yet."""
        given = self.instance
        mapping = self._named("__init__", self.method if given is None else lambda: copy.deepcopy(given))
        mapping.seed = seed
        return mapping

    def fitted(self, states: PairedStates, seed: int, runs: CorpusRuns | None = None) -> Mapping:
        """Return a fresh instance, fitted on its own copy of the states, all its randomness from `seed`.

        runs : the target on corpus text, for a map that runs it.
        """
        with torch.random.fork_rng(), _numpy_seed(seed):
            torch.manual_seed(seed)
            mapping = self.made(seed)
            if isinstance(mapping, TargetAware) and runs is not None:
                target = runs
                self._named("fit", lambda: mapping.fit_on_target(states.copy(), target))
            else:
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


def mapping_row(given: str | type[Mapping] | Mapping) -> MappingRow:
    """Return the row of a built-in mapping, of PATH.py:CLASS, of a class or of an instance."""
    method, name = find_method(given), name_of(given)
    if method.track not in MAPPING_TRACKS:
        raise UserError(f"mapping {name}: track {method.track!r}: give {' or '.join(MAPPING_TRACKS)}")
    instance = given if isinstance(given, Mapping) else None
    control = is_built_in(name) and issubclass(method, TaskAware) and method.unmasks
    track = "control" if control else method.track
    return MappingRow(name, method.rule, control=control, track=track, method=method, instance=instance)


def mapping_record(row: Row) -> MappingRecord:
    """Return what a result says of the row's method."""
    linear = bool(row.mappings) and isinstance(row.mappings[0], LinearMapping | TaskAware)
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
