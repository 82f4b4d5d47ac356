"""The findings' figures, from their data: SVG, in colours that the colour-blind tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from analysis import EARLY, LATE

from lrt_bench.files.whole import write_whole

Table = list[dict[str, Any]]
STYLES = {  # Okabe and Ito's colours, each with a shape of its own
    "affine": ("#0072B2", "o"),
    "affine-with-bias": ("#D55E00", "D"),
    "affine-adamw": ("#56B4E9", "<"),
    "ridge": ("#56B4E9", "x"),
    "orthogonal": ("#009E73", "s"),
    "low-rank": ("#CC79A7", "v"),
    "mlp": ("#000000", "^"),
    "autoencoder": ("#E69F00", "P"),
    "readout": ("#D55E00", "X"),
    "unembedding": ("#999999", "d"),
}
ORDER = (
    "mlp", "autoencoder", "affine", "ridge", "low-rank", "orthogonal", "affine-adamw",
    "affine-adamw-with-bias", "affine-with-bias", "readout", "unembedding", "random", "other-concept",
    "shuffled",
)  # fmt: skip
CONTROLS_BELOW = 4.5  # a line between maps and controls, counted from the last


def drawn(path: Path, size: tuple[float, float], columns: int, draw: Callable[..., None]) -> None:
    """Draw into a row of axes and write the figure whole; the same data give the same bytes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasSVG(figure)
    draw(figure, figure.subplots(1, columns, squeeze=False)[0])
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    write_whole(path, buffer.getvalue().encode())


def maps(table: Table, path: Path) -> None:
    """Transfer Scores of every map and control, pair by pair, with the intervals over new concepts."""
    rows = {(row["pair"], row["mapping"]): row for row in table}

    def draw(figure: Any, axes: Any) -> None:
        for axis, pair in zip(axes, (*EARLY, LATE), strict=True):
            for place, name in enumerate(reversed(ORDER)):
                row, colour = rows[pair, name], "#999999" if rows[pair, name]["control"] else "#0072B2"
                axis.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.5)
                axis.plot(row["transfer_score"], place, "o", color=colour, markersize=6)
            axis.set_yticks(
                range(len(ORDER)), list(reversed(ORDER)) if axis is axes[0] else [""] * len(ORDER)
            )
            axis.axhline(CONTROLS_BELOW, color="black", linewidth=0.6, linestyle=":")
            axis.axvline(0, color="black", linewidth=0.5)
            axis.set_title(f"{pair}{', output-level' if pair == LATE else ''}", fontsize=10)
            axis.set_xlim(-100, 105)
            axis.grid(axis="x", alpha=0.3)
        figure.supxlabel("Transfer Score, 95% interval over new concepts", fontsize=10)

    drawn(path, (12, 4.6), 4, draw)


def fidelity(table: Table, path: Path) -> None:
    """The Transfer Score against R2 of states, a point a map."""
    rows = {(row["pair"], row["mapping"]): row for row in table}

    def draw(figure: Any, axes: Any) -> None:
        for axis, pair in zip(axes, (*EARLY, LATE), strict=True):
            for name in ("affine", "affine-adamw", "orthogonal", "low-rank", "mlp", "autoencoder"):
                row, (colour, shape) = rows[pair, name], STYLES[name]
                axis.plot(
                    1 - row["fvu"], row["transfer_score"], shape, color=colour, markersize=8, label=name
                )
            axis.set_title(pair, fontsize=10)
            axis.set_xlabel("R² of states")
            axis.set_xlim(0, 1)
            axis.set_ylim(0, 105)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("Transfer Score")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=6, loc="outside lower center", frameon=False, fontsize=9)

    drawn(path, (12, 3.6), 4, draw)


def bias(table: Table, path: Path) -> None:
    """Scores with and without the bias, for each way of fitting the map."""
    fits = list(dict.fromkeys(row["fit"] for row in table))

    def draw(figure: Any, axes: Any) -> None:
        pairs = list(dict.fromkeys(row["pair"] for row in table))
        for axis, pair in zip(axes, pairs, strict=True):
            of_pair = {row["fit"]: row for row in table if row["pair"] == pair}
            for place, fit in enumerate(reversed(fits)):
                row = of_pair[fit]
                axis.plot([row["without"], row["with"]], [place, place], color="#999999", linewidth=2)
                for name, label, shift in (("affine", "without", 0.08), ("affine-with-bias", "with", -0.08)):
                    colour, shape = STYLES[name]
                    rule = {"without": "A v", "with": "A v + p"}[label]
                    axis.plot(
                        row[label], place + shift, shape, color=colour, markersize=8,
                        label=rule if place == 0 else None,
                    )  # fmt: skip
            labels = [f"{fit}\n|p| = {of_pair[fit]['bias_norm']:.3g}" for fit in reversed(fits)]
            axis.set_yticks(range(len(fits)), labels)
            axis.set_ylim(-0.6, len(fits) - 0.4)
            axis.set_title(pair, fontsize=10)
            axis.set_xlabel("mean share of the ceiling, 100 is native")
            axis.grid(axis="x", alpha=0.3)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, ncols=2, loc="outside lower center", frameon=False)

    drawn(path, (11, 3.3), 2, draw)


def tokens(rows: Table, path: Path) -> None:
    """Shares against fit tokens."""
    pairs = list(dict.fromkeys(row["pair"] for row in rows))

    def draw(figure: Any, axes: Any) -> None:
        for axis, pair in zip(axes, pairs, strict=True):
            of_pair = [row for row in rows if row["pair"] == pair]
            counts = [row["tokens"] for row in of_pair]
            for name in ("mlp", "ridge", "affine", "orthogonal"):
                colour, shape = STYLES[name]
                ends = [[row[name][end] for row in of_pair] for end in ("low", "high", "value")]
                axis.fill_between(counts, ends[0], ends[1], color=colour, alpha=0.08)
                axis.plot(counts, ends[2], marker=shape, color=colour, markersize=6, label=name)
            axis.set_xscale("log")
            axis.set_title(pair, fontsize=10)
            axis.set_xlabel("tokens that the map is fitted on")
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("mean share of the ceiling, 95% interval")
        axes[-1].legend(frameon=False, loc="lower right")

    drawn(path, (4 + 3 * len(pairs), 4), len(pairs), draw)


def layers(sites: Table, path: Path) -> None:
    """Shares by target layer of L, a line a row and a point a site; the best layers are won without a map."""

    def draw(figure: Any, axes: Any) -> None:
        for axis, source in zip(axes, ("S3", "S2"), strict=True):
            of_source = sorted(
                (row for row in sites if row["pair"].startswith(f"{source}-L")),
                key=lambda row: row["target_layer"],
            )
            for name in ("mlp", "affine", "orthogonal", "readout", "unembedding"):
                colour, shape = STYLES[name]
                dashed = "--" if name in ("readout", "unembedding") else "-"
                axis.plot(
                    [row["target_layer"] for row in of_source], [row[name] for row in of_source], dashed,
                    marker=shape, color=colour, markersize=6, label=name,
                )  # fmt: skip
            axis.axhline(60, color="black", linewidth=0.6, linestyle=":")
            axis.set_title(f"from layer {source[1]} of 3 of nano/S", fontsize=10)
            axis.set_xlabel("target layer of 6 of nano/L")
            axis.set_xticks(range(1, 6))
            axis.set_ylim(0, 105)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("mean share of the ceiling")
        axes[-1].legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))

    drawn(path, (11, 4), 2, draw)
