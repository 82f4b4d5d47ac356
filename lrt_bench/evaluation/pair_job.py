"""The cells of one pair: their keys, their results, and the controls that they are scored against."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from torch import Tensor

from lrt_bench._version import __version__
from lrt_bench.data.tasks import GenerationTask, RefusalTask, SideEffectTask, VectorTask
from lrt_bench.errors import SubmissionError
from lrt_bench.evaluation.behaviour_scores import (
    ChoiceDeltas,
    MeasuredTask,
    behaviour_record,
    measured_tasks,
)
from lrt_bench.evaluation.bench.pair_bench import PairBench
from lrt_bench.evaluation.bench.references import Reference, ReferencePropensities, choice_references
from lrt_bench.evaluation.cells import Cell, Failure, Phases, cell_path, finished, store
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.protocol import DISTURBED, PROTOCOL, REFERENCES
from lrt_bench.evaluation.provenance import peak_memory, provenance
from lrt_bench.evaluation.refusal_scores import Scorers, measured, refusal_scores
from lrt_bench.evaluation.rows import Row, mapping_record
from lrt_bench.evaluation.sites import site_record
from lrt_bench.evaluation.task_scores import (
    ChoiceMeasures,
    choice_record,
    fidelity_scores,
    generation_scores,
    side_effect_scores,
)
from lrt_bench.files.schema import first_problem
from lrt_bench.models.sites import identity
from lrt_bench.results import metrics
from lrt_bench.results.schema.records import (
    Cost,
    LayersChosen,
    LmEvalScores,
    PairRecord,
    Settings,
    TaskRecord,
)
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import TaskSample
from lrt_bench.results.storage import Result, read_propensities

if TYPE_CHECKING:
    from lrt_bench.evaluation.side_effects.tasks import SideEffects


@dataclass
class PairJob:
    """The cells of one pair.

    The reference controls come first, from their files if they are finished.
    """

    config: RunConfig
    bench: PairBench
    rows: list[Row]
    layers_chosen: LayersChosen | None = None
    scorers: Scorers = field(default_factory=Scorers)
    side_effects: SideEffects | None = None
    phases: Phases = field(default_factory=Phases)
    _vectors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _propensities: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _sweep_seconds: dict[str, float] = field(default_factory=dict)
    _references: dict[str, Reference] | None = None

    def path(self, row: Row) -> Path:
        """Where the row's result lies."""
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
        if bench.pair.fit_tokens is not None:
            parts.append(f"fit_tokens {bench.pair.fit_tokens}")
        if self.side_effects and _disturbs(row):
            parts.append(self.side_effects.digest)
        parts += [task.data_digest for task in bench.tasks if task.data_digest]
        parts += self.scorers.key if bench.inputs.of_kind(RefusalTask) else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def finished(self, row: Row) -> Result | None:
        """Return the cell's result if it lies there under the same key, its propensities with it."""
        return finished(self.path(row), self.key(row))

    def cell(self, row: Row) -> Cell | Failure:
        """Return the row's cell, read or computed and written."""
        if result := self.finished(row):
            return Cell(result, self.path(row), computed=False)
        computed = self.computed(row)
        return computed if isinstance(computed, Failure) else store(self.path(row), *computed)

    def computed(self, row: Row) -> tuple[Result, dict[str, Tensor]] | Failure:
        """Return the row's result and propensities, or the failure of a submission."""
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
        """Return every choice task's native references, computed once."""
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
        """Take a reference control's propensities that were swept elsewhere, in `seconds`."""
        self._propensities[name], self._sweep_seconds[name] = propensities, seconds

    def vectors(self, row: Row) -> dict[str, Tensor]:
        """Return the row's vectors, {task: [seeds, d_target]}, made once."""
        if row.name not in self._vectors:
            inputs = self.bench.inputs
            tasks: list[VectorTask] = [
                *self.bench.choice_sweep.tasks,
                *inputs.of_kind(GenerationTask),
                *inputs.of_kind(RefusalTask),
            ]
            self._vectors[row.name] = row.vectors(self.bench, tasks)
        return self._vectors[row.name]

    def propensities(self, row: Row) -> dict[str, Tensor]:
        """Return the row's sweep; a reference control's is read back where its cell is finished."""
        if row.name not in self._propensities:
            stored = None
            if row.name in REFERENCES and (result := self.finished(row)):
                stored = read_propensities(self.path(row), result)
            vectors = {} if stored is not None else self.vectors(row)
            began = time.perf_counter()
            swept = (
                stored
                if stored is not None
                else self.bench.choice_sweep.propensities(vectors, row.over_steered)
            )
            self._sweep_seconds[row.name] = time.perf_counter() - began
            if row.name not in REFERENCES:
                return swept
            self._propensities[row.name] = swept
        return self._propensities[row.name]

    def _compute(self, row: Row) -> tuple[Result, dict[str, Tensor]]:
        bench = self.bench
        row.compare_with(self.references())
        self.phases.begin("vectors")
        vectors = self.vectors(row)
        self.phases.begin("sweep")
        m, references = self.propensities(row), self.references()
        self.phases.begin("behaviour")
        behaviour = self._behaviour(row, vectors, m)
        self.phases.begin("rest")
        tasks = tuple(
            choice_record(
                bench, row, task, references[task.name],
                ChoiceMeasures(m[task.name], vectors[task.name], behaviour.get(task.name)),
            )
            for task in bench.choice_sweep.tasks
        )  # fmt: skip
        writing = bench.inputs.of_kind(GenerationTask) if _disturbs(row) else []
        generation = generation_scores(bench, writing, vectors)
        neutral = bench.inputs.of_kind(SideEffectTask) if bench.choice_sweep.tasks and _disturbs(row) else []
        effects = [side_effect_scores(bench, task, vectors) for task in neutral]
        refusing = bench.inputs.of_kind(RefusalTask) if measured(row) else []
        refusal = [refusal_scores(bench, row, task, vectors, self.scorers) for task in refusing]
        score = _score(tasks, behaviour, bench)
        counted = [task for task in tasks if task.steerable]
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
            transfer_score=score.value,
            ci95=score.new_concepts,
            ci95_these_tasks=score.these_tasks,
            steering_r2=metrics.mean_of([task.steering_r2 for task in counted]),
            correlation_delta=metrics.mean_of([task.correlation_delta for task in counted]),
            not_steerable=tuple(task.task for task in tasks if not task.steerable),
            not_scorable=bench.choice_sweep.not_scorable,
            tasks=tasks,
            generation=generation,
            side_effects=tuple(effects),
            lm_eval=self._lm_eval(row, {task.task: vectors[task.task] for task in counted}),
            refusal=tuple(refusal),
            fidelity=fidelity_scores(bench, row),
            behaviour=behaviour_record(bench, list(behaviour.values())),
            cost=self._cost(row),
            provenance=provenance(
                bench.suite.corpus.named,
                bench.states.digest,
                bench.states_source.revisions,
                self.config.recorded(),
                self.config.trust_remote_code,
                self.config.bos,
            ),
            audit=row.audit,
            propensities="0" * 64,
        )
        self.phases.end()
        return result, m

    def _behaviour(
        self, row: Row, vectors: dict[str, Tensor], m: dict[str, Tensor]
    ) -> dict[str, MeasuredTask]:
        """Return the row's behaviour on each choice task; nothing where the suite measures none."""
        sweep, references = self.bench.choice_sweep, self.references()
        deltas = {
            task.name: ChoiceDeltas(sweep.delta(m[task.name]), references[task.name].native)
            for task in sweep.tasks
        }
        return measured_tasks(self.bench, row, vectors, deltas)

    def _lm_eval(self, row: Row, vectors: dict[str, Tensor]) -> tuple[LmEvalScores, ...]:
        """lm-eval's tasks under the row's vectors of the steerable concepts, where they are asked for."""
        side_effects = self.side_effects
        if side_effects is None or not _disturbs(row):
            return ()
        return side_effects.scores(self.bench, row, vectors)

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
            fit_texts=row.fit_texts,
            texts_per_dimension=None if row.fit_texts is None else row.fit_texts / self.bench.source.width,
            target_tokens=row.target_tokens,
        )


