"""Forecast and measured steering R2 as a scatter (SVG)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from lrt_bench.files.whole import write_whole
from scripts.forecast.score import ScoredForecast, spearman

LOWEST = -0.5  # what lies below is drawn at the edge


def draw_scatter(points: Sequence[ScoredForecast], path: Path) -> Path:
    """Two panels: the full map (each point a concept of a pair, with its interval), and all maps."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.4), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots(1, 2, sharey=True)
    real = [point for point in points if "planted" not in point.pair]
    maps = list(dict.fromkeys(point.map for point in real))
    full = [point for point in real if point.map == maps[0]]
    _panel(axes[0], full, f"{maps[0]}, the suite's budget")
    x, y = _places(full)
    ends = np.array([point.interval or (point.forecast,) * 2 for point in full]).clip(LOWEST, 1)
    axes[0].vlines(x, *ends.T, color="tab:gray", alpha=0.15, linewidth=1.5, rasterized=True)
    axes[0].plot(x, y, ".", color="tab:blue", markersize=5)
    _panel(axes[1], real, "all maps")
    for name in maps:
        of_map = [point for point in real if point.map == name]
        axes[1].plot(*_places(of_map), ".", markersize=4, alpha=0.6, label=name, rasterized=True)
    axes[1].legend(fontsize=8, frameon=False, loc="upper left")
    axes[0].set_ylabel("measured steering R2")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())
    return path


def _places(points: Sequence[ScoredForecast]) -> tuple[Any, Any]:
    forecast = np.array([point.forecast for point in points]).clip(LOWEST)
    return forecast, np.array([point.measured for point in points]).clip(LOWEST)


def _panel(axis: Any, points: Sequence[ScoredForecast], name: str) -> None:
    rho = spearman(*(np.array([getattr(p, key) for p in points]) for key in ("forecast", "measured")))
    axis.plot([LOWEST, 1], [LOWEST, 1], color="black", linewidth=0.6, linestyle=":")
    axis.set_title(f"{name}: Spearman {rho or 0:.2f}, n = {len(points)}", fontsize=10)
    axis.set_xlabel("forecast steering R2, the concept left out on all pairs")
    axis.set_xlim(LOWEST - 0.03, 1.03)
    axis.set_ylim(LOWEST - 0.03, 1.03)
