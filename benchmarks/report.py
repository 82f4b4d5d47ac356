"""Figures to pages: results.json, and the table and the picture that are made of it alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.record import Line
from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole

HERE = Path(__file__).parent
TITLES = {
    "start": "Start",
    "loop": "The loop of an author: one more mapping where the others are finished",
    "fit": "Fit",
    "sweep": "Sweep over prompts x vectors x alphas",
    "pretrained": "The same sweep on a pretrained model, at half its depth",
    "large": "Larger pretrained models: the pass and the sweep, at half their depth",
    "memory": "Memory",
    "growth": "Growth: seconds ~ size^exponent",
    "leaderboard": "Leaderboard",
    "generation": "Steered generation",
    "evaluate": "The default evaluation",
    "gpu": "Full size",
    "gpu-check": "One pair on the device, beside the CPU",
}
HEADS = ("", "measured", "spread", "goal", "", "")


@dataclass
class Report:
    """One run.

    machine : what it ran on.
    lines : all figures.
    taken : seconds of each part.
    left_out : parts that could not be run, and why.
    """

    machine: dict[str, str]
    lines: list[Line] = field(default_factory=list)
    taken: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """results.json, README.md and figure.svg, each whole or not at all."""
        record = asdict(self)
        write_whole(folder / "results.json", (json.dumps(record, indent=1) + "\n").encode())
        write_whole(folder / "README.md", self.markdown().encode())
        write_whole(folder / "figure.svg", self.figure())

    @classmethod
    def read(cls, path: Path) -> Report:
        """What `write` wrote. Raises UserError where it is not that."""
        try:
            record = json.loads(path.read_text())
            return cls(**(record | {"lines": [Line(**line) for line in record["lines"]]}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: no results of the bench: {error}") from error

    @property
    def goals(self) -> list[Line]:
        return [line for line in self.lines if line.goal is not None]

    def markdown(self) -> str:
        """The table."""
        met = sum(bool(line.met) for line in self.goals)
        about = ", ".join(f"{key} {value}" for key, value in self.machine.items())
        lines = [
            "# Benchmarks",
            "",
            "Written by `make bench` from one run, contenders timed in turn; no number here is typed. "
            "Seconds are this machine's; what counts are the ratios and shares.",
            "",
            f"- Machine: {about}.",
            f"- Goals met: {met} of {len(self.goals)}.",
            f"- The run took {sum(self.taken.values()) / 60:.1f} minutes.",
            *(f"- Left out: {part}: {reason}" for part, reason in self.left_out.items()),
            "",
            "![Times faster than others, with the goals](figure.svg)",
        ]
        for part, rows in groupby(self.lines, key=lambda line: line.part):
            lines += ["", f"## {TITLES.get(part, part)}", "", _row(HEADS), _row(["---"] * len(HEADS))]
            lines += [_row(cells(line)) for line in rows]
        return "\n".join(lines) + "\n"

    def figure(self) -> bytes:
        """Ratios on a logarithmic axis, their spread, and the goals as marks."""
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        ratios = [line for line in self.lines if line.unit == "x"]
        shares = [line for line in self.lines if line.unit == "%" and line.goal is not None]
        figure = Figure(figsize=(10, 1.6 + 0.27 * (len(ratios) + len(shares))), layout="constrained")
        FigureCanvasSVG(figure)
        heights = [max(1, len(ratios)), max(1, len(shares))]
        top, bottom = figure.subplots(2, 1, height_ratios=heights)
        _bars(top, ratios, "times ours (log)")
        top.set_xscale("log")
        _bars(bottom, shares, "%")
        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": "lrt-bench", "svg.fonttype": "none"}):
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue().encode()


def _row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def number(value: float, unit: str) -> str:
    """A figure as the table has it."""
    if unit in ("s", "x", "min", "exponent"):
        return (
            f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
        )
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def cells(line: Line) -> list[str]:
    """A line as a row: what, measured, spread, goal, met or missed, note."""
    unit = "" if line.unit == "exponent" else f" {line.unit}"
    spread = ""
    if line.low is not None and line.high is not None:
        spread = f"{number(line.low, line.unit)} to {number(line.high, line.unit)}"
    goal = "" if line.goal is None else f"{line.sense} {line.goal:g}{unit}"
    met = {None: "", True: "met", False: "missed"}[line.met]
    return [line.what, number(line.value, line.unit) + unit, spread, goal, met, line.note]


def _bars(axis: Any, lines: Sequence[Line], label: str) -> None:
    colours = {None: "tab:gray", True: "tab:blue", False: "tab:red"}
    places = range(len(lines))
    for place, line in zip(places, lines, strict=True):
        axis.barh(place, line.value, color=colours[line.met], height=0.6)
        if line.low is not None and line.high is not None:
            axis.plot([line.low, line.high], [place, place], color="black", linewidth=1)
        if line.goal is not None:
            axis.plot([line.goal, line.goal], [place - 0.42, place + 0.42], color="black", linewidth=2.5)
    axis.set_yticks(places, [line.what for line in lines], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"{label}; the black mark is the goal", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def show(report: Report) -> None:
    """The table on the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=180)
    for part, rows in groupby(report.lines, key=lambda line: line.part):
        table = Table(title=TITLES.get(part, part), box=box.SIMPLE, title_justify="left")
        for head in ("", "measured", "spread", "goal", "", "note"):
            table.add_column(head, overflow="fold")
        for line in rows:
            table.add_row(*cells(line))
        console.print(table)
    for part, reason in report.left_out.items():
        console.print(f"left out: {part}: {reason}", markup=False)
