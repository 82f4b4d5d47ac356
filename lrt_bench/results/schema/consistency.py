"""Whether a result's headline numbers follow from its own tasks and arrays, whoever wrote the file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrt_bench.results import metrics
from lrt_bench.results.metrics import Array, TaskErrors

if TYPE_CHECKING:
    from lrt_bench.results.schema.result import Result

ROUNDING = 0.02  # points: what rounding arrays to nine digits may move a score or an interval's end
RELATIVE = 1e-3  # the same of a steering R2, relatively


def contradiction(result: Result, arrays: dict[str, Array]) -> str | None:
    """Return what of a result does not follow from its own numbers, field first; None where all of it does.

    Parameters
    ----------
    arrays
        Of each steerable task, [fits + 3, prompts] as `TaskErrors.of_rows` takes them.
    """
    errors = {name: TaskErrors.of_rows(array) for name, array in arrays.items()}
    return (
        _of_mapping(result)
        or _of_tasks(result, errors)
        or _of_headline(result, errors)
        or _of_intervals(result, errors)
        or _of_private(result)
    )


def _of_mapping(result: Result) -> str | None:
    mapping = result.mapping
    if mapping.control != (mapping.track == "control"):
        return f"field mapping.track: {mapping.track} does not go with mapping.control"
    fits = {len(task.error) for task in result.tasks}
    if not mapping.control and fits and fits != {mapping.seeds}:
        return f"field mapping.seeds: {mapping.seeds}, but errors of {max(fits)} fits"
    return None


def _of_tasks(result: Result, errors: dict[str, TaskErrors]) -> str | None:
    if any(task.energy.sum() == 0 for task in errors.values()):
        return "field tasks: energy: nothing moves, yet the task counts as steerable"
    for task in result.tasks:
        if not task.steerable:
            continue
        measure, ceiling = ("steering_r2", "ceiling_r2") if task.share is None else ("share", "ceiling_share")
        computed = errors[task.task].r2, errors[task.task].ceiling
        for name, value in zip((measure, ceiling), computed, strict=True):
            if not _near(getattr(task, name), value):
                stored = getattr(task, name)
                return f"field tasks: {task.task}: {name} {stored}, but its arrays give {value:.4f}"
    return None


def _of_headline(result: Result, errors: dict[str, TaskErrors]) -> str | None:
    score, computed = result.transfer_score, metrics.transfer_score(errors)
    if (score is None) != (computed is None):
        return f"field transfer_score: {score}, but its tasks give {computed}"
    if score is not None and computed is not None and abs(score - computed) > ROUNDING:
        return f"field transfer_score: {score:.2f}, but its tasks give {computed:.2f}"
    not_steerable = {task.task for task in result.tasks if not task.steerable}
    if set(result.not_steerable) != not_steerable:
        names = ", ".join(sorted(not_steerable)) or "none"
        return f"field not_steerable: {len(result.not_steerable)} tasks, but its tasks give {names}"
    for name in ("steering_r2", "correlation_delta"):
        value, mean = getattr(result, name), _mean(result, name)
        if (value is None) != (mean is None) or not (value is None or _near(value, mean)):
            return f"field {name}: {value}, but the mean over its steerable tasks is {mean}"
    return None


def _of_intervals(result: Result, errors: dict[str, TaskErrors]) -> str | None:
    """Whether both intervals hold the score, and the one over concepts is no narrower than the tasks' spread.

    Computing an interval again for every file would take most of a board's time; a claim of more certainty
    than two standard errors of the mean over tasks is refused without that.
    """
    score = result.transfer_score
    for name in ("ci95", "ci95_these_tasks"):
        ends = getattr(result, name)
        if ends is not None and (score is None or not ends[0] - ROUNDING <= score <= ends[1] + ROUNDING):
            return f"field {name}: [{ends[0]:.2f}, {ends[1]:.2f}] does not hold the score {score}"
    if result.ci95 is None or len(errors) < 2:
        return None
    shares = [metrics.over_ceiling(task.r2, task.ceiling) for task in errors.values()]
    least = 200 * statistics.stdev(shares) / len(shares) ** 0.5  # two standard errors, in points
    width = result.ci95[1] - result.ci95[0]
    if width < 0.9 * least - ROUNDING:
        return f"field ci95: {width:.2f} wide, but its tasks differ too much for less than {least:.2f}"
    return None


def _of_private(result: Result) -> str | None:
    """Whether the private score is held against this very score."""
    private, score = result.private, result.transfer_score
    if private is None:
        return None
    if score is None:
        return "field private: a private score beside no score"
    if abs(score - private.supported - private.gap) > ROUNDING:
        return f"field private: gap {private.gap:.2f}, but {score:.2f} less supported is another"
    return None


def _mean(result: Result, name: str) -> float | None:
    values: Sequence[float | None] = [getattr(task, name) for task in result.tasks if task.steerable]
    return metrics.mean_of(values)


def _near(value: float | None, expected: float | None) -> bool:
    if value is None or expected is None:
        return False
    return abs(value - expected) <= RELATIVE * (1 + abs(expected))
