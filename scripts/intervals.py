"""The intervals over these tasks of stored results, computed anew from the results' own numbers.

    python -m scripts.intervals leaderboard/results

No model is run. A result has the sums of each prompt, and the `random` control beside it has those of the
random directions, so the folder holds all that an interval is made of. Where the interval over new concepts,
or the bounds of a task's native effect, do not come out as they are stored, the file is left as it is, and
the command exits with 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping as Dictionary
from pathlib import Path

import click

from lrt_bench.errors import UserError, one_line_errors
from lrt_bench.files.whole import write_whole
from lrt_bench.results.metrics import TaskErrors
from lrt_bench.results.statistics import inference
from lrt_bench.results.statistics.inference import GateSample, TaskSample
from lrt_bench.results.storage import Result, read_result, result_files

CHANCE = "random"  # the control whose errors are the random directions'
SAME = 1e-4  # points: stored numbers have less than a float's digits


def samples(result: Result, chance: Dictionary[str, TaskErrors]) -> dict[str, TaskSample]:
    """Return the tasks as `inference` takes them, those too that did not count but might have.

    chance : {task: errors of the random directions}; only behaviour is gated by them.

    Raises
    ------
    UserError
        Names a task whose native effect does not follow from these numbers.
    """
    tasks = {}
    for record in result.tasks:
        gate, might = None, False
        if result.behaviour is not None:
            random = chance[record.task].error
            gate = GateSample(record.errors.energy, record.errors.split_error, random)
            clear, effect = inference.counts(record.task, gate, seed=result.settings.seed)
            if not _near(effect, record.native_effect):
                raise UserError(
                    f"task {record.task}: native_effect {record.native_effect}, computed {effect}"
                )
            might = record.errors.moves and not clear
        if record.steerable or might:
            tasks[record.task] = TaskSample.of_errors(record.errors, gate)
    return tasks


def with_interval(result: Result, chance: Dictionary[str, TaskErrors]) -> Result:
    """Return a result with its interval over these tasks computed anew.

    Raises
    ------
    UserError
        Where the interval over new concepts, which nothing changed, does not come out as it is stored.
    """
    if result.transfer_score is None:
        return result
    tasks, settings = samples(result, chance), result.settings
    new = inference.new_concepts(tasks, seed=settings.seed)
    if new is None or result.ci95 is None or not _near(new, result.ci95):
        raise UserError(f"field ci95: {result.ci95}, computed {new}")
    these = inference.these_tasks(tasks, replicates=settings.bootstrap, seed=settings.seed)
    return result.model_copy(update={"ci95_these_tasks": these})


def _near(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return max(abs(one[end] - other[end]) for end in (0, 1)) < SAME


def _same(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    return one == other or (one is not None and other is not None and _near(one, other))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@one_line_errors
def main(folder: Path) -> None:
    """Write the intervals over these tasks anew into the results under FOLDER."""
    failed = False
    for path in result_files(folder):
        try:
            control = read_result(path.with_name(f"{CHANCE}.json"))
            result = read_result(path)
            chance = {task.task: task.errors for task in control.tasks}
            fresh = with_interval(result, chance)
        except UserError as error:
            failed = True
            click.echo(f"{path}: {error}", err=True)
            continue
        if not _same(
            result.ci95_these_tasks, fresh.ci95_these_tasks
        ):  # another processor's rounding is no news
            write_whole(path, (fresh.model_dump_json(indent=1) + "\n").encode())
            click.echo(f"{path}: {_text(result)} -> {_text(fresh)}")
    sys.exit(int(failed))


def _text(result: Result) -> str:
    low, high = result.ci95_these_tasks or (float("nan"),) * 2
    return f"[{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