def _disturbs(row: Row) -> bool:
    """Whether the row's writing and side effects are measured."""
    return not row.control or row.name in DISTURBED


Ends = tuple[float, float] | None


@dataclass(frozen=True)
class _Score:
    """Transfer Score and its 95% intervals; None for all where no task is steerable."""

    value: float | None
    these_tasks: Ends = None
    new_concepts: Ends = None


def _score(tasks: Sequence[TaskRecord], behaviour: Dictionary[str, MeasuredTask], bench: PairBench) -> _Score:
    value = metrics.transfer_score({record.task: record.errors for record in tasks if record.steerable})
    if value is None:
        return _Score(None)
    replicates, seed = bench.suite.bootstrap, bench.seed
    samples = _samples(tasks, behaviour)
    return _Score(
        value,
        inference.these_tasks(samples, replicates=replicates, seed=seed),
        inference.new_concepts(samples, seed=seed),
    )


def _samples(tasks: Sequence[TaskRecord], behaviour: Dictionary[str, MeasuredTask]) -> dict[str, TaskSample]:
    """Tasks as inference takes them; of behaviour also those that did not count, but might have."""
    samples = {}
    for record in tasks:
        measured = behaviour.get(record.task)
        might = measured is not None and measured.errors.moves and not measured.counts
        if record.steerable or might:
            samples[record.task] = TaskSample.of_errors(record.errors, measured.gate if measured else None)
    return samples
