"""Results as one table: a row a result, a task, a prompt or a point of a refusal task.

Everything that shows results in rows reads it: the terminal, `--json`, the pages, the downloads, the job
summary, and whoever works with results in Python:

    from lrt_bench.results.frame import read_frame
    read_frame("results").groupby("mapping")["transfer_score"].mean()
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from lrt_bench.errors import UserError
from lrt_bench.results.columns import BESIDE_COLUMNS, COLUMNS, DTYPES, TASK_COLUMNS
from lrt_bench.results.ranking import ranked
from lrt_bench.results.schema.behaviour import TaskBehaviour, at_matched_damage
from lrt_bench.results.schema.records import TaskRecord, TaskScores
from lrt_bench.results.schema.refusal_records import RefusalScores
from lrt_bench.results.schema.result import Result, ResultSummary
from lrt_bench.results.statistics.separation import Place
from lrt_bench.results.storage import read_result, result_files

if TYPE_CHECKING:
    from pandas import DataFrame

Level = Literal["result", "task", "prompt", "refusal"]


class Ranked(Protocol):
    """A result with its place on its pair, as `ranking.RankedRow` has it and the leaderboard's entries."""

    @property
    def result(self) -> ResultSummary:
        """The result, whole or without its arrays."""

    @property
    def rank(self) -> int | None:
        """Place within pair and track; 1 is best."""

    @property
    def tied(self) -> bool:
        """Whether the rank is shared."""

    @property
    def place(self) -> Place | None:
        """What paired tests say of it; None without a rank."""

    @property
    def unranked(self) -> str | None:
        """Why a mapping has no rank."""

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Interval of the Transfer Score over concepts of the same kind."""


def frame(rows: Sequence[Ranked], level: Level = "result") -> DataFrame:
    """Make the table of ranked results, in the order in which they come.

    Parameters
    ----------
    level
        What a row is. "prompt" wants whole results: their arrays are the columns, `error` a mean over
        fits.

    Returns
    -------
    pandas.DataFrame
        Columns as `columns.COLUMNS` describes them, of types that do not depend on the rows; what is missing
        is NA.
    """
    if level == "result":
        return _typed(_result_columns(rows))
    if level == "task":
        return _typed(_task_columns([row.result for row in rows]))
    if level == "refusal":
        return refusal_frame([row.result for row in rows])
    return _prompts([row.result for row in rows])


def read_frame(folder: Path | str, level: Level = "result") -> DataFrame:
    """Read every result below a folder, rank it on its pair, and make the table of all.

    A file that is no result is left out with a warning. Raises UserError where none can be read.
    """
    pairs: dict[tuple[str, str], list[Result]] = {}
    for path in result_files(Path(folder)):
        try:
            result = read_result(path)
        except UserError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        pairs.setdefault((result.suite, result.pair.name), []).append(result)
    if not pairs:
        raise UserError(f"{folder}: no readable result (.json) in it; run `lrt-bench evaluate` first")
    return frame([row for results in pairs.values() for row in ranked(results)], level)


def records(table: DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries of Python's own values, None where one is missing."""
    plain = table.astype(object)
    return plain.where(table.notna(), None).to_dict("records")


def _result_columns(rows: Sequence[Ranked]) -> dict[str, list[Any]]:
    results = [row.result for row in rows]
    sources, targets = [r.pair.source for r in results], [r.pair.target for r in results]
    mappings, costs = [r.mapping for r in results], [r.cost for r in results]
    intervals = [row.ci95 for row in rows]
    these = [r.ci95_these_tasks for r in results]
    return {
        "suite": [r.suite for r in results],
        "suite_version": [r.suite_version for r in results],
        "pair": [r.pair.name for r in results],
        "mapping": [mapping.name for mapping in mappings],
        "track": [mapping.track for mapping in mappings],
        "kind": [mapping.kind for mapping in mappings],
        "origin": [mapping.origin for mapping in mappings],
        "control": [mapping.control for mapping in mappings],
        "complete": [r.complete for r in results],
        "rank": [row.rank for row in rows],
        "tied": [row.tied for row in rows],
        "groups": [None if row.place is None else " ".join(row.place.letters) for row in rows],
        "unranked": [row.unranked for row in rows],
        "transfer_score": [r.transfer_score for r in results],
        "ci95_low": [interval[0] if interval else None for interval in intervals],
        "ci95_high": [interval[1] if interval else None for interval in intervals],
        "these_tasks_low": [interval[0] if interval else None for interval in these],
        "these_tasks_high": [interval[1] if interval else None for interval in these],
        **_unseen_columns(results),
        "metric": [r.metric for r in results],
        "readout_score": [r.behaviour.readout_score if r.behaviour else None for r in results],
        "unembedding_score": [r.behaviour.unembedding_score if r.behaviour else None for r in results],
        "output_level": [r.behaviour is not None and r.behaviour.output_level for r in results],
        "steering_r2": [r.steering_r2 for r in results],
        "correlation_delta": [r.correlation_delta for r in results],
        "fvu": [r.fvu for r in results],
        "source_model": [site.model for site in sources],
        "source_layer": [site.layer for site in sources],
        "source_layers": [None if site.layers is None else site.where for site in sources],
        "source_parameters": [site.parameters for site in sources],
        "target_model": [site.model for site in targets],
        "target_layer": [site.layer for site in targets],
        "target_parameters": [site.parameters for site in targets],
        "steerable_tasks": [sum(task.steerable for task in r.tasks) for r in results],
        "tasks": [len(r.tasks) for r in results],
        "map_parameters": [mapping.parameters for mapping in mappings],
        "fit_tokens": [cost.fit_tokens for cost in costs],
        "fit_seconds": [cost.fit_seconds for cost in costs],
        "states_seconds": [cost.states_seconds for cost in costs],
        "fit_texts": [cost.fit_texts for cost in costs],
        "texts_per_dimension": [cost.texts_per_dimension for cost in costs],
        "target_tokens": [cost.target_tokens for cost in costs],
        "peak_memory_bytes": [cost.peak_memory_bytes for cost in costs],
        "created": [r.provenance.created for r in results],
        "lrt_bench": [r.provenance.lrt_bench for r in results],
    }


