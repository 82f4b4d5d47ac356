"""The main job: a suite, its pairs and mappings, to results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.task_sources import resolve
from lrt_bench.data.tasks import Task, find_task
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench import PairBench
from lrt_bench.evaluation.cells import Cell, Failure
from lrt_bench.evaluation.pair_job import CellSettings, PairJob
from lrt_bench.evaluation.protocol import STATES_WEIGHT
from lrt_bench.evaluation.refusal_scores import Scorers
from lrt_bench.evaluation.rows import Row, controls, mapping_row
from lrt_bench.evaluation.sites import choose_layers, source_site, target_site
from lrt_bench.models.loading import Bos, Models, check_stand_ins
from lrt_bench.models.memory import held_memory
from lrt_bench.models.sae import SparseAutoencoder
from lrt_bench.models.sae_files import load_sae

if TYPE_CHECKING:
    from lrt_bench.evaluation.side_effects.tasks import SideEffects

REMEMBER = 128 * 2**20  # bytes of states that a model holds, where another pair may read them again


@dataclass
class Evaluation:
    """What to score.

    Parameters
    ----------
    suite : its pairs are all scored; narrow it with `model_copy` first.
    mappings : names or PATH.py:CLASS; the suite's own if empty.
    tasks : names of the suite's tasks, or folders; all if empty. Fewer make the results incomplete.
    out : results go to out/SUITE/PAIR/MAPPING.json; what lies there with the same key is not computed again.
    report : called with (what is being done, cells done, cells in all).
    pair_done : called with a pair's cells when the last of them is there.
    submissions : rows of submissions, scored beside the mappings.
    side_effects : lm-eval tasks to run under each row's vectors.
    scorers : of refusal tasks' answers, beside phrases and the first-token proxy.
    data : where corpora and tasks by data set id get their rows.
    local_models : {id: folder or file} that take the place of models and sparse autoencoders of the suite.
    trust_remote_code : whether code that lies beside a model's weights may run.
    bos : whether texts begin with BOS; see `loading.Models`.
    failures : the submissions' cells that failed, after `run`.
    """

    suite: Suite
    mappings: Sequence[str] = ()
    tasks: Sequence[str] = ()
    out: Path = Path("results")
    device: str = "cpu"
    dtype: str = "float32"
    device_map: str | None = None
    seed: int = 0
    batch_size: int = 64
    report: Callable[[str, float, float], None] = lambda what, done, total: None
    pair_done: Callable[[list[Cell]], None] = lambda cells: None
    submissions: Sequence[Row] = ()
    side_effects: SideEffects | None = None
    scorers: Scorers = field(default_factory=Scorers)
    data: Data = field(default_factory=Data)
    local_models: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False
    bos: Bos = "auto"
    failures: list[Failure] = field(default_factory=list, init=False)
    _done: float = field(default=0.0, init=False)

    @held_memory()
    def run(self) -> list[Cell]:
        """Compute (or read) every cell. Raises UserError on bad input, before anything is computed where
        it can be known by then."""
        rows, chosen = self.rows(), self.checked_tasks()
        models = self.models()
        self.failures = []
        self._total = len(self.suite.pairs) * (STATES_WEIGHT + len(controls()) + len(rows))
        cells: list[Cell] = []
        for number, pair in enumerate(self.suite.pairs):
            models.keep(
                {spec for later in self.suite.pairs[number:] for spec in (later.source, later.target)}
            )
            found = list(self._pair(pair, models, chosen, rows_of(pair, rows)))
            self.pair_done(found)
            cells += found
        return cells

    def check(self) -> None:
        """Raise UserError on bad input that can be known before a model is loaded."""
        self.rows()
        self.checked_tasks()

    def rows(self) -> list[Row]:
        """The mappings' and submissions' rows. Raises UserError where two have one name."""
        rows = [*map(mapping_row, self.mappings or self.suite.mappings), *self.submissions]
        self._check_names(rows)
        return rows

    def checked_tasks(self) -> list[Task]:
        """The tasks that were asked for, if any were. Raises UserError on them, and on other bad settings."""
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {self.out}: a file is there; give a folder")
        if self.batch_size < 1:
            raise UserError(f"--batch-size {self.batch_size}: give 1 or more")
        chosen = [find_task(spec) for spec in self.tasks]
        for kind, tasks in (("--task", chosen), ("suite: tasks", self.suite.read_tasks())):
            names = [task.name for task in tasks]
            if twice := [name for name in names if names.count(name) > 1]:
                raise UserError(f"{kind}: two tasks are named {twice[0]}; leave one out")
        check_stand_ins(self.local_models, self.suite.models)
        return chosen

    def models(self) -> Models:
        """Where the models come from; none is loaded yet."""
        remember = REMEMBER if len(self.suite.pairs) > 1 else 0
        return Models(
            self.dtype, self.device, self.device_map, self.local_models, remember,
            self.trust_remote_code, self.bos,
        )  # fmt: skip

    def tasks_of(self, pair: PairSpec, chosen: list[Task]) -> list[Task]:
        """The pair's tasks with their data."""
        return [resolve(task, self.data) for task in chosen or self.suite.tasks_of(pair)]

    def _check_names(self, rows: Sequence[Row]) -> None:
        names = [row.name for row in [*controls(), *rows]]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"--mapping {twice[0]}: the name stands twice among mappings and controls")

    def _sae(self, spec: str) -> SparseAutoencoder:
        """Load it, or what takes its place; an untrained one is of what its own name says."""
        head, colon, rest = spec.rpartition("untrained:")
        return load_sae(head + colon + self.local_models.get(rest.partition("@")[0], rest))

    def _pair(self, pair: PairSpec, models: Models, chosen: list[Task], rows: list[Row]) -> Iterator[Cell]:
        began = self._done
        self.report(f"{pair.name}: loading", self._done, self._total)

        def states_done(share: float) -> None:
            self.report(f"{pair.name}: states", began + STATES_WEIGHT * share, self._total)

        job = self.job(pair, models, self.tasks_of(pair, chosen), rows, states_done)
        self._done = began + STATES_WEIGHT
        for row in rows:
            self.report(f"{pair.name}: {row.name}", self._done, self._total)
            found = job.cell(row)
            if isinstance(found, Failure):
                self.failures.append(found)
            else:
                yield found
            self._done += 1
        self.report(f"{pair.name}: done", self._done, self._total)

    def job(
        self,
        pair: PairSpec,
        models: Models,
        tasks: list[Task],
        rows: list[Row],
        states_done: Callable[[float], None] = lambda done: None,
    ) -> PairJob:
        """The pair's cells, its models loaded and its layers found."""
        sides = models.get(pair.source), models.get(pair.target)
        pair, layers = choose_layers(pair, *sides, self.suite.corpus, self.data, self.batch_size)
        source = source_site(sides[0], pair, self._sae)
        target = target_site(sides[1], pair)
        bench = PairBench(
            self.suite, pair, source, target, self.seed, self.batch_size, states_done, tasks, self.data
        )
        settings = CellSettings(
            self.out, self.device, self.dtype, self.batch_size, self.scorers, self.side_effects,
            self.trust_remote_code, self.bos,
        )  # fmt: skip
        return PairJob(settings, bench, rows, layers)


def rows_of(pair: PairSpec, rows: Sequence[Row]) -> list[Row]:
    """The rows of one pair: the controls, and fresh ones of `rows` that are for it."""
    return [*controls(), *(replace(row, mappings=[]) for row in rows if row.applies(pair))]
