"""The cells of one pair: their keys, their results, and the controls that they are scored against."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from torch import Tensor

from lrt_bench._version import __version__
from lrt_bench.errors import SubmissionError
from lrt_bench.evaluation.behaviour_scores import ChoiceDeltas, behaviour_record
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, ReferencePropensities, choice_references
from lrt_bench.evaluation.cells import Cell, Failure, cell_path, finished, store
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.protocol import DISTURBED, PROTOCOL, REFERENCES
from lrt_bench.evaluation.provenance import peak_memory, provenance
from lrt_bench.evaluation.refusal_scores import Scorers, measured, refusal_figures
from lrt_bench.evaluation.rows import Row, mapping_record
from lrt_bench.evaluation.sites import identity, site_record
from lrt_bench.evaluation.task_scores import (
    choice_figures,
    fidelity_figures,
    generation_figures,
    side_effect_figures,
)
from lrt_bench.files.schema import first_problem
from lrt_bench.results import metrics
from lrt_bench.results.behaviour import BehaviourRecord
from lrt_bench.results.records import Cost, LayersChosen, LmEvalFigures, PairRecord, Settings, TaskFigures
from lrt_bench.results.storage import Result, read_propensities

if TYPE_CHECKING:
    from lrt_bench.evaluation.side_effects.tasks import SideEffects


@dataclass
class PairJob:
    """The cells of one pair. The reference controls come first, from their files if they are finished."""

    config: RunConfig
    bench: PairBench
    rows: list[Row]
    layers_chosen: LayersChosen | None = None
    scorers: Scorers = field(default_factory=Scorers)
    side_effects: SideEffects | None = None
    _vectors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _propensities: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _sweep_seconds: dict[str, float] = field(default_factory=dict)
    _references: dict[str, Reference] | None = None

    def path(self, row: Row) -> Path:
        return cell_path(self.config.out, self.bench.suite, self.bench.pair, row)

    def key(self, row: Row) -> str:
        """Hash of all that the cell's numbers depend on."""
        bench = self.bench
        sites = [identity(site) for site in (bench.source, bench.target)]
        tasks = [task.digest for task in bench.tasks]
        parts = [
            PROTOCOL, __version__, bench.suite.digest, bench.states_source.fingerprint, tasks, sites,
            bench.pair.source, bench.pair.target, row.name, row.digest, bench.seed,
            self.config.dtype, self.config.device,
        ]  # fmt: skip
        if self.side_effects and _disturbs(row):
            parts.append(self.side_effects.digest)
        parts += [task.data_digest for task in bench.tasks if task.data_digest]
        parts += self.scorers.key if bench.inputs.of_kind("refusal") else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def finished(self, row: Row) -> Result | None:
        """The cell's result if it lies there under the same key, its propensities with it."""
        return finished(self.path(row), self.key(row))

    def cell(self, row: Row) -> Cell | Failure:
        """The row's cell, read or computed and written."""
        if result := self.finished(row):
            return Cell(result, self.path(row), computed=False)
        computed = self.computed(row)
        return computed if isinstance(computed, Failure) else store(self.path(row), *computed)

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
            suite = self.bench.suite
            self._references = choice_references(
                self.bench.choice_sweep, ReferencePropensities(*m),
                directions=suite.random_directions, bootstrap=suite.bootstrap, seed=self.bench.seed,
            )  # fmt: skip
        return self._references

    def receive_propensities(self, name: str, propensities: dict[str, Tensor], seconds: float = 0.0) -> None:
        """Take a reference control's propensities, which were swept elsewhere in so many seconds."""
        self._propensities[name], self._sweep_seconds[name] = propensities, seconds

    def vectors(self, row: Row) -> dict[str, Tensor]:
        if row.name not in self._vectors:
            kinds = self.bench.inputs.of_kind("generation"), self.bench.inputs.of_kind("refusal")
            tasks = [*self.bench.choice_sweep.tasks, *kinds[0], *kinds[1]]
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
            found = (
                stored
                if stored is not None
                else self.bench.choice_sweep.propensities(vectors, row.over_steered)
            )
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
            for task in bench.choice_sweep.tasks
        )
        writing = bench.inputs.of_kind("generation") if _disturbs(row) else []
        generation = generation_figures(bench, writing, vectors)
        neutral = bench.inputs.of_kind("side-effect") if bench.choice_sweep.tasks and _disturbs(row) else []
        effects = [side_effect_figures(bench, task, vectors) for task in neutral]
        refusing = bench.inputs.of_kind("refusal") if measured(row) else []
        refusal = [refusal_figures(bench, row, task, vectors, self.scorers) for task in refusing]
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
            not_scorable=bench.choice_sweep.not_scorable,
            tasks=tasks,
            generation=generation,
            side_effects=tuple(effects),
            lm_eval=self._lm_eval(row, vectors),
            refusal=tuple(refusal),
            fidelity=fidelity_figures(bench, row),
            behaviour=self._behaviour(row, vectors, m),
            cost=self._cost(row),
            provenance=provenance(
                bench.suite.corpus.named,
                bench.states.digest,
                bench.states_source.revisions,
                self.config.recorded(),
            ),
            audit=row.audit,
            propensities="0" * 64,
        )
        return result, m

    def _behaviour(
        self, row: Row, vectors: dict[str, Tensor], m: dict[str, Tensor]
    ) -> BehaviourRecord | None:
        """The row's behaviour, where the suite measures it."""
        sweep, references = self.bench.choice_sweep, self.references()
        deltas = {
            task.name: ChoiceDeltas(sweep.delta(m[task.name]), references[task.name].native)
            for task in sweep.tasks
        }
        return behaviour_record(self.bench, row, vectors, deltas)

    def _lm_eval(self, row: Row, vectors: dict[str, Tensor]) -> tuple[LmEvalFigures, ...]:
        """lm-eval's tasks under the row's vectors of the steerable concepts, where they are asked for."""
        asked = self.side_effects
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
            dtype=self.config.dtype,
            device=self.config.device,
            batch_size=self.config.batch_size,
        )

    def _cost(self, row: Row) -> Cost:
        states = self.bench.states
        return Cost(
            fit_tokens=states.tokens if row.mappings else 0,
            fit_seconds=row.fit_seconds,
            states_seconds=states.seconds if row.mappings else 0.0,
            sweep_seconds=self._sweep_seconds[row.name],
            peak_memory_bytes=peak_memory(self.config.device),
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
