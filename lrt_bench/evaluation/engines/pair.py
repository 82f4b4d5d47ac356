"""One pair as the driver sees it: the units that can be done next, and what workers returned.

A worker opens the pair. Workers read its shards in any order, and the driver merges them in their own order.
Then the reference controls are swept and the alphas of refusal tasks chosen. Then the cells are computed.
A finished cell is read from its file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrt_bench.data.suites import PairSpec
from lrt_bench.data.tasks import Task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell, Failure, cell_path, finished, store
from lrt_bench.evaluation.engines.worker import Opened, PackedStates, PairTask, Shared, Swept
from lrt_bench.evaluation.evaluation import Evaluation
from lrt_bench.evaluation.protocol import DISTURBED, REFERENCES, STATES_WEIGHT
from lrt_bench.evaluation.refusal_scores import measured
from lrt_bench.evaluation.rows import MappingRow, Row
from lrt_bench.models.kept_states import keep_draws, read_draws
from lrt_bench.models.states import PairedStates, Pass, Shard, ShardStates
from lrt_bench.results.storage import Result, read_propensities
from lrt_bench.steering.refusal_selection import AlphaChoice

PutShared = Callable[[Any], Any]  # puts a value where every worker can read it: a reference to it


@dataclass(eq=False)
class Unit:
    """A call of a worker's method: `Worker.CALL(task, *arguments)`.

    name : of the shard (its number), the row or the task.
    """

    pair: PairRun
    call: str
    name: Any
    arguments: tuple[Any, ...] = ()
    lost: int = 0

    def __str__(self) -> str:
        what = {"open": "loading", "shard": "states", "alphas": f"alphas of {self.name}"}
        return f"{self.pair.spec.name}: {what.get(self.call, self.name)}"


@dataclass(eq=False)
class PairRun:
    """A pair's way from its models to its cells.

    Parameters
    ----------
    ahead : shards that may be out, or waiting for an earlier one, at a time.
    cells : of rows that are finished; failures : of submissions.
    """

    evaluation: Evaluation
    number: int
    spec: PairSpec
    tasks: list[Task]
    rows: list[Row]
    share: PutShared
    ahead: int
    cells: dict[str, Cell] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    states_done: float = 0.0
    done: bool = False

    def __post_init__(self) -> None:
        corpus = self.evaluation.suite.corpus.corpus(self.evaluation.data)
        revisions = self.evaluation.data.revisions
        self._pair_task = PairTask(self.number, self.spec, self.tasks, corpus.fingerprint(), dict(revisions))
        self.task = self.share(self._pair_task)
        self._corpus = corpus
        self._ready = deque([Unit(self, "open", "")])
        self._shards: Iterator[Shard] = iter(())
        self._out: dict[int, Shard] = {}
        self._waiting: dict[int, ShardStates] = {}
        self._next = self._merged = 0
        self._pass: Pass | None = None
        self._states: Any = None
        self._shared = Shared()
        self._references_missing = 0

    @property
    def progress(self) -> float:
        """In cells; the pass counts as `STATES_WEIGHT`."""
        if self.done:
            return STATES_WEIGHT + len(self.rows)
        return STATES_WEIGHT * self.states_done + len(self.cells) + len(self.failures)

    @property
    def in_order(self) -> list[Cell]:
        """The finished cells, in the rows' order."""
        return [self.cells[row.name] for row in self.rows if row.name in self.cells]

    def prepare(self) -> None:
        """Cut the next shards, while workers are at work."""
        while self._pass is not None and self._next < self._merged + self.ahead:
            shard = next(self._shards, None)
            if shard is None:
                break
            self._out[self._next] = shard
            self._ready.append(Unit(self, "shard", self._next, (shard,)))
            self._next += 1

    def next(self) -> Unit | None:
        """Return what can be done now, if anything."""
        if not self._ready:
            self.prepare()
        return self._ready.popleft() if self._ready else None

    def put_back(self, unit: Unit) -> None:
        """Its worker was lost: it is done first by another one."""
        self._ready.appendleft(unit)

    def take(self, unit: Unit, returned: Any) -> None:
        """Take in what a worker returned."""
        getattr(self, f"_take_{unit.call}")(unit.name, returned)

    def _take_open(self, name: str, opened: Opened) -> None:
        self._opened = opened
        self.spec = opened.pair
        self._pair_task = replace(self._pair_task, pair=opened.pair, layers=opened.layers)
        self.task = self.share(self._pair_task)
        for row in self.rows:
            path = self._path(row)
            if result := finished(path, opened.keys[row.name]):
                self.cells[row.name] = Cell(result, path, computed=False)
        if len(self.cells) == len(self.rows):
            self.done = True
            return
        for name in REFERENCES:
            if (cell := self.cells.get(name)) and (stored := read_propensities(cell.path, cell.result)):
                self._shared.references[name] = Swept(stored, 0.0)
        if (draws := read_draws(opened.states)) is not None:
            self.states_done = 1.0
            self._begin_references(draws)
            return
        self._pass = Pass(
            self._corpus, self.evaluation.suite.budget_of(self.spec),
            opened.tokenizers, opened.limits, opened.widths,
            seed=self.evaluation.config.seed, batch_size=self.evaluation.config.batch_size,
        )  # fmt: skip
        self._shards = self._pass.shards()

    def _take_shard(self, number: int, states: ShardStates) -> None:
        assert self._pass is not None
        self._waiting[number] = states
        while self._merged in self._waiting:
            shard = self._out.pop(self._merged)
            self.states_done = self._pass.add(shard, self._waiting.pop(self._merged))
            self._merged += 1
        self.prepare()
        if not self._out:
            self._close_pass(self._pass)

    def _close_pass(self, whole: Pass) -> None:
        draws = whole.draws()
        self._pass = None
        keep_draws(self._opened.states, draws)
        self._begin_references(draws)

    def _begin_references(self, draws: tuple[PairedStates, ...]) -> None:
        self._states = self.share(tuple(PackedStates.of(states) for states in draws))
        # the text has been read: what it is has a name now
        self._pair_task = replace(self._pair_task, revisions=dict(self.evaluation.data.revisions))
        self.task = self.share(self._pair_task)
        units = [
            Unit(self, "sweep", name, (name, self._states))
            for name in REFERENCES
            if name not in self._shared.references
        ]
        if any(measured(row) for row in self._unfinished()):
            refusal = [task.name for task in self.tasks if task.card.kind == "refusal"]
            units += [Unit(self, "alphas", name, (name, self._states)) for name in refusal]
        self._references_missing = len(units)
        self._ready += units
        if not units:
            self._begin_cells()

    def _take_sweep(self, name: str, swept: Swept) -> None:
        self._shared.references[name] = swept
        self._reference_done()

    def _take_alphas(self, name: str, choice: AlphaChoice) -> None:
        self._shared.alphas[name] = choice
        self._reference_done()

    def _reference_done(self) -> None:
        self._references_missing -= 1
        if not self._references_missing:
            self._begin_cells()

    def _begin_cells(self) -> None:
        shared = self.share(self._shared)
        for row in sorted(self._unfinished(), key=_size, reverse=True):
            self._ready.append(Unit(self, "cell", row.name, (row.name, self._states, shared)))

    def _take_cell(self, name: str, computed: tuple[Result, dict[str, Any]] | Failure) -> None:
        if isinstance(computed, Failure):
            self.failures[name] = computed
        else:
            result, arrays = computed
            if result.key != self._opened.keys[name]:
                raise UserError(
                    f"{self.spec.name}: {name}: two workers see other models, tasks or code under one name: "
                    "give every machine the same files"
                )
            row = next(row for row in self.rows if row.name == name)
            self.cells[name] = store(self._path(row), result, arrays)
        self.done = len(self.cells) + len(self.failures) == len(self.rows)
        if self.done:
            self._states = None  # the last reference: the workers' copies go with it

    def _unfinished(self) -> Sequence[Row]:
        return [row for row in self.rows if row.name not in self.cells]

    def _path(self, row: Row) -> Path:
        return cell_path(self.evaluation.config.out, self.evaluation.suite, self.spec, row)


def _size(row: Row) -> int:
    """How long a cell takes, roughly: the longest are begun first."""
    if isinstance(row, MappingRow):
        return 2 if row.method.stochastic else 1
    return int(row.name in DISTURBED) if row.control else 3
