"""Refusal tasks as a reader sees them: a table of every scorer, and the paper's figure 4."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from lrt_bench.files.whole import write_whole
from lrt_bench.results.records import Mean, RefusalPoint, RefusalScores
from lrt_bench.results.storage import Result

CONTROL_STYLES = {"native": "black", "random": "tab:gray", "shuffled": "tab:brown"}
AXES = {
    "phrases": "share refused, by phrases",
    "first-token": "log-odds of refusing, first token",
    "classifier": "probability of refusal, classifier",
    "judge": "share harmless, by the judge",
}


def refusal_table(results: Sequence[Result]) -> list[dict[str, Any]]:
    """A flat record for each pair, task, row, set of instructions, intervention and scorer.

    `chosen` tells the alphas that the validation split chose; a mean is None where no answer could be scored.
    """
    return [
        {
            "suite": result.suite,
            "pair": result.pair.name,
            "task": figures.task,
            "row": result.mapping.name,
            "control": result.mapping.control,
            "instructions": instructions,
            "intervention": point.intervention,
            "alpha": point.alpha,
            "chosen": point.alpha in _chosen(figures),
            "scorer": scorer,
            **score.model_dump(),
            "cross_entropy": point.cross_entropy.mean,
            "judge": figures.judge.model if figures.judge and scorer == "judge" else None,
        }
        for result in results
        for figures in result.refusal
        for instructions, points in (("harmful", figures.harmful), ("harmless", figures.harmless))
        for point in points
        for scorer, score in point.scores.items()
    ]


def _chosen(figures: RefusalScores) -> tuple[float, ...]:
    return tuple(alpha for alpha in (figures.answering, figures.refusing) if alpha is not None)


def print_refusal(out: Console, figures: RefusalScores) -> None:
    """One task's points as a table; failures stand beside the means that they are left out of."""
    answering, refusing = ("none" if a is None else f"{a:+g}" for a in (figures.answering, figures.refusing))
    out.print(
        f"{figures.task}: refusal, mean and one standard error; alpha chosen on {figures.chosen_on} other "
        f"instructions: {answering} towards answering, {refusing} towards refusing",
        highlight=False,
    )
    scorers = [name for name in AXES if any(name in point.scores for point in figures.harmful)]
    table = Table("instructions", "intervention", *scorers, "nats a token", box=box.SIMPLE_HEAD)
    for instructions, points in (("harmful", figures.harmful), ("harmless", figures.harmless)):
        for point in points:
            cells = [_cell(point.scores.get(name)) for name in scorers]
            table.add_row(instructions, _name(point, figures), *cells, _cell(point.cross_entropy))
    out.print(table)
    if figures.judge:
        judge = figures.judge
        out.print(
            f"judge {judge.model} at {judge.host}: {judge.unreadable} unreadable, {judge.missing} missing",
            highlight=False, markup=False,
        )  # fmt: skip


def _name(point: RefusalPoint, figures: RefusalScores) -> str:
    if point.alpha is None:
        return point.intervention
    return f"add {point.alpha:+g}" + (" (chosen)" if point.alpha in _chosen(figures) else "")


def _cell(value: Mean | None) -> str:
    if value is None or value.mean is None:
        return "-" if value is None else f"- ({value.failures} failed)"
    error = "" if value.standard_error is None else f" ±{value.standard_error:.2f}"
    return f"{value.mean:.2f}{error}" + (f" ({value.failures} failed)" if value.failures else "")


def draw_refusal(results: Sequence[Result], path: Path) -> Path | None:
    """The paper's figure 4 as SVG: score against alpha, bars of one standard error, a panel a pair, task
    and scorer; None where no result holds a refusal task."""
    panels = list(_panels(results))
    if not panels:
        return None
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    columns = max(sum(key[:2] == panel[:2] for panel, _ in panels) for key, _ in panels)
    groups = list(dict.fromkeys(key[:2] for key, _ in panels))
    figure = Figure(figsize=(4.4 * columns, 3.2 * len(groups) + 0.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(len(groups), columns, squeeze=False)
    for line, group in zip(axes, groups, strict=True):
        here = [panel for panel in panels if panel[0][:2] == group]
        for axis, ((pair, task, scorer), rows) in zip(line, here, strict=False):
            _curves(axis, scorer, rows)
            axis.set_title(f"{pair}: {task}", fontsize=9)
        for axis in line[len(here) :]:
            axis.set_axis_off()
    handles = {label: handle for axis in axes.flat for handle, label in zip(
        *axis.get_legend_handles_labels(), strict=True)}  # fmt: skip
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(8, len(handles)),
        frameon=False,
    )
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())
    return path


Curves = list[tuple[Result, RefusalScores]]


def _panels(results: Sequence[Result]) -> Iterator[tuple[tuple[str, str, str], Curves]]:
    """((pair, task, scorer), the rows that have that scorer), in the order in which they come."""
    found: dict[tuple[str, str, str], Curves] = {}
    for result in results:
        for figures in result.refusal:
            for scorer in AXES:
                if any(scorer in point.scores for point in figures.harmful):
                    key = (result.pair.name, figures.task, scorer)
                    found.setdefault(key, []).append((result, figures))
    order = list(AXES)
    yield from sorted(found.items(), key=lambda item: (item[0][:2], order.index(item[0][2])))


def _curves(axis: Any, scorer: str, rows: Curves) -> None:
    for result, figures in rows:
        points = sorted(
            (point.alpha, score.mean, score.standard_error or 0.0)
            for point in figures.harmful
            if point.alpha is not None
            and (score := point.scores.get(scorer)) is not None
            and score.mean is not None
        )
        if not points:
            continue
        alphas, means, errors = zip(*points, strict=True)
        name = result.mapping.name
        style: dict[str, Any] = {"linewidth": 1.2, "marker": "o"}
        if result.mapping.control:
            colour = CONTROL_STYLES.get(name, "tab:olive")
            style = {"linewidth": 1.6, "linestyle": "--", "marker": "s", "color": colour}
        axis.errorbar(alphas, means, yerr=errors, label=name, markersize=3, capsize=2, **style)
    for alpha in {alpha for _, figures in rows for alpha in _chosen(figures)}:
        axis.axvline(alpha, color="black", linewidth=0.5, linestyle=":")
    axis.set_xlabel("alpha, in spreads (positive: towards answering)", fontsize=8)
    axis.set_ylabel(AXES[scorer], fontsize=8)
    axis.tick_params(labelsize=7)