def _unseen_columns(results: Sequence[ResultSummary]) -> dict[str, list[Any]]:
    """Columns of the scores on what nobody had seen."""
    private, fresh = [r.private for r in results], [r.fresh for r in results]
    return {
        "counted_score": [
            None if r.transfer_score is None else r.transfer_score - r.unsupported for r in results
        ],
        "private_score": [p and p.score for p in private],
        "private_low": [p and p.ci95[0] for p in private],
        "private_high": [p and p.ci95[1] for p in private],
        "supported_score": [p and p.supported for p in private],
        "private_gap": [p and p.gap for p in private],
        "private_gap_low": [p and p.gap_ci95[0] for p in private],
        "private_gap_high": [p and p.gap_ci95[1] for p in private],
        "private_commitment": [p and p.commitment for p in private],
        "fresh_score": [f and f.score for f in fresh],
        "fresh_low": [f.ci95[0] if f and f.ci95 else None for f in fresh],
        "fresh_high": [f.ci95[1] if f and f.ci95 else None for f in fresh],
        "fresh_concepts": [f and f.counted for f in fresh],
        "fresh_draw": [f and f.draw for f in fresh],
    }


def _task_columns(results: Iterable[ResultSummary]) -> dict[str, list[Any]]:
    rows, beside = [], []
    for result in results:
        of_task = _beside(result)
        rows += [(result, task) for task in result.tasks]
        beside += [of_task.get(task.task) for task in result.tasks]
    columns: dict[str, list[Any]] = {
        "suite": [result.suite for result, _ in rows],
        "pair": [result.pair.name for result, _ in rows],
        "mapping": [result.mapping.name for result, _ in rows],
    }
    columns |= {name: [getattr(task, name) for _, task in rows] for name in TASK_COLUMNS}
    columns |= {
        name: [None if one is None else getattr(one, name) for one in beside] for name in BESIDE_COLUMNS
    }
    matched = [_matched(result, task, one) for (result, task), one in zip(rows, beside, strict=True)]
    return columns | {"matched_effect": matched}


def _matched(result: ResultSummary, task: TaskScores, beside: TaskBehaviour | None) -> float | None:
    """Return the task's effect over native's at the same damage."""
    if beside is None or result.behaviour is None:
        return None
    unit = result.behaviour.unit
    return at_matched_damage(task.slope_ratio, beside.damage, beside.native_damage, unit)


def _beside(result: ResultSummary) -> dict[str, TaskBehaviour]:
    """Return what stands beside each task's behaviour share."""
    return {} if result.behaviour is None else {task.task: task for task in result.behaviour.tasks}


def _typed(columns: dict[str, list[Any]]) -> DataFrame:
    import pandas

    return pandas.DataFrame(
        {name: pandas.Series(values, dtype=DTYPES[COLUMNS[name][0]]) for name, values in columns.items()}
    )


def _prompts(results: Iterable[ResultSummary]) -> DataFrame:
    """One row a prompt of each task, numbered from 0 in the task's order."""
    import pandas

    parts = []
    for result in results:
        for task in result.tasks:
            if not isinstance(task, TaskRecord):
                raise UserError("the table of prompts wants whole results: read them with `read_frame`")
            errors = task.errors
            part: dict[str, Any] = {
                "suite": result.suite,
                "pair": result.pair.name,
                "mapping": result.mapping.name,
            }
            part |= {"task": task.task, "prompt": np.arange(task.prompts), "error": errors.error.mean(0)}
            part |= {name: getattr(errors, name) for name in ("energy", "split_error", "split_energy")}
            parts.append(pandas.DataFrame(part))
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()


def chosen_alphas(scores: RefusalScores) -> tuple[float, ...]:
    """Return the alphas that the validation split chose: towards answering, towards refusing."""
    return tuple(alpha for alpha in (scores.answering, scores.refusing) if alpha is not None)


def refusal_frame(results: Iterable[ResultSummary]) -> DataFrame:
    """Make the table of refusal tasks: a row for each set of instructions, intervention and scorer.

    `chosen` says whether the validation split chose the alpha; a mean is missing where no answer could be
    scored.
    """
    import pandas

    return pandas.DataFrame(
        [
            {
                "suite": result.suite,
                "pair": result.pair.name,
                "task": task.task,
                "row": result.mapping.name,
                "control": result.mapping.control,
                "instructions": instructions,
                "intervention": point.intervention,
                "alpha": point.alpha,
                "chosen": point.alpha in chosen_alphas(task),
                "scorer": scorer,
                **score.model_dump(),
                "cross_entropy": point.cross_entropy.mean,
                "judge": task.judge.model if task.judge and scorer == "judge" else None,
            }
            for result in results
            for task in result.refusal
            for instructions, points in (("harmful", task.harmful), ("harmless", task.harmless))
            for point in points
            for scorer, score in point.scores.items()
        ]
    )
