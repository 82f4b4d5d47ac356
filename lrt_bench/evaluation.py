"""The main job: a suite, its pairs and mappings, to results."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from torch import Tensor

from lrt_bench import __version__, metrics
from lrt_bench.bench import PairBench, Reference
from lrt_bench.cells import Cell, Failure, cell_path, finished, store
from lrt_bench.data import Data
from lrt_bench.errors import SubmissionError, UserError
from lrt_bench.layer_search import choose_layers
from lrt_bench.loading import Models, check_stand_ins
from lrt_bench.measure import (
    choice_figures,
    fidelity_figures,
    generation_figures,
    side_effect_figures,
)
from lrt_bench.measure_refusal import Scorers, measured, refusal_figures
from lrt_bench.pair_sites import identity, site_record, source_site, target_site
from lrt_bench.provenance import peak_memory, provenance
from lrt_bench.records import (
    Cost,
    LayersChosen,
    LmEvalFigures,
    PairRecord,
    Settings,
    TaskFigures,
)
from lrt_bench.results import Result, read_propensities
from lrt_bench.rows import Row, controls, mapping_record, mapping_row
from lrt_bench.sae import SparseAutoencoder, load_sae
from lrt_bench.suites import PairSpec, Suite
from lrt_bench.task_data import resolve
from lrt_bench.tasks import Task, find_task, first_problem

if TYPE_CHECKING:
    from lrt_bench.side_effects import SideEffects

PROTOCOL = 1  # raised whenever the same inputs would give other numbers
REFERENCES = ("native", "native-split", "random")
DISTURBED = ("native", "random")  # controls whose writing and side effects are measured too
REMEMBER = 128 * 2**20  # bytes of states that a model holds, where another pair may read them again
STATES_WEIGHT = 4  # the pass over the corpus, in cells, for the progress bar


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
    failures: list[Failure] = field(default_factory=list, init=False)
    _done: float = field(default=0.0, init=False)

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
        return Models(self.dtype, self.device, self.device_map, self.local_models, remember)

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
        return PairJob(self, bench, rows, layers)


def rows_of(pair: PairSpec, rows: Sequence[Row]) -> list[Row]:
    """The rows of one pair: the controls, and fresh ones of `rows` that are for it."""
    return [*controls(), *(replace(row, mappings=[]) for row in rows if row.applies(pair))]


@dataclass
class PairJob:
    """The cells of one pair. The reference controls come first, from their files if they are finished."""

    evaluation: Evaluation
    bench: PairBench
    rows: list[Row]
    layers_chosen: LayersChosen | None = None
    _vectors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _propensities: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _sweep_seconds: dict[str, float] = field(default_factory=dict)
    _references: dict[str, Reference] | None = None

    def path(self, row: Row) -> Path:
        return cell_path(self.evaluation.out, self.bench.suite, self.bench.pair, row)

    def key(self, row: Row) -> str:
        """Hash of all that the cell's numbers depend on."""
        bench = self.bench
        sites = [identity(site) for site in (bench.source, bench.target)]
        tasks = [task.digest for task in bench.tasks]
        parts = [
            PROTOCOL, __version__, bench.suite.digest, bench.fingerprint, tasks, sites,
            bench.pair.source, bench.pair.target, row.name, row.digest, bench.seed,
            self.evaluation.dtype, self.evaluation.device,
        ]  # fmt: skip
        if self.evaluation.side_effects and _disturbs(row):
            parts.append(self.evaluation.side_effects.digest)
        parts += [task.data_digest for task in bench.tasks if task.data_digest]
        parts += self.evaluation.scorers.key if bench.of_kind("refusal") else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def finished(self, row: Row) -> Result | None:
        """The cell's result if it lies there under the same key, its propensities with it."""
        return finished(self.path(row), self.key(row))

    def cell(self, row: Row) -> Cell | Failure:
        """The row's cell, read or computed and written."""
        if result := self.finished(row):
            return Cell(result, self.path(row), computed=False)
        found = self.computed(row)
        return found if isinstance(found, Failure) else store(self.path(row), *found)

    def computed(self, row: Row) -> tuple[Result, dict[str, Tensor]] | Failure:
        """The row's result and propensities; what goes wrong with a submission is a failure of its own."""
        name = self.bench.pair.name
        try:
            return self._compute(row)
        except SubmissionError as error:
            return Failure(row.name, name, str(error))
        except ValidationError as error:  # a figure that is no number
            if row.about.get("origin") != "submission":
                raise
            return Failure(row.name, name, f"{row.name}: {first_problem(error)}")

    def references(self) -> dict[str, Reference]:
        if self._references is None:
            rows = {row.name: row for row in self.rows}
            m = [self.propensities(rows[name]) for name in REFERENCES]
            self._references = self.bench.reference(*m)
        return self._references

    def know(self, name: str, propensities: dict[str, Tensor], seconds: float = 0.0) -> None:
        """Take a reference control's propensities, which were swept elsewhere in so many seconds."""
        self._propensities[name], self._sweep_seconds[name] = propensities, seconds

    def vectors(self, row: Row) -> dict[str, Tensor]:
        if row.name not in self._vectors:
            kinds = self.bench.of_kind("generation"), self.bench.of_kind("refusal")
            tasks = [*self.bench.choices, *kinds[0], *kinds[1]]
            self._vectors[row.name] = row.vectors(self.bench, tasks)
        return self._vectors[row.name]

    def propensities(self, row: Row) -> dict[str, Tensor]:
        """The row's sweep; a reference control's is read back where its cell is finished."""
        if row.name not in self._propensities:
            stored = None
            if row.name in REFERENCES and (result := self.finished(row)):
                stored = read_propensities(self.path(row), result)
            vectors = {} if stored is not None else self.vectors(row)
            began = time.perf_counter()
            found = stored if stored is not None else self.bench.propensities(vectors, row.over_steered)
            self._sweep_seconds[row.name] = time.perf_counter() - began
            if row.name not in REFERENCES:
                return found
            self._propensities[row.name] = found
        return self._propensities[row.name]

    def _compute(self, row: Row) -> tuple[Result, dict[str, Tensor]]:
        bench = self.bench
        vectors, m, references = self.vectors(row), self.propensities(row), self.references()
        tasks = tuple(
            choice_figures(bench, row, task, references[task.name], m[task.name], vectors[task.name])
            for task in bench.choices
        )
        writing = bench.of_kind("generation") if _disturbs(row) else []
        generation = generation_figures(bench, writing, vectors)
        neutral = bench.of_kind("side-effect") if bench.choices and _disturbs(row) else []
        effects = [side_effect_figures(bench, task, vectors) for task in neutral]
        refusing = bench.of_kind("refusal") if measured(row) else []
        refusal = [refusal_figures(bench, row, task, vectors, self.evaluation.scorers) for task in refusing]
        score, ci95 = _score(row.name, tasks, bench)
        counted = [figures for figures in tasks if figures.steerable]
        result = Result(
            key=self.key(row),
            suite=bench.suite.name,
            suite_version=bench.suite.version,
            suite_digest=bench.suite.digest,
            complete=[task.digest for task in bench.tasks]
            == [task.digest for task in bench.suite.tasks_of(bench.pair)],
            pair=self._pair_record(),
            mapping=mapping_record(row),
            settings=self._settings(),
            transfer_score=score,
            ci95=ci95,
            steering_r2=metrics.mean_of([figures.steering_r2 for figures in counted]),
            correlation_delta=metrics.mean_of([figures.correlation_delta for figures in counted]),
            not_steerable=tuple(figures.task for figures in tasks if not figures.steerable),
            not_scorable=bench.not_scorable,
            tasks=tasks,
            generation=generation,
            side_effects=tuple(effects),
            lm_eval=self._lm_eval(row, vectors),
            refusal=tuple(refusal),
            fidelity=fidelity_figures(bench, row),
            cost=self._cost(row),
            provenance=provenance(bench.suite.corpus.named, bench.states.digest, bench.data.revisions),
            audit=row.audit,
            propensities="0" * 64,
        )
        return result, m

    def _lm_eval(self, row: Row, vectors: dict[str, Tensor]) -> tuple[LmEvalFigures, ...]:
        """lm-eval's tasks under the row's vectors of the steerable concepts, where they are asked for."""
        asked = self.evaluation.side_effects
        if asked is None or not _disturbs(row):
            return ()
        steerable = {name: vectors[name] for name, task in self.references().items() if task.steerable}
        return asked.figures(self.bench, row, steerable)

    def _pair_record(self) -> PairRecord:
        bench = self.bench
        coverage = bench.states.coverage
        return PairRecord(
            name=bench.pair.name,
            source=site_record(bench.source),
            target=site_record(bench.target),
            source_coverage=coverage.source_share,
            target_coverage=coverage.target_share,
            layers_chosen=self.layers_chosen,
        )

    def _settings(self) -> Settings:
        suite = self.bench.suite
        return Settings(
            alphas=suite.alphas,
            over_steering=suite.over_steering,
            spread=self.bench.spread,
            seed=self.bench.seed,
            bootstrap=suite.bootstrap,
            dtype=self.evaluation.dtype,
            device=self.evaluation.device,
            batch_size=self.evaluation.batch_size,
        )

    def _cost(self, row: Row) -> Cost:
        states = self.bench.states
        return Cost(
            fit_tokens=states.tokens if row.mappings else 0,
            fit_seconds=row.fit_seconds,
            states_seconds=states.seconds if row.mappings else 0.0,
            sweep_seconds=self._sweep_seconds[row.name],
            peak_memory_bytes=peak_memory(self.evaluation.device),
        )


def _disturbs(row: Row) -> bool:
    """Whether the row's writing and side effects are measured."""
    return not row.control or row.name in DISTURBED


def _score(
    name: str, tasks: Sequence[TaskFigures], bench: PairBench
) -> tuple[float | None, tuple[float, float] | None]:
    """Transfer Score and its 95% interval; None for both where no task is steerable."""
    errors = {figures.task: figures.errors for figures in tasks if figures.steerable}
    score = metrics.transfer_score(errors)
    if score is None:
        return None, None
    samples = metrics.bootstrap_scores({name: errors}, replicates=bench.suite.bootstrap, seed=bench.seed)
    return score, metrics.interval(samples[name])
