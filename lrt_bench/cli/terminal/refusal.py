"""What a refusal task shows in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from lrt_bench.files.format import DASH, number, signed
from lrt_bench.results.figures.refusal_figure import AXES
from lrt_bench.results.frame import chosen_alphas
from lrt_bench.results.schema.refusal_records import Mean, RefusalPoint, RefusalScores


def print_refusal(out: Console, task: RefusalScores) -> None:
    """Print one task's points as a table; failures stand beside the means that they are left out of."""
    answering, refusing = ("none" if a is None else signed(a) for a in (task.answering, task.refusing))
    out.print(
        f"{task.task}: refusal, mean and one standard error; alpha chosen on {task.chosen_on} other "
        f"instructions: {answering} towards answering, {refusing} towards refusing"
    )
    scorers = [name for name in AXES if any(name in point.scores for point in task.harmful)]
    table = Table("instructions", "intervention", *scorers, "nats a token", box=box.SIMPLE_HEAD)
    for instructions, points in (("harmful", task.harmful), ("harmless", task.harmless)):
        for point in points:
            cells = [_cell(point.scores.get(name)) for name in scorers]
            table.add_row(instructions, _name(point, task), *cells, _cell(point.cross_entropy))
    out.print(table)
    if task.judge:
        judge = task.judge
        out.print(
            f"judge {judge.model} at {judge.host}: {judge.unreadable} unreadable, {judge.missing} missing"
        )


def _name(point: RefusalPoint, task: RefusalScores) -> str:
    if point.alpha is None:
        return point.intervention
    return f"add {signed(point.alpha)}" + (" (chosen)" if point.alpha in chosen_alphas(task) else "")


def _cell(value: Mean | None) -> str:
    if value is None or value.mean is None:
        return DASH if value is None else f"{DASH} ({value.failures} failed)"
    error = "" if value.standard_error is None else f" ±{number(value.standard_error, 2)}"
    return f"{number(value.mean, 2)}{error}" + (f" ({value.failures} failed)" if value.failures else "")
