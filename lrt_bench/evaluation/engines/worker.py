"""A worker: it opens pairs, reads shards of the corpus, sweeps references and computes cells.

It holds the models of one pair at a time. It writes nothing: the driver stores results.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrt_bench._version import __version__
from lrt_bench.data.suites import PairSpec
from lrt_bench.data.tasks import RefusalTask, Task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.states import ReceivedStates
from lrt_bench.evaluation.cells import Cell, Failure
from lrt_bench.evaluation.evaluation import Evaluation, rows_of
from lrt_bench.evaluation.pair_job import PairJob
from lrt_bench.evaluation.rows import Row
from lrt_bench.evaluation.scorers.judge import KEY, Judge
from lrt_bench.files.cache.recall import code_digest, use
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.kept_states import MOMENTS, draw_keys
from lrt_bench.models.loading import Models
from lrt_bench.models.sample import Sample
from lrt_bench.models.states import PairedStates, Shard, ShardStates, read_shard
from lrt_bench.results.schema.records import LayersChosen
from lrt_bench.results.storage import Result
from lrt_bench.steering.refusal_selection import AlphaChoice

UNSEEN = ("unseen_source", "unseen_target")


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is sent of a run.

    Attributes
    ----------
    folder
        The driver's working folder: relative paths mean the same in it.
    judge
        Address and name of the judge; its key is each machine's own and is never sent.
    keyed
        Whether the driver has a key.
    """

    evaluation: Evaluation
    folder: str
    judge: tuple[str, str] | None = None
    keyed: bool = False

    @classmethod
    def of(cls, evaluation: Evaluation) -> WorkerSettings:
        """Return what workers are sent of an evaluation; never the judge's key."""
        scorers = evaluation.scorers
        judge = scorers.judge
        mine = replace(
            evaluation, report=_silently, pair_done=_to_nobody, scorers=replace(scorers, judge=None)
        )
        address = (judge.url, judge.model) if judge else None
        return cls(mine, str(Path.cwd()), address, bool(judge and judge.key))

    def on_this_machine(self) -> Evaluation:
        """Return the run's evaluation on this machine.

        Raises
        ------
        UserError
            Where the machine lacks the working folder or the judge's key.
        """
        host = socket.gethostname()
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise UserError(
                f"worker on {host}: no folder {self.folder}: run from one that all machines share"
            ) from error
        if self.judge is None:
            return self.evaluation
        judge = Judge.from_environment(*self.judge)
        if self.keyed and not judge.key:
            raise UserError(f"worker on {host}: {KEY} is not set there: the judge's key is never sent")
        return replace(self.evaluation, scorers=replace(self.evaluation.scorers, judge=judge))


def _silently(what: str, done: float, total: float) -> None:
    """Workers report to nobody: the driver knows what they do."""


def _to_nobody(cells: list[Cell]) -> None:
    """Only the driver has whole pairs."""


@dataclass(frozen=True)
class PairTask:
    """One pair of the run, its tasks read and, once a worker has opened it, its layers found."""

    number: int
    pair: PairSpec
    tasks: list[Task]
    fingerprint: str
    revisions: Mapping[str, str]
    layers: LayersChosen | None = None


@dataclass(frozen=True)
class Opened:
    """What the driver needs to know of a pair's models, which it does not load itself.

    keys : of each row's cell. tokenizers, limits, widths : source, target, as `states.Pass` takes them.
    states : the keys of every draw's paired states in the cache.
    """

    pair: PairSpec
    layers: LayersChosen | None
    keys: dict[str, str]
    tokenizers: tuple[Any, Any]
    limits: tuple[int, int]
    widths: tuple[int, int]
    states: list[str | None]


@dataclass(frozen=True)
class PackedStates:
    """A draw's paired states as plain arrays: the workers of one machine share a single copy of them."""

    arrays: dict[str, np.ndarray]
    others: dict[str, Any]

    @classmethod
    def of(cls, states: PairedStates) -> PackedStates:
        """Return paired states as plain arrays."""
        size = len(states.sample)
        arrays = {name: getattr(states.moments, name).numpy() for name in MOMENTS}
        arrays |= {"x": np.asarray(states.sample.x[:size]), "y": np.asarray(states.sample.y[:size])}
        arrays |= dict(zip(("source", "target"), (v.numpy() for v in states.validation), strict=True))
        if states.unseen is not None:
            arrays |= dict(zip(UNSEEN, (v.numpy() for v in states.unseen), strict=True))
        names = ("validation_text", "unseen_text", "tokens", "coverage", "digest", "seconds", "shown")
        return cls(arrays, {name: getattr(states, name) for name in names})

    def unpacked(self) -> PairedStates:
        """Return the paired states; the sample stays in its file, read-only, and the rest is copied."""
        moments = {name: torch.from_numpy(self.arrays[name].copy()) for name in MOMENTS}
        sides = torch.from_numpy(self.arrays["source"].copy()), torch.from_numpy(self.arrays["target"].copy())
        kept = [torch.from_numpy(self.arrays[name].copy()) for name in UNSEEN if name in self.arrays]
        return PairedStates(
            Moments(self.others["tokens"], **moments),
            Sample.of(self.arrays["x"], self.arrays["y"]),
            sides,
            unseen=(kept[0], kept[1]) if kept else None,
            **self.others,
        )


