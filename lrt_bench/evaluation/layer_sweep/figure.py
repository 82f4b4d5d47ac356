"""A layer sweep as a figure: heat maps of FVU and of steering R2, and where native steering works."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from lrt_bench.evaluation.layer_sweep.record import LayerSweepRecord
from lrt_bench.files.whole import write_whole

COLOURS = "cividis"  # its lightness rises evenly: it reads the same in grey and to the colour-blind
DARK = 0.55  # of the scale: below this a cell wants light letters


def draw_sweep(sweep: LayerSweepRecord, path: Path) -> Path:
    """Draw the heat maps side by side, the native effect below, and write the figure whole."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows, columns = len(sweep.source.layers), len(sweep.target.layers)
    height = 0.42 * rows + 1.2
    figure = Figure(figsize=(2 * max(4.2, 0.52 * columns + 1.6), height + 1.9), layout="constrained")
    FigureCanvasSVG(figure)
    parts: Any = figure.subplots(2, 2, sharex="col", height_ratios=[height, 1.5])
    source, target = sweep.source, sweep.target
    figure.suptitle(f"{sweep.pair}: layers of {source.model} to layers of {target.model}")
    fvu, r2 = sweep.grid("fvu"), sweep.grid("steering_r2")
    _heat_map(parts[0, 0], sweep, fvu, "FVU of validation states (low is good)", f"{COLOURS}_r")
    _heat_map(parts[0, 1], sweep, r2, "steering R2 on selection prompts (high is good)", COLOURS)
    _mark_choice(parts[0, 1], sweep)
    readouts = [target_layer.readout_r2 or 0.0 for target_layer in sweep.targets]
    _bars(parts[1, 0], readouts, "steering R2\nof the readout", [f"{value:.2f}" for value in readouts])
    steerable = [f"{target_layer.steerable}/{len(target_layer.tasks)}" for target_layer in sweep.targets]
    _bars(
        parts[1, 1],
        [target_layer.slope or 0.0 for target_layer in sweep.targets],
        "native effect\n(logits a spread)",
        steerable,
    )
    parts[1, 1].set_title("on the bars: tasks that are steerable there", fontsize=8)
    for axis in parts[1]:
        axis.set_xticks(range(columns), _ticks(target.layers, target.n_layers))
        axis.set_xlabel("target layer, and its share of the depth")
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())
    return path


def _ticks(layers: Sequence[int], n_layers: int) -> list[str]:
    return [f"{layer}\n{100 * layer / n_layers:.0f}%" for layer in layers]


def _heat_map(
    axis: Any, sweep: LayerSweepRecord, grid: list[list[float | None]], title: str, colours: str
) -> None:
    """Values in cells on a scale from 0 to 1; what lies outside has the colour of its end."""
    shades = [[float("nan") if value is None else value for value in row] for row in grid]
    image = axis.imshow(shades, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axis.figure.colorbar(image, ax=axis, fraction=0.04, pad=0.02)
    for row, values in enumerate(grid):
        for column, value in enumerate(values):
            light = value is not None and (1 - value if colours.endswith("_r") else value) < DARK
            text = "-" if value is None else f"{value:.2f}"
            axis.text(
                column, row, text, ha="center", va="center", fontsize=8, color="white" if light else "black"
            )
    source = sweep.source
    names = [label.replace("\n", "  ") for label in _ticks(source.layers, source.n_layers)]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylabel("source layer")
    axis.tick_params(labelbottom=False)
    axis.set_title(title, fontsize=10)


def _mark_choice(axis: Any, sweep: LayerSweepRecord) -> None:
    """Return a frame round the chosen pair, a dashed one round those tied with it."""
    from matplotlib.patches import Rectangle

    if sweep.chosen is None:
        return
    best = sweep.chosen.source_layer, sweep.chosen.target_layer
    for pair in [*sweep.chosen.tied, best]:
        corner = (sweep.target.layers.index(pair[1]) - 0.46, sweep.source.layers.index(pair[0]) - 0.44)
        line = {"linewidth": 2.5} if pair == best else {"linewidth": 1.2, "linestyle": "--"}
        axis.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor="black", **line))


def _bars(axis: Any, values: Sequence[float], label: str, notes: Sequence[str]) -> None:
    bars = axis.bar(range(len(values)), values, color="tab:gray", width=0.6)
    axis.bar_label(bars, notes, fontsize=8)
    axis.set_ylabel(label, fontsize=8)
    axis.margins(y=0.25)
    axis.tick_params(labelsize=8)
