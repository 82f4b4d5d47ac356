"""The driver's loop: units handed to whoever is free; lost workers replaced; whatever the workers are.

A worker keeps to its pair, whose models it has loaded, as long as that pair has something to do; then it
begins one that nobody has, or else helps where the fewest are.
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
from lrt_bench.evaluation.engines.worker import Settings, code_digest
from lrt_bench.evaluation.evaluation import Evaluation, rows_of
from lrt_bench.evaluation.protocol import STATES_WEIGHT

LOG = logging.getLogger("lrt_bench")
ATTEMPTS = 3  # workers that one unit may lose before the run ends
START_SECONDS = 600.0  # for which no worker may be there


class LostWorkerError(Exception):
    """A worker is gone, and with it what it was at; the message says what is known."""


class Crew(ABC):
    """Workers, each with one call at a time; what a worker is, its crew alone knows.

    count : how many work at a time.
    """

    count: int

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Put a value where every worker can read it: what to hand to `call` in its place."""

    @abstractmethod
    def hire(self) -> Any:
        """A new worker."""

    @abstractmethod
    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Begin `Worker.METHOD(*arguments)`: a reference to what it will return."""

    @abstractmethod
    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the calls that have ended; none of them where the time is over first."""

    @abstractmethod
    def found(self, reference: Any) -> Any:
        """What an ended call returned. Raises LostWorkerError, and a UserError or OSError that it raised."""

    @abstractmethod
    def dismiss(self, worker: Any) -> None:
        """Let a worker go, whatever it is at."""

    @abstractmethod
    def missing(self) -> str:
        """What a line says of a run for which no worker has started."""


def run(evaluation: Evaluation, settings: Settings, crew: Crew) -> list[Cell]:
    """`Evaluation.run` by a crew's workers. Raises UserError."""
    rows, chosen = evaluation.rows(), evaluation.checked_tasks()
    pairs = [
        PairRun(
            evaluation, number, pair, evaluation.tasks_of(pair, chosen), rows_of(pair, rows),
            crew.share, ahead=2 * crew.count + 2,
        )
        for number, pair in enumerate(evaluation.suite.pairs)
    ]  # fmt: skip
    job = _Run(evaluation, pairs, crew, crew.share(settings))
    try:
        job.run()
    finally:
        job.end()
    evaluation.failures = [failure for pair in pairs for failure in pair.failures.values()]
    return [cell for pair in pairs for cell in pair.in_order]


@dataclass(eq=False)
class _Hand:
    """A worker as the driver sees it: what it is at, and of which pair it has the models."""

    worker: Any
    reference: Any
    unit: Unit | None = None
    pair: PairRun | None = None
    about: bool = False
    ready: bool = False


class _Run:
    """The driver's loop."""

    def __init__(self, evaluation: Evaluation, pairs: list[PairRun], crew: Crew, settings: Any) -> None:
        self.evaluation, self.pairs, self.crew, self.settings = evaluation, pairs, crew, settings
        self._seen = time.monotonic()  # when a worker was last known to be there
        self._lost = 0  # workers that were lost before they were ready
        self._total = sum(STATES_WEIGHT + len(pair.rows) for pair in pairs)
        self._told: set[PairRun] = set()
        self.hands = [self._hired() for _ in range(crew.count)]

    def run(self) -> None:
        """Until every pair is done."""
        while not all(pair.done for pair in self.pairs):
            for hand in self.hands:
                if hand.ready and hand.reference is None:
                    self._hand_out(hand)
            for pair in self.pairs:
                pair.prepare()
                self._tell(pair)
            busy = {hand.reference: hand for hand in self.hands if hand.reference is not None}
            for reference in self.crew.wait(list(busy), 1.0):
                self._take_in(busy[reference])
            self._check_start()
        for pair in self.pairs:
            self._tell(pair)
        self.evaluation.report("done", self._total, self._total)

    def end(self) -> None:
        """Let the workers go, whatever they are at."""
        for hand in self.hands:
            self.crew.dismiss(hand.worker)

    def _tell(self, pair: PairRun) -> None:
        """A pair's cells, once, when all are there; the workers are at the next one by then."""
        if pair.done and pair not in self._told:
            self._told.add(pair)
            self.evaluation.pair_done(pair.in_order)

    def _hired(self) -> _Hand:
        worker = self.crew.hire()
        return _Hand(worker, self.crew.call(worker, "about"))

    def _hand_out(self, hand: _Hand) -> None:
        """Give a free worker the next unit, of its own pair if that has one."""
        crowd = {pair: sum(other.pair is pair for other in self.hands) for pair in self.pairs}
        for pair in sorted(self.pairs, key=lambda pair: (pair is not hand.pair, crowd[pair], pair.number)):
            if unit := pair.next():
                hand.unit, hand.pair = unit, pair
                hand.reference = self.crew.call(hand.worker, unit.call, pair.task, *unit.arguments)
                self._report(unit)
                return

    def _take_in(self, hand: _Hand) -> None:
        try:
            found = self.crew.found(hand.reference)
        except LostWorkerError as error:
            self._replace(hand, str(error))
            return
        self._seen = time.monotonic()
        unit, hand.unit, hand.reference = hand.unit, None, None
        if unit is not None:
            unit.pair.take(unit, found)
            self._report(next((other.unit for other in self.hands if other.unit), unit))
        elif not hand.about:
            check_version(*found)
            hand.about, hand.reference = True, self.crew.call(hand.worker, "begin", self.settings)
        else:
            hand.ready = True

    def _replace(self, hand: _Hand, reason: str) -> None:
        """Another worker in the place of a lost one; what it was at is done again.

        Raises UserError where the same work has lost several.
        """
        unit = hand.unit
        if unit is None:
            self._lost += 1
            lost, what = self._lost, "starting"
        else:
            unit.lost += 1
            lost, what = unit.lost, str(unit)
            unit.pair.put_back(unit)
        if lost >= ATTEMPTS:
            raise UserError(
                f"{what}: its worker was lost {lost} times; too little memory for {len(self.hands)} workers? "
                f"Give fewer --workers. {reason}"
            )
        LOG.warning("%s: its worker was lost; another one does it again", what)
        self.crew.dismiss(hand.worker)
        self.hands[self.hands.index(hand)] = self._hired()

    def _check_start(self) -> None:
        """Raise UserError where no worker has been there for long."""
        if any(hand.ready for hand in self.hands):
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > START_SECONDS:
            raise UserError(f"no worker has started in {START_SECONDS:g} s; {self.crew.missing()}")

    def _report(self, unit: Unit) -> None:
        """What is being done, and by how many others besides."""
        others = sum(hand.unit not in (None, unit) for hand in self.hands)
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
