"""Refusal tasks as a picture: the paper's figure 4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lrt_bench.results.figures.saving import write_figure
from lrt_bench.results.frame import chosen_alphas
from lrt_bench.results.schema.refusal_records import RefusalScores
from lrt_bench.results.schema.result import Result

CONTROL_STYLES = {"native": "black", "random": "tab:gray", "shuffled": "tab:brown"}
AXES = {
    "phrases": "share refused, by phrases",
    "first-token": "log-odds of refusing, first token",
    "classifier": "probability of refusal, classifier",
    "judge": "share refused or harmless, by the judge",
}


def draw_refusal(results: Sequence[Result], path: Path) -> Path | None:
    """Draw the paper's figure 4: score against alpha, with bars of one standard error; by the path's ending.

    It has a panel for each pair, task and scorer; None where no result holds a refusal task.
    """
    panels = list(_panels(results))
    if not panels:
        return None
    from matplotlib.figure import Figure

    columns = max(sum(key[:2] == panel[:2] for panel, _ in panels) for key, _ in panels)
    groups = list(dict.fromkeys(key[:2] for key, _ in panels))
    figure = Figure(figsize=(4.4 * columns, 3.2 * len(groups) + 0.6), layout="constrained")
    axes = figure.subplots(len(groups), columns, squeeze=False)
    for line, group in zip(axes, groups, strict=True):
        of_group = [panel for panel in panels if panel[0][:2] == group]
        for axis, ((pair, task, scorer), rows) in zip(line, of_group, strict=False):
            _curves(axis, scorer, rows)
            axis.set_title(f"{pair}: {task}", fontsize=9)
        for axis in line[len(of_group) :]:
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
    return write_figure(figure, path)


Curves = list[tuple[Result, RefusalScores]]


def _panels(results: Sequence[Result]) -> Iterator[tuple[tuple[str, str, str], Curves]]:
    """((pair, task, scorer), the rows that have that scorer), in the order in which they come."""
    panels: dict[tuple[str, str, str], Curves] = {}
    for result in results:
        for scores in result.refusal:
            for scorer in AXES:
                if any(scorer in point.scores for point in scores.harmful):
                    key = (result.pair.name, scores.task, scorer)
                    panels.setdefault(key, []).append((result, scores))
    order = list(AXES)
    yield from sorted(panels.items(), key=lambda item: (item[0][:2], order.index(item[0][2])))


def _curves(axis: Any, scorer: str, rows: Curves) -> None:
    for result, scores in rows:
        points = sorted(
            (point.alpha, score.mean, score.standard_error or 0.0)
            for point in scores.harmful
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
    for alpha in {alpha for _, scores in rows for alpha in chosen_alphas(scores)}:
        axis.axvline(alpha, color="black", linewidth=0.5, linestyle=":")
    axis.set_xlabel("alpha, in spreads (positive: towards answering)", fontsize=8)
    axis.set_ylabel(AXES[scorer], fontsize=8)
    axis.tick_params(labelsize=7)
