"""One result in full: its tasks, what it costs the text, its fidelity, its audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.cli.terminal.pairs import score, title
from lrt_bench.cli.terminal.refusal import refusal_points
from lrt_bench.files.format import number, signed
from lrt_bench.results.frame import frame, records
from lrt_bench.results.ranking import RankedRow

if TYPE_CHECKING:
    from lrt_bench.results.schema.records import LmEvalScores
    from lrt_bench.results.schema.result import Result

NUMBERS = {  # field of the table of tasks -> head, decimals, priority
    "share": ("share", 3, 0),
    "ceiling_share": ("ceiling", 3, 2),
    "steering_r2": ("steering\nR2", 3, 0),
    "ceiling_r2": ("its\nceiling", 3, 4),
    "correlation_delta": ("r(D)", 3, 5),
    "correlation": ("r", 3, 8),
    "slope_ratio": ("slope\nratio", 2, 7),
    "anti_steerable": ("anti", 2, 6),
    "cosine": ("cosine", 3, 3),
    "norm_ratio": ("norm\nratio", 2, 9),
}


def result_listings(result: Result) -> list[Listing]:
    """Return one result as listings: its tasks, then each of its refusal tasks."""
    mapping, alone = result.mapping, RankedRow(result, None, False, None, None)
    scored = score(records(frame([alone]))[0])
    if result.refusal and not result.tasks:
        scored = "refusal tasks alone, which give none"
    head = f"{title(result)}\n{mapping.name}: {mapping.rule}\nTransfer Score {scored}, {mapping.track} track"
    rows = records(frame([alone], "task"))
    return [_tasks(rows, head, tuple(_notes(result))), *refusal_points(result)]


def _tasks(rows: Sequence[dict[str, Any]], head: str, notes: tuple[str, ...]) -> Listing:
    numbers = {name: about for name, about in NUMBERS.items() if any(row[name] is not None for row in rows)}
    columns = (
        Column("task", least=20), Column("counts", priority=1),
        *(Column(text, right=True, priority=priority) for text, _, priority in numbers.values()),
    )  # fmt: skip
    shown = [
        (
            row["task"], "yes" if row["steerable"] else "no",
            *(number(row[name], digits) for name, (_, digits, _) in numbers.items()),
        )
        for row in rows
    ]  # fmt: skip
    return Listing(columns, shown, rows, head, notes)


def _notes(result: Result) -> Iterator[str]:
    for writing in result.generation:
        steps = zip(writing.alphas, writing.score, strict=True)
        yield f"{writing.task}: score by alpha {_by_alpha(steps)}"
    for effect in result.side_effects:
        steps = zip(effect.alphas, effect.added_cross_entropy, strict=True)
        added = ", ".join(f"{signed(alpha)}: {signed(value, 3)}" for alpha, value in steps)
        yield f"{effect.task}: added nats by alpha {added}"
    for metric in result.lm_eval:
        yield _lm_eval(metric)
    parts = {
        "private": result.private, "fresh": result.fresh,
        "fidelity": result.fidelity, "audit": result.audit, "cost": result.cost,
    }  # fmt: skip
    for name, part in parts.items():
        if part is not None:
            yield f"{name}: {_listed(part.model_dump(exclude_none=True))}"


def _by_alpha(steps: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{signed(alpha)}: {number(value, 2)}" for alpha, value in steps)


def _listed(values: dict[str, Any]) -> str:
    """Names and values in a line: fvu 0.012, bands (1-1 0.001, 2-8 0.02)."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_listed(value)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _lm_eval(metric: LmEvalScores) -> str:
    """One metric of an lm-eval task in a line, standard errors in brackets."""

    def with_error(value: float | None, error: float | None) -> str:
        return number(value) + (f" ({number(error)})" if error is not None else "")

    steered = zip(metric.alphas, metric.value, metric.value_stderr, strict=True)
    parts = [f"{signed(alpha)}: {with_error(value, error)}" for alpha, value, error in steered]
    by_alpha = f"by alpha {', '.join(parts)}" if parts else "no steerable concept"
    name = metric.metric if metric.filter == "none" else f"{metric.metric}, {metric.filter}"
    return (
        f"{metric.task} {name}: {with_error(metric.unsteered, metric.stderr)} unsteered, {by_alpha}; "
        f"{len(metric.concepts)} concepts, {metric.samples} samples, lm-eval {metric.lm_eval}"
    )
