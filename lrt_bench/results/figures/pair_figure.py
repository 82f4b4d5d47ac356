"""A run's figure: propensity curves of each task, and scores with their intervals.

SVG, one a pair.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from lrt_bench.files.whole import write_whole
from lrt_bench.results.schema.records import TaskScores
from lrt_bench.results.schema.result import ResultSummary

CURVES = {"native": "black", "random": "tab:gray", "shuffled": "tab:brown"}
COLUMNS = 5
MOST = 6  # maps that have curves: more cannot be told apart, and a curve takes as long as a score


def draw_pair(results: Sequence[ResultSummary], path: Path, own: Collection[str] = ()) -> Path:
    """Draw one pair's results, best first, and write the figure whole.

    own : the maps that the figure is about; they have curves before better ones do.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    names = [figures.task for figures in results[0].tasks]
    rows = math.ceil(max(len(names), 1) / COLUMNS)
    height = 0.26 * len(results) + 1.3
    figure = Figure(
        figsize=(13, height + 2.1 * rows)
    )  # placed by hand: a solver takes as long as the drawing
    FigureCanvasSVG(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=[height, 2.1 * rows])
    top, bottom = parts
    pair = results[0].pair
    figure.suptitle(
        f"{results[0].suite} / {pair.name}: {pair.source.model}:{pair.source.where} to "
        f"{pair.target.model}:{pair.target.where}",
        y=1 - 0.15 / (height + 2.1 * rows),
        va="center",
    )
    _scores(top.subplots(), results)
    _margins(top, height, top_inches=0.35, bottom_inches=0.55, left=0.1)
    axes = bottom.subplots(rows, COLUMNS, squeeze=False).flatten()
    _margins(bottom, 2.1 * rows, top_inches=0.3, bottom_inches=0.65, left=0.03)
    bottom.subplots_adjust(hspace=0.35, wspace=0.17)
    with_curves = _with_curves(results, own)
    for axis, name in zip(axes, names, strict=False):
        _curves(axis, name, with_curves)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    if names:
        handles, labels = axes[0].get_legend_handles_labels()
        bottom.legend(handles, labels, ncols=min(len(labels), 8), loc="lower center", frameon=False)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())
    return path


def _margins(part: Any, height: float, *, top_inches: float, bottom_inches: float, left: float) -> None:
    """Return the axes' place in a part of the figure that is `height` inches high."""
    part.subplots_adjust(left=left, right=0.99, top=1 - top_inches / height, bottom=bottom_inches / height)


def _scores(axis: Any, results: Sequence[ResultSummary]) -> None:
    """Transfer Scores with their 95% intervals, controls in grey."""
    for place, result in enumerate(reversed(results)):
        if result.transfer_score is None or result.ci95 is None:
            continue
        low, high = result.ci95
        colour = "tab:gray" if result.mapping.control else "tab:blue"
        axis.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axis.plot(result.transfer_score, place, "o", color=colour, markersize=5)
    axis.set_yticks(range(len(results)), [result.mapping.name for result in reversed(results)])
    axis.axvline(0, color="black", linewidth=0.6)
    axis.axvline(100, color="black", linewidth=0.6, linestyle=":")
    axis.set_xlabel("Transfer Score, 95% interval (100: the native ceiling, 0: no steering)")
    axis.margins(y=0.03)


def _with_curves(results: Sequence[ResultSummary], own: Collection[str]) -> list[ResultSummary]:
    """Return the rows that have curves, best first: some controls, and `MOST` maps."""
    maps = sorted(
        (result for result in results if not result.mapping.control),
        key=lambda one: one.mapping.name not in own,
    )
    chosen = {one.mapping.name for one in maps[:MOST]} | set(CURVES)
    return [result for result in results if result.mapping.name in chosen]


def _curves(axis: Any, name: str, results: Sequence[ResultSummary]) -> None:
    """Mean propensity over alpha: native, controls and mappings."""
    for result in results:
        task = next(figures for figures in result.tasks if figures.task == name)
        mapping = result.mapping
        style: dict[str, Any] = {"linewidth": 1.0, "alpha": 0.8}
        if mapping.control:
            style = {"linewidth": 1.8, "linestyle": "--", "color": CURVES[mapping.name]}
        axis.plot(*_points(task), label=mapping.name, marker=".", markersize=3, **style)
    steerable = next(figures for figures in results[0].tasks if figures.task == name).steerable
    axis.set_title(name if steerable else f"{name} (not steerable)", fontsize=9)
    axis.axhline(0, color="black", linewidth=0.4)
    axis.tick_params(labelsize=7)
    axis.locator_params(nbins=4)  # a tick takes as long to draw as a curve


def _points(task: TaskScores) -> tuple[list[float], list[float]]:
    points = sorted(zip(task.curve_alphas, task.curve, strict=True))
    return [alpha for alpha, _ in points], [m for _, m in points]
