"""What a run shows in the terminal: progress, tables, paths. Nothing here computes a figure."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from lrt_bench.evaluation.cells import Cell, Failure
    from lrt_bench.results.ranking import RankedRow
    from lrt_bench.results.records import LmEvalFigures
    from lrt_bench.results.storage import Result


SWITCH = 5e-4  # seconds for which a drawing thread may keep the run's own from going on


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float, float], None]]:
    """A progress bar with an estimate on standard error; yields its update function."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def update(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield update


def by_pair(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells grouped by pair, in the order in which they were run."""
    return [list(group) for _, group in itertools.groupby(cells, key=lambda c: c.result.pair.name)]


def ranked_pairs(cells: Sequence[Cell]) -> list[list[RankedRow]]:
    from lrt_bench.results.ranking import ranked

    return [ranked([cell.result for cell in group]) for group in by_pair(cells)]


def draw(cells: Sequence[Cell]) -> list[Path]:
    """Draw a figure for each pair beside its results: its path."""
    from lrt_bench.results.pair_figure import draw_pair

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

    def add(self, cells: Sequence[Cell]) -> None:
        """A pair's results."""
        self._drawn.append(self._thread.submit(draw, cells))

    def __enter__(self) -> Drawing:
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        return self

    def __exit__(self, *raised: object) -> None:
        self._thread.shutdown()
        sys.setswitchinterval(self._interval)
        if raised[0] is None:
            self.paths = [path for drawn in self._drawn for path in drawn.result()]


def as_rows(cells: Sequence[Cell], failures: Sequence[Failure] = ()) -> list[dict[str, Any]]:
    """What `evaluate --json` prints: a flat record a cell; `failure` says why one has no figures."""
    rows = _figures(cells)
    if not failures:
        return rows
    empty = dict.fromkeys(rows[0]) | {"suite": rows[0]["suite"]}
    return rows + [
        empty | {"mapping": f.mapping, "pair": f.pair, "control": False, "failure": f.reason}
        for f in failures
    ]


def _figures(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    paths = {(c.result.pair.name, c.result.mapping.name): str(c.path) for c in cells}
    return [
        {
            "mapping": row.result.mapping.name,
            "pair": row.result.pair.name,
            "suite": row.result.suite,
            "track": row.result.mapping.track,
            "control": row.result.mapping.control,
            "transfer_score": row.result.transfer_score,
            "ci95": row.result.ci95,
            "rank": row.rank,
            "tied": row.tied,
            "complete": row.result.complete,
            "steering_r2": row.result.steering_r2,
            "correlation_delta": row.result.correlation_delta,
            "behaviour_score": row.result.behaviour.score if row.result.behaviour else None,
            "output_level": row.result.behaviour.output_level if row.result.behaviour else None,
            "fvu": row.result.fvu,
            "fit_seconds": row.result.cost.fit_seconds,
            "not_steerable": row.result.not_steerable,
            "failure": None,
            "path": paths[row.result.pair.name, row.result.mapping.name],
        }
        for rows in ranked_pairs(cells)
        for row in rows
    ]


def console() -> Console:
    """Standard output; wide enough for the tables where it is a pipe or a file."""
    out = Console()
    return out if out.is_terminal else Console(width=120)


def number(value: float | None, digits: int = 2) -> str:
    """A figure for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def print_tables(cells: Sequence[Cell]) -> None:
    """A table for each pair: ranked mappings, then controls."""
    out = console()
    for rows in ranked_pairs(cells):
        out.print(_table(rows))
        out.print(_footnote(rows), style="dim", highlight=False)
        for line in (*_behaviour(rows), *_side_effects(rows)):
            out.print(line, style="dim", highlight=False, markup=False)
        out.print()


def _title(result: Result) -> str:
    sites = [f"{site.model}:{site.where}" for site in (result.pair.source, result.pair.target)]
    return f"{result.suite} / {result.pair.name}   {sites[0]} -> {sites[1]}"


def _table(rows: Sequence[RankedRow]) -> Table:
    table = Table(
        title=_title(rows[0].result), title_justify="left", title_style="bold",
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in ("mapping", "track"):
        table.add_column(name, no_wrap=True)
    for name in ("Transfer Score", "rank", "steering\nR2", "r(D)", "FVU", "fit\nseconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for before, row in zip([None, *rows], rows, strict=False):
        result = row.result
        if before is not None and result.mapping.control and not before.result.mapping.control:
            table.add_section()
        table.add_row(
            result.mapping.name, result.mapping.track, _score(result), _rank(row),
            number(result.steering_r2, 3), number(result.correlation_delta, 3), number(result.fvu, 3),
            number(result.cost.fit_seconds),
        )  # fmt: skip
    return table


def _score(result: Result) -> str:
    if result.transfer_score is None or result.ci95 is None:
        return "not steerable"
    low, high = result.ci95
    return f"{result.transfer_score:6.1f} [{low:6.1f}, {high:6.1f}]"


def _rank(row: RankedRow) -> str:
    return "" if row.rank is None else f"{row.rank}{' =' if row.tied else ''}"


def _footnote(rows: Sequence[RankedRow]) -> str:
    result = rows[0].result
    counted = [figures for figures in result.tasks if figures.steerable]
    prompts = sum(figures.prompts for figures in counted)
    failures = sum(figures.failures for figures in result.tasks)
    text = f"{len(counted)} tasks, {prompts} prompts, {failures} failures; = shares its rank"
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
    """Lines of the rows' behaviour scores, where the suite measures them."""
    records = [(row.result.mapping.name, row.result.behaviour) for row in rows if row.result.behaviour]
    if not records:
        return
    first = records[0][1]
    scores = ", ".join(f"{name} {number(record.score, 1)}" for name, record in records)
    yield (
        f"behaviour ({first.unit.nats:g} nats a unit, {first.tokens} tokens, {first.positions} steered): "
        f"{scores}"
    )
    if first.not_clear:
        yield f"behaviour not clear of random directions': {', '.join(first.not_clear)}"
    if first.output_level:
        yield (
            f"output-level: of the ceiling's 100 the readout alone has {number(first.readout_score, 1)}, the "
            f"unembeddings' map {number(first.unembedding_score, 1)}; it says little of a representation"
        )


def _side_effects(rows: Sequence[RankedRow]) -> Iterator[str]:
    """A line for each lm-eval task: its first metric unsteered, and under each row's vectors."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for task, group in itertools.groupby(row.result.lm_eval, key=lambda figures: figures.task):
            first = next(group)
            start = f"{task} {first.metric}: {number(first.unsteered, 3)} unsteered"
            if first.alphas:
                start += f"; at alpha {', '.join(f'{alpha:+g}' for alpha in first.alphas)}"
            values = ", ".join(number(value, 3) for value in first.value)
            found.setdefault(start, []).append(f"{row.result.mapping.name} {values}")
    for start, each in found.items():
        yield f"{start}: {'; '.join(each)}"


def print_failures(failures: Sequence[Failure]) -> None:
    """The submissions that could not be scored, and why."""
    out = Console(soft_wrap=True)
    for failure in failures:
        out.print(
            f"failed: {failure.mapping} on {failure.pair}: {failure.reason}", highlight=False, markup=False
        )
    if failures:
        out.print(f"{len(failures)} failed", highlight=False)


def print_paths(cells: Sequence[Cell], figures: Sequence[Path]) -> None:
    """Where the results lie."""
    out = Console(soft_wrap=True)
    computed = sum(cell.computed for cell in cells)
    out.print(f"{computed} cells computed, {len(cells) - computed} finished before:", highlight=False)
    for path in [*(cell.path for cell in cells), *figures]:
        out.print(f"  {path}", highlight=False)


def print_rows(rows: Sequence[dict[str, Any]], leave_out: Sequence[str] = ()) -> None:
    """Records as a plain table."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    names = [name for name in rows[0] if name not in leave_out]
    for name in names:
        table.add_column(name, no_wrap=name == "name")
    for row in rows:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in names))
    console().print(table)


