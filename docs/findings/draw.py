"""The findings' figures, from their data: SVG, in colours that the colour-blind tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from lrt_bench.evaluation.layer_sweep.figure import COLOURS, DARK
from lrt_bench.files.whole import write_whole

Table = list[dict[str, Any]]
STYLES = {  # Okabe and Ito's colours, each with a shape of its own
    "affine": ("#0072B2", "o"),
    "ridge": ("#0072B2", "o"),
    "affine-paper": ("#D55E00", "D"),
    "orthogonal": ("#009E73", "s"),
    "low-rank": ("#CC79A7", "v"),
    "mlp": ("#000000", "^"),
    "autoencoder": ("#E69F00", "P"),
}
ORDER = ("mlp", "autoencoder", "affine", "ridge", "low-rank", "orthogonal", "affine-paper", "readout",
         "random", "other-concept", "shuffled")  # fmt: skip


def drawn(path: Path, size: tuple[float, float], rows: int, columns: int, draw: Callable[..., None]) -> None:
    """Draw into a grid of axes and write the figure whole; the same data give the same bytes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure, figure.subplots(rows, columns, squeeze=False))
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())


def fidelity(table: Table, path: Path) -> None:
    """Steering R2 against three figures of fidelity; late layers filled, half depth hollow."""
    panels = (
        ("R² of states", lambda row: 1 - row["fvu"]),
        ("R² of states without the top 8 dimensions", lambda row: 1 - row["fvu_without_top8"]),
        ("stitching: KL, nats a token (log, low is good)", lambda row: row["kl"]),
    )

    def draw(figure: Any, grid: Any) -> None:
        for axis, (label, value) in zip(grid[0], panels, strict=True):
            for name in ("affine", "orthogonal", "mlp", "autoencoder"):
                colour, shape = STYLES[name]
                for depth, face in (("late", colour), ("mid", "none")):
                    rows = [row for row in table if (row["mapping"], row["depth"]) == (name, depth)]
                    axis.scatter(
                        [value(row) for row in rows], [row["steering_r2"] for row in rows], s=30,
                        marker=shape, facecolors=face, edgecolors=colour, label=f"{name}, {depth}",
                    )  # fmt: skip
            axis.set_xlabel(label)
            axis.grid(alpha=0.3)
        grid[0][2].set_xscale("log")
        grid[0][0].set_ylabel("steering R²")
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=8, loc="outside lower center", frameon=False, fontsize=8)

    drawn(path, (12, 4), 1, 3, draw)


def bias(table: Table, path: Path) -> None:
    """The Transfer Score with and without the bias, pair by pair."""
    rows = {(row["pair"], row["mapping"]): row for row in table}

    def draw(figure: Any, grid: Any) -> None:
        for axis, depth in zip(grid[0], ("late", "mid"), strict=True):
            pairs = [pair for (pair, name), row in rows.items() if name == "affine" and row["depth"] == depth]
            for place, pair in enumerate(reversed(pairs)):
                ends = [rows[pair, name] for name in ("affine-paper", "affine")]
                axis.plot(
                    [row["transfer_score"] for row in ends], [place, place], color="#999999", linewidth=2
                )
                for row, shift in zip(ends, (-0.15, 0.15), strict=True):
                    colour, shape = STYLES[row["mapping"]]
                    height = place + shift
                    axis.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=0.8)
                    label = row["rule"] if place == 0 else None
                    axis.plot(row["transfer_score"], height, shape, color=colour, markersize=6, label=label)
            axis.set_yticks(range(len(pairs)), [pair.removesuffix("-mid") for pair in reversed(pairs)])
            axis.set_title({"late": "late layers", "mid": "half depth"}[depth], fontsize=10)
            axis.set_xlabel("Transfer Score, 95% interval")
            axis.grid(axis="x", alpha=0.3)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, loc="outside lower center", frameon=False)

    for row in table:
        row["rule"] = {"affine": "A v", "affine-paper": "A v + p"}.get(row["mapping"])
    drawn(path, (11, 4.6), 1, 2, draw)


def size(table: Table, path: Path) -> None:
    """The Transfer Score against how much larger the target is."""

    def draw(figure: Any, grid: Any) -> None:
        for axis, depth in zip(grid[0], ("late", "mid"), strict=True):
            for name, shift in (("affine", -0.06), ("mlp", 0.06)):
                colour, shape = STYLES[name]
                for row in table:
                    if (row["mapping"], row["depth"]) != (name, depth):
                        continue
                    x = np.log2(row["target_parameters"] / row["source_parameters"]) + shift
                    axis.plot([x, x], [row["low"], row["high"]], color=colour, linewidth=0.8, alpha=0.6)
                    axis.plot(x, row["transfer_score"], shape, color=colour, markersize=6, alpha=0.85)
                axis.plot([], [], shape, color=colour, label=name)
            ticks = range(-3, 4)
            axis.set_xticks(ticks, [f"{2.0**tick:g}x" for tick in ticks])
            axis.set_title({"late": "late layers", "mid": "half depth"}[depth], fontsize=10)
            axis.set_xlabel("parameters of the target over those of the source")
            axis.axvline(0, color="black", linewidth=0.5)
            axis.grid(alpha=0.3)
        grid[0][0].set_ylabel("Transfer Score, 95% interval")
        grid[0][0].legend(frameon=False, loc="lower left")

    drawn(path, (11, 4.2), 1, 2, draw)