Draws = tuple[PackedStates, ...]


@dataclass(frozen=True)
class Swept:
    """A reference control's propensities and the seconds that its sweep took."""

    propensities: dict[str, Tensor]
    seconds: float


@dataclass(frozen=True)
class Shared:
    """What a pair's cells are compared with: the reference controls, the alphas of refusal tasks."""

    references: dict[str, Swept] = field(default_factory=dict)
    alphas: dict[str, AlphaChoice] = field(default_factory=dict)


class Worker:
    """Computes what it is asked for, of one pair at a time; the order of calls changes no number."""

    _evaluation: Evaluation
    _models: Models
    _rows: list[Row]
    _states: ReceivedStates

    def __init__(self) -> None:
        self._job: tuple[int, PairJob] | None = None

    def version(self) -> tuple[str, str, str, int]:
        """Version, hash of the code, machine, process."""
        return __version__, code_digest(), socket.gethostname(), os.getpid()

    def configure(self, settings: WorkerSettings) -> None:
        """Take a run's settings.

        Raises UserError where they do not fit this machine.
        """
        self._evaluation = settings.on_this_machine()
        use(self._evaluation.config.cache())
        self._models = self._evaluation.models()
        self._rows = self._evaluation.rows()

    def open(self, task: PairTask) -> Opened:
        """Load a pair's models and find its layers."""
        job = self._opened(task)
        source, target = job.bench.source, job.bench.target
        sides = source.model, target.model
        return Opened(
            job.bench.pair,
            job.layers_chosen,
            {row.name: job.key(row) for row in job.rows},
            (sides[0].tokenizer, sides[1].tokenizer),
            (sides[0].context, sides[1].context),
            (source.width, target.width),
            self._states_keys(job),
        )

    def _states_keys(self, job: PairJob) -> list[str | None]:
        bench = job.bench
        return draw_keys(
            bench.source, bench.target, bench.states_source.fingerprint, bench.suite.budget_of(bench.pair),
            seed=bench.seed, batch_size=bench.batch_size,
        )  # fmt: skip

    def shard(self, task: PairTask, shard: Shard) -> ShardStates:
        """Read a shard of the corpus."""
        bench = self._opened(task).bench
        return read_shard(bench.source, bench.target, shard, bench.batch_size)

    def sweep(self, task: PairTask, name: str, states: Draws) -> Swept:
        """Sweep a reference control."""
        job = self._opened(task, states)
        row = _row(job, name)
        vectors = job.vectors(row)
        began = time.perf_counter()
        propensities = job.bench.choice_sweep.propensities(vectors, row.over_steered)
        return Swept(propensities, time.perf_counter() - began)

    def alphas(self, task: PairTask, name: str, states: Draws) -> AlphaChoice:
        """Choose a refusal task's alphas."""
        bench = self._opened(task, states).bench
        refusals = bench.inputs.of_kind(RefusalTask)
        return bench.refusal_alphas.of(next(task for task in refusals if task.name == name))

    def cell(
        self, task: PairTask, name: str, states: Draws, shared: Shared
    ) -> tuple[Result, dict[str, Tensor]] | Failure:
        """Compute a row's result and propensities."""
        job = self._opened(task, states)
        for reference, swept in shared.references.items():
            job.receive_propensities(reference, swept.propensities, swept.seconds)
        job.bench.refusal_alphas.receive(shared.alphas)
        return job.computed(_row(job, name))

    def _opened(self, task: PairTask, states: Draws | None = None) -> PairJob:
        """Return the pair's job; that of another pair, and its models, are let go."""
        if self._job is None or self._job[0] != task.number:
            self._job = None
            self._models.keep({task.pair.source, task.pair.target})
            rows = rows_of(task.pair, self._rows)
            self._states = ReceivedStates(task.fingerprint, task.revisions)
            job = self._evaluation.job(task.pair, self._models, task.tasks, rows, states_source=self._states)
            job.layers_chosen = task.layers or job.layers_chosen
            self._job = task.number, job
        if states is not None and self._states.received is None:
            self._states.receive(tuple(draw.unpacked() for draw in states), task.revisions)
        return self._job[1]


def _row(job: PairJob, name: str) -> Row:
    return next(row for row in job.rows if row.name == name)
