"""What a run shows in the terminal: progress, tables, paths.

Nothing here computes a score.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from lrt_bench.cli.terminal.refusal import print_refusal
from lrt_bench.cli.terminal.screen import Screen, print_line, screen
from lrt_bench.errors import printable
from lrt_bench.files.format import number, signed
from lrt_bench.files.process import switch_interval
from lrt_bench.results.frame import frame, records
from lrt_bench.results.ranking import RankedRow, ranked

if TYPE_CHECKING:
    from lrt_bench.evaluation.cells import Cell, Failure
    from lrt_bench.results.schema.records import LmEvalScores
    from lrt_bench.results.schema.result import Result, ResultSummary


SWITCH = 5e-4  # seconds for which a drawing thread may keep the run's own from going on


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float, float], None]]:
    """Give a progress bar with an estimate on standard error; yields its update function."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}", markup=False), BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    errors = Screen(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def update(what: str, done: float, total: float) -> None:
            bar.update(task, description=printable(what), completed=done, total=total)

        yield update


def by_pair(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells grouped by pair, in the order in which they were run."""
    return [list(group) for _, group in itertools.groupby(cells, key=lambda c: c.result.pair.name)]


def ranked_pairs(cells: Sequence[Cell]) -> list[list[RankedRow]]:
    """Rank the results of each pair, best first."""
    return [ranked([cell.result for cell in group]) for group in by_pair(cells)]


def draw(cells: Sequence[Cell]) -> list[Path]:
    """Draw a picture for each pair beside its results; return the pictures' paths."""
    from lrt_bench.results.figures.pair_figure import draw_pair

    return [
        draw_pair([row.result for row in rows], group[0].path.parent / "figure.svg")
        for group, rows in zip(by_pair(cells), ranked_pairs(cells), strict=True)
    ]


class Drawing:
    """Draws pairs' figures beside the run that makes their results; all are there when it is left."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._thread = ThreadPoolExecutor(1)
        self._drawn: list[Future[list[Path]]] = []
        self._settings = contextlib.ExitStack()

    def add(self, cells: Sequence[Cell]) -> None:
        """Have a pair's results drawn."""
        self._drawn.append(self._thread.submit(draw, cells))

    def __enter__(self) -> Drawing:
        self._settings.enter_context(switch_interval(SWITCH))
        return self

    def __exit__(self, *raised: object) -> None:
        with self._settings:
            self._thread.shutdown()
        if raised[0] is None:
            self.paths = [path for drawn in self._drawn for path in drawn.result()]


ROW = (
    "mapping", "pair", "suite", "track", "control", "transfer_score", "rank", "tied", "complete",
    "steering_r2", "correlation_delta", "fvu", "fit_seconds",
)  # fmt: skip


def as_rows(cells: Sequence[Cell], failures: Sequence[Failure] = ()) -> list[dict[str, Any]]:
    """Return what `evaluate --json` prints: a flat record a cell; `failure` says why one has no scores."""
    rows = _rows(cells)
    if not failures:
        return rows
    empty = dict.fromkeys(rows[0]) | {"suite": rows[0]["suite"]}
    return rows + [
        empty | {"mapping": f.mapping, "pair": f.pair, "control": False, "failure": f.reason}
        for f in failures
    ]


def _rows(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    paths = {(c.result.pair.name, c.result.mapping.name): str(c.path) for c in cells}
    ranked_rows = [row for rows in ranked_pairs(cells) for row in rows]
    made = []
    for row, record in zip(ranked_rows, records(frame(ranked_rows)), strict=True):
        interval = None if record["ci95_low"] is None else (record["ci95_low"], record["ci95_high"])
        more: dict[str, Any] = {"ci95": interval, "not_steerable": row.result.not_steerable, "failure": None}
        more["path"] = paths[record["pair"], record["mapping"]]
        made.append({name: record[name] for name in ROW} | more)
    return made


def print_tables(cells: Sequence[Cell]) -> None:
    """Print a table for each pair: ranked mappings, then controls."""
    out = screen()
    for rows in ranked_pairs(cells):
        out.print(_table(rows))
        out.print(_footnote(rows), style="dim")
        for line in (*_behaviour(rows), *_side_effects(rows)):
            out.print(line, style="dim")
        out.print()


def _title(result: ResultSummary) -> str:
    sites = [f"{site.model}:{site.where}" for site in (result.pair.source, result.pair.target)]
    return f"{result.suite} / {result.pair.name}   {sites[0]} -> {sites[1]}"


def _table(ranked_rows: Sequence[RankedRow]) -> Table:
    table = Table(
        title=_title(ranked_rows[0].result), title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    rows = records(frame(ranked_rows))
    tracks = len({row["track"] for row in rows if not row["control"]}) > 1
    table.add_column("mapping", no_wrap=True)
    table.add_column("Transfer Score", justify="right", no_wrap=True)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("groups", no_wrap=True)
    if tracks:
        table.add_column("track", no_wrap=True)
    for name in ("steering\nR2", "r(D)", "FVU", "fit\nseconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and row["control"] and not before["control"]:
            table.add_section()
        table.add_row(
            row["mapping"], _score(row), _rank(row), row["groups"] or "", *([row["track"]] if tracks else []),
            number(row["steering_r2"]),
            number(row["correlation_delta"]), number(row["fvu"]), number(row["fit_seconds"], 2),
        )  # fmt: skip
    return table


def _score(row: dict[str, Any]) -> str:
    if row["transfer_score"] is None or row["ci95_low"] is None:
        return "not steerable"
    score, low, high = (number(row[name], 1).rjust(6) for name in ("transfer_score", "ci95_low", "ci95_high"))
    return f"{score} [{low}, {high}]"


def _rank(row: dict[str, Any]) -> str:
    return "" if row["rank"] is None else f"{row['rank']}{' =' if row['tied'] else ''}"


def _footnote(rows: Sequence[RankedRow]) -> str:
    result = rows[0].result
    counted = [task for task in result.tasks if task.steerable]
    prompts = sum(task.prompts for task in counted)
    failures = sum(task.failures for task in result.tasks)
    text = (
        f"{len(counted)} tasks, {prompts} prompts, {failures} failures; [95%: other concepts]; rows with a "
        "letter in common are not separable"
    )
    if result.not_steerable:
        text += f"; not steerable: {', '.join(result.not_steerable)}"
    if result.not_scorable:
        text += f"; not scorable in its tokenizer: {', '.join(result.not_scorable)}"
    if flagged := [r.result.mapping.name for r in rows if r.result.audit and r.result.audit.rotation_flag]:
        text += f"; rotation audit flags {', '.join(flagged)} (see `lrt-bench show`)"
    if not result.complete:
        text += "; incomplete (--task): not ranked"
    return text


def _behaviour(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Lines that say what the scores are made of, and whether the pair tests the output alone."""
    record = next((row.result.behaviour for row in rows if row.result.behaviour), None)
    if record is None:
        return
    yield (
        f"score: behaviour share over {record.tokens + 1} tokens at alpha "
        f"{', '.join(map(signed, record.alphas))}; alpha 1 costs {record.unit.nats:g} nats "
        f"({number(record.unit.length, 2)} long)"
    )
    readout, unembedding = number(record.readout_score, 1), number(record.unembedding_score, 1)
    controls = f"of the ceiling's 100 the readout alone has {readout}, the unembeddings' map {unembedding}"
    output_level = f"output-level: {controls}; the pair says little of a representation"
    yield output_level if record.output_level else controls


def _side_effects(rows: Sequence[RankedRow]) -> Iterator[str]:
    """Yield a line for each lm-eval task: its first metric unsteered, and under each row's vectors."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        for task, group in itertools.groupby(row.result.lm_eval, key=lambda metric: metric.task):
            first = next(group)
            start = f"{task} {first.metric}: {number(first.unsteered)} unsteered"
            if first.alphas:
                start += f"; at alpha {', '.join(map(signed, first.alphas))}"
            values = ", ".join(number(value) for value in first.value)
            lines.setdefault(start, []).append(f"{row.result.mapping.name} {values}")
    for start, each in lines.items():
        yield f"{start}: {'; '.join(each)}"


def print_failures(failures: Sequence[Failure]) -> None:
    """Print the submissions that could not be scored, and why."""
    for failure in failures:
        print_line(f"failed: {failure.mapping} on {failure.pair}: {failure.reason}")
    if failures:
        print_line(f"{len(failures)} failed")


def print_paths(cells: Sequence[Cell], figures: Sequence[Path]) -> None:
    """Print where the results lie."""
    computed = sum(cell.computed for cell in cells)
    print_line(f"{computed} cells computed, {len(cells) - computed} finished before:")
    for path in [*(cell.path for cell in cells), *figures]:
        print_line(f"  {path}")


def print_rows(rows: Sequence[dict[str, Any]], leave_out: Sequence[str] = ()) -> None:
    """Print records as a plain table."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = [name for name in rows[0] if name not in leave_out]
    for name in names:
        table.add_column(name, no_wrap=name == "name")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in names))
    screen().print(table)


def print_result(result: Result) -> None:
    """Print one result in full."""
    out = screen()
    alone = RankedRow(result, None, False, None, None)
    mapping = result.mapping
    out.print(_title(result))
    out.print(f"{mapping.name}: {mapping.rule}")
    out.print(f"Transfer Score {_score(records(frame([alone]))[0])}, {mapping.track} track")
    out.print(_task_table(records(frame([alone], "task"))))
    for writing in result.generation:
        steps = zip(writing.alphas, writing.score, strict=True)
        out.print(f"{writing.task}: score by alpha {_by_alpha(steps)}")
    for effect in result.side_effects:
        steps = zip(effect.alphas, effect.added_cross_entropy, strict=True)
        added = ", ".join(f"{signed(alpha)}: {signed(value, 3)}" for alpha, value in steps)
        out.print(f"{effect.task}: added nats by alpha {added}")
    for metric in result.lm_eval:
        out.print(_lm_eval(metric))
    for refusal in result.refusal:
        print_refusal(out, refusal)
    parts = {"fidelity": result.fidelity, "audit": result.audit, "cost": result.cost}
    for name, part in parts.items():
        if part is not None:
            out.print(f"{name}: {_listed(part.model_dump(exclude_none=True))}")


def _by_alpha(steps: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{signed(alpha)}: {number(value, 2)}" for alpha, value in steps)


def _task_table(rows: Sequence[dict[str, Any]]) -> Table:
    names = ("task", "counts", "share", "ceiling", "steering\nR2", "its\nceiling", "r(D)", "r",
             "slope\nratio", "anti", "cosine", "norm\nratio")  # fmt: skip
    table = Table(*names, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = {"share": 3, "ceiling_share": 3, "steering_r2": 3,
                "ceiling_r2": 3, "correlation_delta": 3, "correlation": 3, "slope_ratio": 2,
               "anti_steerable": 2, "cosine": 3, "norm_ratio": 2}  # fmt: skip
    for row in rows:
        scores = (number(row[name], digits) for name, digits in columns.items())
        table.add_row(row["task"], "yes" if row["steerable"] else "no", *scores)
    return table


def _listed(values: dict[str, Any]) -> str:
    """Names and values in a line: fvu 0.012, bands (1-1 0.001, 2-8 0.02)."""
    parts = []
    for name, value in values.items():
        parts.append(f"{name} {_shown(value)}")
    return ", ".join(parts)


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
