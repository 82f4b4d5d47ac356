"""The driver's loop: it hands units to free workers and replaces lost ones.

A worker keeps to its pair, whose models it has loaded, as long as that pair has a unit to do. Then it takes a
pair that no worker has, or else the pair with the fewest workers.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lrt_bench._version import __version__
from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell
from lrt_bench.evaluation.engines.pair import PairRun, Unit
from lrt_bench.evaluation.engines.worker import WorkerSettings
from lrt_bench.evaluation.evaluation import Evaluation, rows_of
from lrt_bench.evaluation.protocol import STATES_WEIGHT
from lrt_bench.files.cache.recall import code_digest, using

LOG = logging.getLogger("lrt_bench")
ATTEMPTS = 3  # workers that one unit may lose before the run ends
START_SECONDS = 600.0  # for which no worker may be there


class LostWorkerError(Exception):
    """A worker is gone, and with it what it was at; the message says what is known."""


class WorkerPool(ABC):
    """Workers, each with one call at a time; what a worker is, its pool alone knows.

    Attributes
    ----------
    count
        How many work at a time.
    """

    count: int

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Put a value where every worker can read it; return what to hand to `call` in its place."""

    @abstractmethod
    def start_worker(self) -> Any:
        """Start a worker and return it."""

    @abstractmethod
    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Call `Worker.METHOD(*arguments)`; return a reference to what it will return."""

    @abstractmethod
    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Return the calls that have ended; none where the time is over first."""

    @abstractmethod
    def result(self, reference: Any) -> Any:
        """Return what an ended call returned.

        Raises
        ------
        LostWorkerError
            Where the worker is gone.
        UserError, OSError
            Where the call raised it.
        """

    @abstractmethod
    def stop_worker(self, worker: Any) -> None:
        """End a worker, whatever it computes."""

    @abstractmethod
    def why_none_started(self) -> str:
        """Say in a few words why no worker may have started."""


def run(evaluation: Evaluation, settings: WorkerSettings, pool: WorkerPool) -> list[Cell]:
    """Compute every cell, as `Evaluation.run` does, by the workers of a pool.

    Raises UserError.
    """
    plan = evaluation.check()
    pairs = [
        PairRun(
            evaluation, number, pair, plan.tasks[pair.name], rows_of(pair, plan.rows),
            pool.share, ahead=2 * pool.count + 2,
        )
        for number, pair in enumerate(evaluation.suite.pairs)
    ]  # fmt: skip
    job = _Run(evaluation, pairs, pool, pool.share(settings))
    try:
        with using(evaluation.config.cache()):
            job.run()
    finally:
        job.end()
    evaluation.failures = [failure for pair in pairs for failure in pair.failures.values()]
    return [cell for pair in pairs for cell in pair.in_order]


@dataclass(eq=False)
class _WorkerSlot:
    """A worker as the driver sees it: its running call, and the pair whose models it has loaded."""

    worker: Any
    reference: Any
    unit: Unit | None = None
    pair: PairRun | None = None
    version_checked: bool = False
    ready: bool = False


