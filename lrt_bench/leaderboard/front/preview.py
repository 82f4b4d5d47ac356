"""The picture that a link to the site shows where it is shared: the question, the leading pair, its bars."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

from lrt_bench.files.format import number, with_interval
from lrt_bench.leaderboard.front.panels import Panel

if TYPE_CHECKING:
    from lrt_bench.leaderboard.entries import Entry

NAME = "preview.png"
SIZE = (1200, 630)  # pixels, what those who show links ask for
DPI = 100
MAPS = 4
LONGEST, LINE = 19, 106  # letters of a map's name, and of a line
QUESTION = "Does a steering vector made for one language model work in another?"
INK, FAINT, MAP, FLOOR = "#1c2b33", "#5b6b73", "#0f766e", "#9aa5ab"


def draw_preview(panel: Panel) -> bytes:
    """Draw the leading pair's best maps, and what knows no map, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    _write(figure, 0.9, "lrt-bench", size=34, weight="bold", color=MAP)
    _write(figure, 0.815, QUESTION, size=19, weight="bold")
    for height, line in ((0.753, panel.title), (0.71, panel.facts)):
        _write(figure, height, _short(line, LINE), size=14.5, color=FAINT)
    _bars(figure.add_axes((0.235, 0.12, 0.5, 0.53)), [*panel.rows[:MAPS], *panel.floors])
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font has not
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def alternative(panel: Panel) -> str:
    """Return the picture in words."""
    shown = [*panel.rows[:MAPS], *panel.floors]
    scores = ", ".join(f"{entry.name} {number(entry.result.transfer_score, 1)}" for entry in shown)
    return f"{panel.title}, Transfer Scores between 0, no steering, and 100, the own vector: {scores}"


def _write(figure: Any, height: float, text: str, **style: Any) -> None:
    """Write a line at the left; what a stranger called something is no formula."""
    figure.text(0.05, height, text, va="center", parse_math=False, **{"color": INK, **style})


def _bars(axis: Any, entries: list[Entry]) -> None:
    low, high = 0.0, 100.0
    for place, entry in enumerate(entries):
        score, ends = entry.result.transfer_score or 0.0, entry.ci95
        control = entry.result.mapping.control
        axis.barh(place, score, height=0.62, color=FLOOR if control else MAP)
        if ends:
            axis.plot(ends, (place, place), color=INK, linewidth=2)
            low, high = min(low, ends[0]), max(high, ends[1])
        said = with_interval(score, *ends) if ends else number(score, 1)
        axis.text(1.03, place, said, transform=axis.get_yaxis_transform(), va="center", size=17, color=INK)
    names = [
        _short(entry.name, LONGEST) + (" (no map)" if entry.result.mapping.control else "")
        for entry in entries
    ]
    axis.set_yticks(range(len(names)), names, size=17, color=INK, parse_math=False)
    axis.set_xlim(low - 3, high + 3)
    axis.invert_yaxis()
    for line in (0, 100):
        axis.axvline(line, color=INK, linewidth=1, linestyle=":", zorder=0)
    axis.set_xticks((0, 100), ("0: no steering", "100: its own vector"), size=15, color=FAINT)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