def maps(table: Table, summary: dict[str, Any], path: Path) -> None:
    """Every pair's Transfer Score by map and control, and their means with joint intervals."""

    def draw(figure: Any, grid: Any) -> None:
        axis = grid[0][0]
        styles = (("late", "#0072B2", "o", 0.16), ("mid", "#D55E00", "s", -0.16))
        for place, name in enumerate(reversed(ORDER)):
            for depth, colour, shape, shift in styles:
                rows = [row for row in table if (row["mapping"], row["depth"]) == (name, depth)]
                above = [place + shift + 0.13] * len(rows)
                axis.plot([row["transfer_score"] for row in rows], above, shape, color=colour, markersize=2.5,
                          alpha=0.6, markeredgewidth=0)  # fmt: skip
                mean, height = summary["maps"][name][depth], place + shift
                axis.plot([mean["low"], mean["high"]], [height, height], color=colour, linewidth=2)
                axis.plot(mean["value"], height, shape, color=colour, markersize=7, markeredgecolor="white")
        for depth, colour, shape, _ in styles:
            label = {"late": "late layers", "mid": "half depth"}[depth]
            axis.plot([], [], shape, color=colour, label=label)
        axis.set_yticks(range(len(ORDER)), list(reversed(ORDER)))
        axis.axhline(3.5, color="black", linewidth=0.6, linestyle=":")
        axis.set_xlabel("Transfer Score: each pair (small), mean over pairs with its 95% interval (large)")
        axis.grid(axis="x", alpha=0.3)
        axis.legend(frameon=False, loc="center left")

    drawn(path, (9, 5.2), 1, 1, draw)


def tokens(table: Table, path: Path) -> None:
    """The Transfer Score against fit tokens."""
    pairs = list(dict.fromkeys(row["pair"] for row in table))

    def draw(figure: Any, grid: Any) -> None:
        for axis, pair in zip(grid[0], pairs, strict=True):
            for name in ("mlp", "ridge", "affine", "orthogonal"):
                colour, shape = ("#56B4E9", "x") if name == "ridge" else STYLES[name]
                rows = [row for row in table if (row["pair"], row["mapping"]) == (pair, name)]
                tokens = [row["tokens"] for row in rows]
                axis.fill_between(
                    tokens,
                    [row["low"] for row in rows],
                    [row["high"] for row in rows],
                    color=colour,
                    alpha=0.08,
                )
                axis.plot(tokens, [row["transfer_score"] for row in rows], marker=shape, color=colour,
                          markersize=5, label=name)  # fmt: skip
            axis.set_xscale("log")
            axis.set_title(pair, fontsize=10)
            axis.set_xlabel("tokens that the map is fitted on")
            axis.grid(alpha=0.3)
        grid[0][0].set_ylabel("Transfer Score, 95% interval")
        grid[0][-1].legend(frameon=False, loc="lower right")

    drawn(path, (12, 4), 1, len(pairs), draw)


def layers(table: Table, path: Path) -> None:
    """Heat maps of steering R2 and of FVU over both layers."""
    pairs = list(dict.fromkeys(row["pair"] for row in table))
    kinds = (("steering_r2", "steering R²", COLOURS), ("fvu", "FVU", f"{COLOURS}_r"))

    def draw(figure: Any, grid: Any) -> None:
        for line, (column, label, colours) in zip(grid, kinds, strict=True):
            for axis, pair in zip(line, pairs, strict=True):
                rows = [row for row in table if row["pair"] == pair]
                _heat_map(axis, rows, column, colours)
                axis.set_title(f"{label}, {rows[0]['source']} to {rows[0]['target']}", fontsize=10)

    drawn(path, (12, 5.6), 2, len(pairs), draw)


def _heat_map(axis: Any, rows: Table, column: str, colours: str) -> None:
    sides = [sorted({row[side] for row in rows}) for side in ("source_layer", "target_layer")]
    shades = np.full([len(side) for side in sides], np.nan)
    for row in rows:
        place = sides[0].index(row["source_layer"]), sides[1].index(row["target_layer"])
        value = row[column]
        shades[place] = np.nan if value is None else value
        light = value is not None and (1 - value if colours.endswith("_r") else value) < DARK
        text = "-" if value is None else f"{value:.2f}"
        axis.text(place[1], place[0], text, ha="center", va="center", fontsize=8,
                  color="white" if light else "black")  # fmt: skip
    axis.imshow(shades, cmap=colours, vmin=0, vmax=1, aspect="auto")
    axis.set_yticks(range(len(sides[0])), sides[0])
    axis.set_xticks(range(len(sides[1])), sides[1])
    axis.set_ylabel("source layer")
    axis.set_xlabel("target layer")
