"""The figure of a decoder relation: each direction's error and explained share, and their nulls'."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from lrt_bench.evaluation.decoder_relation.relation import Null, Relation
from lrt_bench.files.whole import write_whole

LABELS = ("measured", "permuted rows", "random rows")
COLOURS = {"permuted rows": "tab:brown", "random rows": "tab:gray"}


def draw_relation(relations: Sequence[Relation], path: Path) -> Path:
    """Draw both directions and write the figure whole."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.9 + 1.1 * len(relations)), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots(1, 2, sharey=True)
    rows = [
        (relation, label, null)
        for relation in relations
        for label, null in zip(LABELS, (None, relation.permuted, relation.random), strict=True)
    ]
    for place, (relation, label, null) in enumerate(reversed(rows)):
        spans = (None, None) if null is None else ((null.error, null.error_range), _percent(null))
        _point(axes[0], place, relation.error, spans[0], label)
        _point(axes[1], place, 100 * relation.share, spans[1], label)
    names = [
        f"{relation.source} -> {relation.target}" if null is None else label for relation, label, null in rows
    ]
    axes[0].set_yticks(range(len(rows)), names[::-1])
    axes[0].set_xlabel("Frobenius error of W_T - W_S M (range of the nulls' draws)")
    axes[1].set_xlabel("explained share of W_T, %")
    for axis in axes:
        axis.margins(x=0.08, y=0.12)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())
    return path


def _percent(null: Null) -> tuple[float, tuple[float, float]]:
    low, high = null.share_range
    return 100 * null.share, (100 * low, 100 * high)


def _point(
    axis: Any, place: int, measured: float, null: tuple[float, tuple[float, float]] | None, label: str
) -> None:
    """Return a measured value, or a null's mean over the range of its draws."""
    if null is None:
        axis.plot(measured, place, "o", color="tab:blue", markersize=6)
        return
    mean, limits = null
    axis.plot(limits, [place, place], color=COLOURS[label], linewidth=2, solid_capstyle="round")
    axis.plot(mean, place, "|", color=COLOURS[label], markersize=9)