class _Run:
    """The driver's loop."""

    def __init__(self, evaluation: Evaluation, pairs: list[PairRun], pool: WorkerPool, settings: Any) -> None:
        self.evaluation, self.pairs, self.pool, self.settings = evaluation, pairs, pool, settings
        self._seen = time.monotonic()  # when a worker was last known to be there
        self._lost = 0  # workers that were lost before they were ready
        self._total = sum(STATES_WEIGHT + len(pair.rows) for pair in pairs)
        self._announced: set[PairRun] = set()
        self.slots = [self._started_slot() for _ in range(pool.count)]

    def run(self) -> None:
        """Hand out units until every pair is done."""
        while not all(pair.done for pair in self.pairs):
            for slot in self.slots:
                if slot.ready and slot.reference is None:
                    self._assign(slot)
            for pair in self.pairs:
                pair.prepare()
                self._announce(pair)
            busy = {slot.reference: slot for slot in self.slots if slot.reference is not None}
            for reference in self.pool.wait(list(busy), 1.0):
                self._receive(busy[reference])
            self._check_start()
        for pair in self.pairs:
            self._announce(pair)
        self.evaluation.report("done", self._total, self._total)

    def end(self) -> None:
        """End the workers, whatever they compute."""
        for slot in self.slots:
            self.pool.stop_worker(slot.worker)

    def _announce(self, pair: PairRun) -> None:
        """Report a pair's cells once, when all are finished; the workers compute the next pair by then."""
        if pair.done and pair not in self._announced:
            self._announced.add(pair)
            self.evaluation.pair_done(pair.in_order)

    def _started_slot(self) -> _WorkerSlot:
        worker = self.pool.start_worker()
        return _WorkerSlot(worker, self.pool.call(worker, "version"))

    def _assign(self, slot: _WorkerSlot) -> None:
        """Give a free worker the next unit, of its own pair if that has one."""
        crowd = {pair: sum(other.pair is pair for other in self.slots) for pair in self.pairs}
        for pair in sorted(self.pairs, key=lambda pair: (pair is not slot.pair, crowd[pair], pair.number)):
            if unit := pair.next():
                slot.unit, slot.pair = unit, pair
                slot.reference = self.pool.call(slot.worker, unit.call, pair.task, *unit.arguments)
                self._report(unit)
                return

    def _receive(self, slot: _WorkerSlot) -> None:
        try:
            returned = self.pool.result(slot.reference)
        except LostWorkerError as error:
            self._replace(slot, str(error))
            return
        self._seen = time.monotonic()
        unit, slot.unit, slot.reference = slot.unit, None, None
        if unit is not None:
            unit.pair.take(unit, returned)
            self._report(next((other.unit for other in self.slots if other.unit), unit))
        elif not slot.version_checked:
            check_version(*returned)
            slot.version_checked = True
            slot.reference = self.pool.call(slot.worker, "configure", self.settings)
        else:
            slot.ready = True

    def _replace(self, slot: _WorkerSlot, reason: str) -> None:
        """Start a worker in the place of a lost one; the lost one's unit is done again.

        Raises UserError where the same unit has lost `ATTEMPTS` workers.
        """
        unit = slot.unit
        if unit is None:
            self._lost += 1
            lost, what = self._lost, "starting"
        else:
            unit.lost += 1
            lost, what = unit.lost, str(unit)
            unit.pair.put_back(unit)
        if lost >= ATTEMPTS:
            raise UserError(
                f"{what}: its worker was lost {lost} times; too little memory for {len(self.slots)} workers? "
                f"Give fewer --workers. {reason}"
            )
        LOG.warning("%s: its worker was lost; another one does it again", what)
        self.pool.stop_worker(slot.worker)
        self.slots[self.slots.index(slot)] = self._started_slot()

    def _check_start(self) -> None:
        """Raise UserError where no worker has been there for long."""
        if any(slot.ready for slot in self.slots):
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > START_SECONDS:
            raise UserError(f"no worker has started in {START_SECONDS:g} s; {self.pool.why_none_started()}")

    def _report(self, unit: Unit) -> None:
        """Report the unit that is being done, and how many others are."""
        others = sum(slot.unit not in (None, unit) for slot in self.slots)
        done = sum(pair.progress for pair in self.pairs)
        self.evaluation.report(f"{unit}{f' (+{others})' if others else ''}", done, self._total)


def check_version(version: str, digest: str, host: str, process: int) -> None:
    """Raise UserError where a worker would compute with other code."""
    if version != __version__ or digest != code_digest():
        which = f"lrt-bench {version}" if version != __version__ else f"other code of lrt-bench {version}"
        raise UserError(
            f"worker on {host} (process {process}): it runs {which}, this is {__version__}: install the same "
            "on every machine"
        )
