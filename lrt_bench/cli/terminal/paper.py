"""What `report paper` shows: a block a method, the paper's numbers beside ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lrt_bench.cli.terminal.layout import Column, Listing
from lrt_bench.files.format import DASH, number
from lrt_bench.results.figures.paper_table import mappings_of

if TYPE_CHECKING:
    from lrt_bench.results.figures.paper_table import Line, Measured
    from lrt_bench.results.schema.result import Result

NOTES = (
    "r: mean ± deviation over alphas of the correlation of raw propensities; MSE in squared logits; R2: "
    "steering R2; what random and shuffled reach is not transfer",
)
BESIDE = ("random", "shuffled")  # what of the paper's correlation is no transfer
COLUMNS = (
    Column("task", least=24),
    Column("r", right=True),
    Column("MSE", right=True, priority=2),
    Column("R2", right=True),
    Column("paper: r", right=True, priority=1),
    Column("paper:\nMSE", right=True, priority=3),
)


def paper_listings(title: str, group: Sequence[Line]) -> list[Listing]:
    """Return the blocks of one pair: a table for each mapping, then for each control beside them."""
    names = [*mappings_of(group), *(name for name in BESIDE if any(name in line.rows for line in group))]
    listings = [_block(f"{title}: {name}", name, group, name in BESIDE) for name in names]
    return [*listings[:-1], replace(listings[-1], notes=NOTES)] if listings else []


def _block(title: str, name: str, group: Sequence[Line], control: bool) -> Listing:
    lines = [line for line in group if name in line.rows]
    published = not control and any(line.published for line in lines)
    columns = COLUMNS if published else COLUMNS[:4]
    shown = [(line.task, *_ours(line, name), *(_paper(line) if published else ())) for line in lines]
    return Listing(columns, shown, [_record(line, name) for line in lines], title)


def _ours(line: Line, name: str) -> tuple[str, str, str]:
    measured: Measured = line.rows[name]
    if not line.steerable:
        return "not steerable", DASH, DASH
    if measured.correlation is None or measured.mse is None:
        return DASH, DASH, DASH
    r = f"{number(measured.correlation)} ±{number(measured.deviation, 2)}"
    return r, f"{measured.mse:.2g}", number(measured.steering_r2, 2)


def _paper(line: Line) -> tuple[str, str]:
    row = line.published
    if row is None:
        return "", ""
    return f"{row.correlation:.3f} ±{row.deviation:.2f}", f"{row.mse:.3g}"  # the deviation, as beside ours


def _record(line: Line, name: str) -> dict[str, Any]:
    measured, row = line.rows[name], line.published
    low, high = row.interval if row else (None, None)
    return {
        "suite": line.suite, "pair": line.pair, "mapping": name, "task": line.task,
        "steerable": line.steerable, "correlation": measured.correlation, "deviation": measured.deviation,
        "mse": measured.mse, "steering_r2": measured.steering_r2,
        "paper_correlation": row.correlation if row else None,
        "paper_deviation": row.deviation if row else None, "paper_low": low, "paper_high": high,
        "paper_mse": row.mse if row else None,
    }  # fmt: skip


def feature_lines(results: Sequence[Result]) -> Iterator[str]:
    """Figure 3: a map of features beside the map of states, pair by pair of one suite.

    Whether one *steers better* than the other, closeness to native cannot say: an effect can be more than
    native's, and so can the score of what is written.
    """
    native = {(one.suite, one.pair.name): one for one in results if one.mapping.name == "native"}
    for suite in sorted({result.suite for result in results if result.pair.source.sae}):
        yield f"{suite}: features to states (s2l) beside states to states (l2l)"
        for result in results:
            if result.suite != suite or result.mapping.control or result.transfer_score is None:
                continue
            kind = "s2l" if result.pair.source.sae else "l2l"
            tasks = ", ".join(f"{task.task} {number(task.steering_r2, 2)}" for task in result.tasks)
            score = number(result.transfer_score, 1)
            pair, mapping = result.pair.name, result.mapping.name
            yield f"  {kind} {pair}, {mapping}: Transfer Score {score}; steering R2 {tasks}"
            yield f"    effect over native's: {_effects(result)}{_writing(result, native.get((suite, pair)))}"


def _effects(result: Result) -> str:
    return ", ".join(f"{task.task} {number(task.slope_ratio, 2)}" for task in result.tasks)


def _writing(result: Result, native: Result | None) -> str:
    """Return the best score of each writing task over alphas, unsteered and native beside it."""
    beside = {} if native is None else {task.task: max(task.score) for task in native.generation}
    parts = [
        f"{task.task} {number(task.score[0], 2)} to {number(max(task.score), 2)} "
        f"(native {number(beside.get(task.task), 2)})"
        for task in result.generation
    ]
    return f"; writing, unsteered to best: {', '.join(parts)}" if parts else ""
