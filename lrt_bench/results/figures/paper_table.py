"""Our results beside the paper's: table 1, figure 5, figure 3 (Bello et al. 2025, sections 3.2 to 3.4).

The paper's correlation is of raw propensities, over prompts, averaged over alphas. It owes much to the
prompts' unsteered differences, so the same score of random directions and of a map fitted on shuffled pairs
stands beside it, and steering R2, which owes them nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrt_bench.errors import UserError
from lrt_bench.results.figures.saving import write_figure
from lrt_bench.results.metrics import mean_of
from lrt_bench.results.schema.records import CONTROL_NAMES, TaskScores
from lrt_bench.results.schema.result import Result
from lrt_bench.results.storage import read_result, result_files


@dataclass(frozen=True)
class Published:
    """A row of the paper's table 1: Gemma-2-2b to Gemma-2-9b."""

    correlation: float
    deviation: float
    interval: tuple[float, float]
    mse: float


TABLE_1 = {
    "corrigible-neutral-HHH": Published(0.807, 0.160, (0.751, 0.861), 4.22e-2),
    "self-awareness-text-model": Published(0.810, 0.238, (0.720, 0.881), 2.96e-2),
    "self-awareness-good-text-model": Published(0.833, 0.066, (0.811, 0.856), 4.87e-2),
    "self-awareness-training-web-gpt": Published(0.906, 0.084, (0.875, 0.933), 4.06e-2),
    "anti-LGBTQ-rights": Published(0.894, 0.127, (0.845, 0.930), 5.17e-3),
    "openness": Published(0.878, 0.081, (0.849, 0.904), 1.53e-2),
    "believes-AIs-are-not-an-existential-threat-to-humanity": Published(
        0.884, 0.076, (0.854, 0.906), 2.84e-2
    ),
    "subscribes-to-deontology": Published(0.918, 0.037, (0.903, 0.928), 3.43e-2),
    "myopic-reward": Published(0.728, 0.344, (0.598, 0.830), 9.56e-2),
    "believes-it-is-not-being-watched-by-humans": Published(0.981, 0.017, (0.975, 0.987), 8.86e-3),
    "subscribes-to-average-utilitarianism": Published(0.924, 0.053, (0.905, 0.941), 3.19e-2),
    "narcissism": Published(0.968, 0.022, (0.960, 0.975), 1.25e-2),
    "willingness-to-use-physical-force-to-achieve-benevolent-goals": Published(
        0.957, 0.042, (0.942, 0.971), 1.28e-2
    ),
}


@dataclass(frozen=True)
class Measured:
    """One row of ours on one task: the paper's two scores over the scored alphas but 0, and ours.

    correlation, deviation : mean and standard deviation over alphas of the correlation over prompts.
    mse : mean over alphas of the mean squared difference of propensities, in squared logits.
    correlations : the values by alpha that figure 5 shows as a distribution.
    """

    correlation: float | None
    deviation: float | None
    mse: float | None
    correlations: tuple[float, ...]
    steering_r2: float | None


@dataclass(frozen=True)
class Line:
    """A pair's task: whether native steering works on it, and every row's scores."""

    suite: str
    pair: str
    task: str
    steerable: bool
    rows: dict[str, Measured]

    @property
    def published(self) -> Published | None:
        """The paper's row on the same task; None where it has none."""
        return TABLE_1.get(self.task)


def read_results(folder: Path) -> tuple[list[Result], list[str]]:
    """Read every result below a folder: what could be read, and why the others could not.

    Raises UserError where there is none.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder: give one that `lrt-bench evaluate --out` wrote")
    if folder.is_file():
        return [read_result(folder)], []
    results, problems = [], []
    for path in result_files(folder):
        if path.parent.name == "claimed":
            continue
        try:
            results.append(read_result(path))
        except UserError as error:
            problems.append(str(error))
    if not results:
        why = f" ({problems[0]})" if problems else ""
        raise UserError(
            f"{folder}: no result (.json) in it{why}: give a folder that `lrt-bench evaluate` wrote"
        )
    return results, problems


def measured(task: TaskScores, alphas: Sequence[float]) -> Measured:
    """Compute the paper's scores of a task over the scored alphas but 0, at which all vectors agree."""
    steered = [index for index, alpha in enumerate(alphas) if alpha]
    by_alpha = task.correlation_by_alpha
    values = tuple(float(r) for i in steered if (r := by_alpha[i]) is not None)
    errors = [task.mse_by_alpha[index] for index in steered]
    return Measured(
        mean_of(values) if values else None,
        float(np.std(values)) if values else None,
        mean_of(errors) if errors else None,
        values,
        task.steering_r2,
    )


def lines(results: Sequence[Result]) -> list[Line]:
    """Return a line for every choice task of every pair: table 1's first, in its order.

    The paper's scores are over alphas. The table of tasks (`results.frame`) has one number a task: no alphas.
    """
    made: dict[tuple[str, str, str], Line] = {}
    for result in results:
        for task in result.tasks:
            key = (result.suite, result.pair.name, task.task)
            line = made.setdefault(key, Line(*key, task.steerable, {}))
            line.rows[result.mapping.name] = measured(task, result.settings.alphas)
    place = {name: index for index, name in enumerate(TABLE_1)}
    return sorted(
        made.values(), key=lambda line: (line.suite, line.pair, place.get(line.task, 99), line.task)
    )


def mappings_of(group: Sequence[Line]) -> list[str]:
    """Return the rows that are no control, in alphabetical order."""
    return sorted({name for line in group for name in line.rows}.difference(CONTROL_NAMES))


def by_pair(table: Sequence[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Lines grouped by suite and pair."""
    for title in dict.fromkeys(f"{line.suite} / {line.pair}" for line in table):
        yield title, [line for line in table if f"{line.suite} / {line.pair}" == title]


def draw_distributions(group: Sequence[Line], title: str, path: Path) -> Path | None:
    """Figure 5: for each task the correlations over alphas, of each mapping and of the controls beside it.

    Tasks on which native steering does not work are left out; None where none is left. The path's ending says
    the format.
    """
    from matplotlib.figure import Figure

    tasks = [line for line in group if line.steerable]
    if not tasks:
        return None
    names = [*mappings_of(group), *(name for name in ("random", "shuffled") if name in tasks[0].rows)]
    figure = Figure(figsize=(9, 1.2 + 0.5 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(len(names), 1)
    for offset, name in enumerate(names):
        values = [line.rows[name].correlations if name in line.rows else () for line in tasks]
        places = [index + offset * height - 0.4 for index in range(len(tasks))]
        colour = {"random": "0.6", "shuffled": "0.35"}.get(name, f"C{offset}")
        parts = [(v, p) for v, p in zip(values, places, strict=True) if v]
        if parts:
            axes.boxplot(
                [v for v, _ in parts], positions=[p for _, p in parts], widths=height * 0.8,
                orientation="horizontal", patch_artist=True, manage_ticks=False,
                boxprops={"facecolor": colour, "linewidth": 0.6}, medianprops={"color": "black"},
                flierprops={"markersize": 2},
            )  # fmt: skip
        axes.plot([], [], color=colour, linewidth=6, label=name)
    for index, line in enumerate(tasks):
        if line.published:
            low, high = line.published.interval
            axes.plot([low, high], [index + 0.45] * 2, color="red", linewidth=1.5)
    axes.set_yticks(range(len(tasks)), [line.task[:44] for line in tasks], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("Pearson correlation of propensities with native steering, by alpha (red: paper, 95%)")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=7, loc="lower left")
    return write_figure(figure, path)
