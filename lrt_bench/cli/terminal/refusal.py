"""What a refusal task shows in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.files.format import DASH, number, signed
from lrt_bench.results.figures.refusal_figure import AXES
from lrt_bench.results.frame import chosen_alphas, records, refusal_frame
from lrt_bench.results.schema.refusal_records import Mean, RefusalPoint, RefusalScores
from lrt_bench.results.schema.result import ResultSummary


def refusal_points(result: ResultSummary) -> list[Listing]:
    """Return each refusal task of a result, all its points; failures stand beside the means."""
    whole = records(refusal_frame([result]))
    return [
        _points(task, [record for record in whole if record["task"] == task.task]) for task in result.refusal
    ]


def _points(task: RefusalScores, whole: list[dict[str, object]]) -> Listing:
    answering, refusing = ("none" if a is None else signed(a) for a in (task.answering, task.refusing))
    notes = [
        f"mean and one standard error; alpha chosen on {task.chosen_on} other instructions: {answering} "
        f"towards answering, {refusing} towards refusing"
    ]
    if task.judge:
        judge = task.judge
        notes.append(
            f"judge {judge.model} at {judge.host}: {judge.unreadable} unreadable, {judge.missing} missing"
        )
    scorers = _scorers([task])
    columns = (
        Column("instructions"), Column("intervention", least=12),
        *(Column(name, right=True, priority=number) for number, name in enumerate(scorers)),
        Column("nats a token", right=True, priority=9),
    )  # fmt: skip
    rows = [
        (
            instructions, _name(point, task),
            *(_cell(point.scores.get(name)) for name in scorers), _cell(point.cross_entropy),
        )
        for instructions, points in (("harmful", task.harmful), ("harmless", task.harmless))
        for point in points
    ]  # fmt: skip
    return Listing(columns, rows, whole, f"{task.task}: refusal", tuple(notes))


def refusal_listing(results: Sequence[ResultSummary], title: str) -> list[Listing]:
    """Return a table for each refusal task of a pair: a row a mapping, at the alphas that were chosen."""
    names = list(dict.fromkeys(task.task for result in results for task in result.refusal))
    return [_by_mapping(results, name, title) for name in names]


def _by_mapping(results: Sequence[ResultSummary], name: str, title: str) -> Listing:
    pairs = [(result, task) for result in results for task in result.refusal if task.task == name]
    scorers = _scorers([task for _, task in pairs])
    scorer = scorers[-1] if scorers else ""
    columns = (
        Column("mapping", least=24), Column("unsteered", right=True),
        Column("answering", right=True), Column("refusing", right=True),
        Column("ablated", right=True, priority=1), Column("ablated\neverywhere", right=True, priority=2),
    )  # fmt: skip
    rows = [
        (
            result.mapping.name,
            _at(task, scorer, "add", 0.0),
            _at(task, scorer, "add", task.answering), _at(task, scorer, "add", task.refusing),
            _at(task, scorer, "ablate", None), _at(task, scorer, "ablate-all", None),
        )
        for result, task in pairs
    ]  # fmt: skip
    task = pairs[0][1]
    answering, refusing = (DASH if a is None else signed(a) for a in (task.answering, task.refusing))
    notes = (
        f"{name}: {AXES.get(scorer, scorer)}, on harmful instructions, mean and one standard error; "
        f"answering: alpha {answering}, refusing: alpha {refusing}, chosen on {task.chosen_on} others",
        "a refusal task gives no Transfer Score: read how far the vector moves refusals, against native, "
        "random and shuffled",
    )
    whole = [record for record in records(refusal_frame(results)) if record["task"] == name]
    return Listing(columns, rows, whole, f"{name}: refusal on {title}", notes)


def towards_answering(result: ResultSummary, name: str) -> float | None:
    """Return a row's score on harmful instructions at the alpha chosen to answer; lower refuses less."""
    for task in result.refusal:
        scorer = next(iter(reversed(_scorers([task]))), "")
        for point in task.harmful if task.task == name and task.answering is not None else ():
            if point.intervention == "add" and point.alpha == task.answering and scorer in point.scores:
                return point.scores[scorer].mean
    return None


def _at(task: RefusalScores, scorer: str, intervention: str, alpha: float | None) -> str:
    """Return the score of one intervention on harmful instructions; a dash where it was not measured."""
    if intervention == "add" and alpha is None:
        return DASH
    for point in task.harmful:
        if point.intervention == intervention and (intervention != "add" or point.alpha == alpha):
            return _cell(point.scores.get(scorer))
    return DASH


def _scorers(tasks: Iterable[RefusalScores]) -> list[str]:
    present = {name for task in tasks for point in task.harmful for name in point.scores}
    return [name for name in AXES if name in present]


def _name(point: RefusalPoint, task: RefusalScores) -> str:
    if point.alpha is None:
        return point.intervention
    return f"add {signed(point.alpha)}" + (" (chosen)" if point.alpha in chosen_alphas(task) else "")


def _cell(value: Mean | None) -> str:
    if value is None or value.mean is None:
        return DASH if value is None else f"{DASH} ({value.failures} failed)"
    error = "" if value.standard_error is None else f" ±{number(value.standard_error, 2)}"
    return f"{number(value.mean, 2)}{error}" + (f" ({value.failures} failed)" if value.failures else "")
