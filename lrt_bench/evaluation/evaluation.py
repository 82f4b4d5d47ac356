"""The main job: a suite, its pairs and mappings, to results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lrt_bench.data.datasets import Data
from lrt_bench.data.suites import PairSpec, Suite
from lrt_bench.data.task_reading.task_folders import find_task
from lrt_bench.data.task_reading.task_sources import resolve
from lrt_bench.data.task_reading.task_tokens import check_tokens
from lrt_bench.data.tasks import Task, limited
from lrt_bench.errors import UserError
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.states import CorpusStates, StatesSource
from lrt_bench.evaluation.cells import Cell, Failure, Tally
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.mapping_check import check_mapping, widths
from lrt_bench.evaluation.pair_job import PairJob
from lrt_bench.evaluation.process_state import run_state
from lrt_bench.evaluation.protocol import STATES_WEIGHT
from lrt_bench.evaluation.refusal_scores import Scorers
from lrt_bench.evaluation.rows import MappingRow, Row, controls, mapping_row
from lrt_bench.evaluation.sites import check_layer_search, choose_layers, source_site, target_site
from lrt_bench.files.cache.recall import using
from lrt_bench.mappings import BUILT_IN
from lrt_bench.models.autoencoders.sae import SparseAutoencoder
from lrt_bench.models.autoencoders.sae_files import load_sae
from lrt_bench.models.loading import Models, check_stand_ins

if TYPE_CHECKING:
    from lrt_bench.evaluation.side_effects.tasks import SideEffects

REMEMBER = 128 * 2**20  # bytes of states that a model holds, where another pair may read them again


@dataclass(frozen=True)
class Plan:
    """What a run is to do, checked.

    Attributes
    ----------
    rows
        Mappings' and submissions' rows; the controls stand before them.
    tasks
        Every pair's tasks with their data, {pair name: tasks}.
    """

    rows: list[Row]
    tasks: Mapping[str, list[Task]]


@dataclass
class Evaluation:
    """A run: a suite, its pairs and its methods to results.

    Parameters
    ----------
    suite
        Its pairs are all scored; narrow it with `RunConfig.chosen_suite` or `model_copy` first.
    config
        Methods, tasks, output folder, device and the rest. Its suite and pairs are in `suite` already.
    report
        Called with (what is being done, cells done, cells in all).
    pair_done
        Called with a pair's cells when the last of them is finished.
    submissions
        Rows of submissions, scored beside the mappings.
    side_effects
        lm-eval tasks to run under each row's vectors.
    scorers
        Scorers of refusal tasks' answers, beside phrases and the first-token proxy.
    data
        Where corpora and tasks by data set id get their rows; by default what `config.data` says.

    Attributes
    ----------
    failures
        The submissions' cells that failed, after `run`.
    """

    suite: Suite
    config: RunConfig = field(default_factory=RunConfig)
    report: Callable[[str, float, float], None] = lambda what, done, total: None
    pair_done: Callable[[list[Cell]], None] = lambda cells: None
    submissions: Sequence[Row] = ()
    side_effects: SideEffects | None = None
    scorers: Scorers = field(default_factory=Scorers)
    data: Data = None  # type: ignore[assignment]
    failures: list[Failure] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.data is None:
            self.data = Data(self.config.data)

    def run(self) -> list[Cell]:
        """Compute, or read, every cell, in the suite's order.

        Raises
        ------
        UserError
            On bad input; before any model is loaded where it can be known by then (`check`).
        """
        plan = self.check()
        models = self.models()
        self.failures = []
        tally = Tally(
            float(len(self.suite.pairs) * (STATES_WEIGHT + len(controls()) + len(plan.rows))), self.report
        )
        cells: list[Cell] = []
        with run_state(), using(self.config.cache()):
            for number, pair in enumerate(self.suite.pairs):
                models.keep(
                    {spec for later in self.suite.pairs[number:] for spec in (later.source, later.target)}
                )
                of_pair = list(self._pair(pair, models, plan, tally))
                self.pair_done(of_pair)
                cells += of_pair
        return cells

    def check(self) -> Plan:
        """Check all that settings, texts and mapping files alone can tell, and return what is to be run.

        It is the first step of every engine: whatever needs no model to be known is checked in it, so that
        no forward pass is spent on a run that must end in an error.

        Raises
        ------
        UserError
            One line that names the option, the file or the field.
        """
        models = self.models()  # its device and dtype
        rows, chosen = self.rows(), self._chosen_tasks()
        tasks = {pair.name: self._tasks_of(pair, chosen) for pair in self.suite.pairs}
        for pair in self.suite.pairs:
            check_layer_search(pair)
            for spec in (pair.source, pair.target):
                models.check(spec)
        self.suite.corpus.corpus(self.data).check()
        if own := [row for row in rows if isinstance(row, MappingRow) and row.name not in BUILT_IN]:
            for sizes in {widths(pair, self.config.models) for pair in self.suite.pairs}:
                for row in own:
                    check_mapping(row, sizes)
        return Plan(rows, tasks)

    def rows(self) -> list[Row]:
        """Return the mappings' and submissions' rows.

        Raises UserError where two have one name.
        """
        rows = [*map(mapping_row, self.config.mappings or self.suite.mappings), *self.submissions]
        self._check_names(rows)
        return rows

    def _chosen_tasks(self) -> list[Task]:
        """Return the tasks that were named.

        Raises UserError on them, and on the output folder.
        """
        out = self.config.out
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: a file is there; give a folder")
        chosen = [find_task(spec) for spec in self.config.tasks]
        for kind, tasks in (("--task", chosen), ("suite: tasks", self.suite.read_tasks())):
            names = [task.name for task in tasks]
            if twice := [name for name in names if names.count(name) > 1]:
                raise UserError(f"{kind}: two tasks are named {twice[0]}; leave one out")
        check_stand_ins(self.config.models, self.suite.models)
        check_stand_ins(self.config.weights, self.suite.models, "--weights")
        return chosen

    def models(self) -> Models:
        """Return where the models come from; none is loaded yet."""
        remember = REMEMBER if len(self.suite.pairs) > 1 else 0
        config = self.config
        return Models(
            config.dtype, config.device, config.device_map, config.models, remember,
            config.trust_remote_code, config.bos, config.weights,
        )  # fmt: skip

    def _tasks_of(self, pair: PairSpec, chosen: list[Task]) -> list[Task]:
        """Return the pair's tasks with their data."""
        tasks = [resolve(task, self.data) for task in chosen or self.suite.tasks_of(pair)]
        most = self.config.limit
        return tasks if most is None else [limited(task, most) for task in tasks]

    def _check_names(self, rows: Sequence[Row]) -> None:
        names = [row.name for row in [*controls(), *rows]]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"--mapping {twice[0]}: the name stands twice among mappings and controls")

    def _sae(self, spec: str) -> SparseAutoencoder:
        """Load a sparse autoencoder, or its stand-in; an untrained one is of what its own name says."""
        head, colon, rest = spec.rpartition("untrained:")
        return load_sae(head + colon + self.config.models.get(rest.partition("@")[0], rest))

    def _pair(self, pair: PairSpec, models: Models, plan: Plan, tally: Tally) -> Iterator[Cell]:
        rows = rows_of(pair, plan.rows)
        tally.total -= len(controls()) + len(plan.rows) - len(rows)
        tally.begin(f"{pair.name}: loading")
        job = self.job(pair, models, plan.tasks[pair.name], rows, tally.states)
        job.phases.begun = tally.within
        for row in rows:
            tally.begin(f"{pair.name}: {row.name}")
            cell = job.cell(row)
            tally.end_cell(isinstance(cell, Failure) or cell.computed)
            if isinstance(cell, Failure):
                self.failures.append(cell)
            else:
                yield cell
        tally.end_pair()

    def job(
        self,
        pair: PairSpec,
        models: Models,
        tasks: list[Task],
        rows: list[Row],
        states_done: Callable[[float], None] = lambda done: None,
        states_source: StatesSource | None = None,
    ) -> PairJob:
        """Return the pair's cells, its models loaded and its layers chosen.

        Parameters
        ----------
        states_done
            Called with the share of the corpus pass that is done.
        states_source
            Hands in the paired states; by default a pass over the suite's corpus.
        """
        sides = models.get(pair.source), models.get(pair.target)
        for task in tasks:
            for tokenizer in {id(side.tokenizer): side.tokenizer for side in sides}.values():
                check_tokens(task, tokenizer)
        pair, layers = choose_layers(pair, *sides, self.suite.corpus, self.data, self.config.batch_size)
        source = source_site(sides[0], pair, self._sae)
        target = target_site(sides[1], pair)
        corpus, config = self.suite.corpus, self.config
        states_source = states_source or CorpusStates(
            source, target, corpus.corpus(self.data), self.suite.budget_of(pair), config.seed,
            config.batch_size, states_done,
        )  # fmt: skip
        bench = PairBench(
            self.suite, pair, source, target, tasks, states_source, config.seed, config.batch_size, self.data
        )
        return PairJob(config, bench, rows, layers, self.scorers, self.side_effects)


def rows_of(pair: PairSpec, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one pair: the controls, and fresh copies of `rows` that are for it."""
    return [*controls(), *(replace(row, mappings=[]) for row in rows if row.applies(pair))]