def print_result(result: Result) -> None:
    """One result in full."""
    out = console()
    out.print(f"{_title(result)}\n{result.mapping.name}: {result.mapping.rule}", highlight=False)
    out.print(f"Transfer Score {_score(result)}, {result.mapping.track} track", highlight=False)
    names = ("task", "steerable", "steering\nR2", "ceiling", "r(D)", "r", "slope\nratio", "anti", "cosine",
             "norm\nratio")  # fmt: skip
    table = Table(*names, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in result.tasks:
        table.add_row(
            row.task, "yes" if row.steerable else "no", number(row.steering_r2, 3), number(row.ceiling_r2, 3),
            number(row.correlation_delta, 3), number(row.correlation, 3), number(row.slope_ratio),
            number(row.anti_steerable), number(row.cosine, 3), number(row.norm_ratio),
        )  # fmt: skip
    out.print(table)
    for writing in result.generation:
        pairs = [f"{a:+g}: {s:.2f}" for a, s in zip(writing.alphas, writing.score, strict=True)]
        out.print(f"{writing.task}: score by alpha {', '.join(pairs)}", highlight=False)
    for effect in result.side_effects:
        added = zip(effect.alphas, effect.added_cross_entropy, strict=True)
        pairs = [f"{a:+g}: {s:+.3f}" for a, s in added]
        out.print(f"{effect.task}: added nats by alpha {', '.join(pairs)}", highlight=False)
    for figures in result.lm_eval:
        out.print(_lm_eval(figures), highlight=False, markup=False)
    for refusal in result.refusal:
        from lrt_bench.results.refusal_table import print_refusal

        print_refusal(out, refusal)
    if result.fidelity:
        out.print("fidelity:", {k: v for k, v in result.fidelity.model_dump().items() if v is not None})
    if result.audit:
        out.print("audit:", result.audit.model_dump())
    out.print("cost:", result.cost.model_dump())


def _lm_eval(figures: LmEvalFigures) -> str:
    """One metric of an lm-eval task in a line, standard errors in brackets."""

    def with_error(value: float | None, error: float | None) -> str:
        return number(value, 3) + (f" ({error:.3f})" if error is not None else "")

    steered = zip(figures.alphas, figures.value, figures.value_stderr, strict=True)
    parts = [f"{alpha:+g}: {with_error(value, error)}" for alpha, value, error in steered]
    by_alpha = f"by alpha {', '.join(parts)}" if parts else "no steerable concept"
    metric = figures.metric if figures.filter == "none" else f"{figures.metric}, {figures.filter}"
    return (
        f"{figures.task} {metric}: {with_error(figures.unsteered, figures.stderr)} unsteered, {by_alpha}; "
        f"{len(figures.concepts)} concepts, {figures.samples} samples, lm-eval {figures.lm_eval}"
    )
