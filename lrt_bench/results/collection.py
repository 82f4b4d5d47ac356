"""Results in Python: a sequence of them that is a table, a picture, LaTeX, and a page in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from lrt_bench.errors import UserError
from lrt_bench.files.format import counted, latex_signs, number, shared_rank, with_interval
from lrt_bench.results.figures.saving import check_figure_path, write_figure
from lrt_bench.results.frame import Level, frame, records
from lrt_bench.results.ladders import Ladder, ladder_frame, ladders_of
from lrt_bench.results.overall import Overall, overall_frame, overall_of
from lrt_bench.results.ranking import RankedRow, ranked
from lrt_bench.results.schema.result import Result
from lrt_bench.results.storage import read_result, result_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

Rows = Literal["row", "task", "prompt", "refusal", "ladder", "overall"]
LEVELS: dict[str, Level] = {"row": "result", "task": "task", "prompt": "prompt", "refusal": "refusal"}
SHOWN = {  # column of the table of results -> head
    "suite": "suite", "pair": "pair", "mapping": "mapping", "transfer_score": "Transfer Score",
    "rank": "rank", "groups": "groups", "fvu": "FVU", "fit_seconds": "fit s",
}  # fmt: skip
HEIGHT, WIDTH = 0.28, 7.0  # inches of a bar and of the picture


class Results(Sequence[Result]):
    """What `evaluate` and `load_results` return: the results in order, each ranked on its pair.

    It is a sequence of `Result`, and in a notebook it shows itself as a table.
    """

    def __init__(self, results: Iterable[Result]) -> None:
        self._results = list(results)

    @classmethod
    def read(cls, folder: str | Path) -> Results:
        """Read every result below a folder.

        Raises UserError where there is none, or one is broken.
        """
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        results = [read_result(path) for path in result_files(folder)]
        if not results:
            raise UserError(f"{folder}: no result (.json) in it; run `lrt-bench evaluate` first")
        return cls(results)

    def __len__(self) -> int:
        return len(self._results)

    @overload
    def __getitem__(self, place: int) -> Result: ...
    @overload
    def __getitem__(self, place: slice) -> Results: ...
    def __getitem__(self, place: int | slice) -> Result | Results:
        chosen = self._results[place]
        return Results(chosen) if isinstance(chosen, list) else chosen

    def ranked(self) -> list[RankedRow]:
        """Return the results by pair, best first, each with its rank."""
        pairs: dict[tuple[str, str], list[Result]] = {}
        for result in self._results:
            pairs.setdefault((result.suite, result.pair.name), []).append(result)
        return [row for results in pairs.values() for row in ranked(results)]

    def ladders(self) -> list[Ladder]:
        """Return the ladders among the pairs: the same sites, maps fitted on more and more tokens."""
        return ladders_of(self.ranked())

    def overall(self) -> list[Overall]:
        """Return each suite's means over its pairs that test a representation, with places by them."""
        return overall_of(self.ranked())

    def to_frame(self, level: Rows = "row") -> DataFrame:
        """Return the results as a pandas table.

        Parameters
        ----------
        level : what a line is: a "row" (a mapping on a pair), a "task", a "prompt", a "refusal" point, a
            rung of a "ladder" with its mapping's area, or an "overall" score on a pair beside the mean.

        Raises
        ------
        UserError
            Where the level is none of these.
        """
        if level == "ladder":
            return ladder_frame(self.ladders())
        if level == "overall":
            return overall_frame(self.overall())
        if level not in LEVELS:
            raise UserError(f"level {level!r}: give {', '.join(LEVELS)}, ladder, overall")
        return frame(self.ranked(), LEVELS[level])

    def to_latex(self) -> str:
        """Return the table of rows in LaTeX (booktabs): scores with their intervals, ranks, FVU."""
        shown = self._shown()
        sides = "".join("r" if name in ("Transfer Score", "rank", "FVU", "fit s") else "l" for name in shown)
        return latex_signs(shown.to_latex(index=False, escape=True, column_format=sides))

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the scores with their intervals, a panel a pair; floor 0 and ceiling 100 are lines.

        Parameters
        ----------
        path : file to write, of type .pdf, .svg or .png; only the figure is returned where it is not given.

        Raises
        ------
        UserError
            Where no row has a score, or the file is of another type.
        """
        if path is not None:
            check_figure_path(path)
        panels: dict[str, list[RankedRow]] = {}
        for row in self.ranked():
            if row.result.transfer_score is not None:
                panels.setdefault(f"{row.result.suite} / {row.result.pair.name}", []).append(row)
        if not panels:
            raise UserError("no row has a Transfer Score: there is nothing to draw")
        figure = _drawn(panels)
        if path is not None:
            write_figure(figure, Path(path))
        return figure

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        made: str = self._shown().to_html(index=False, escape=True)
        return made

    def __repr__(self) -> str:
        pairs = {(result.suite, result.pair.name) for result in self._results}
        return f"<Results: {counted(len(self), 'row')} on {counted(len(pairs), 'pair')}>"

    def _shown(self) -> DataFrame:
        """Return the table of rows as text, in the columns that fit a page."""
        from pandas import DataFrame

        return DataFrame([_texts(row) for row in records(self.to_frame())], columns=list(SHOWN.values()))


def _texts(row: dict[str, Any]) -> dict[str, str]:
    made = {
        "transfer_score": with_interval(row["transfer_score"], row["ci95_low"], row["ci95_high"]),
        "rank": shared_rank(row["rank"], row["tied"]), "groups": row["groups"] or "",
        "fvu": number(row["fvu"]), "fit_seconds": number(row["fit_seconds"], 2),
    }  # fmt: skip
    return {head: made.get(name, str(row[name])) for name, head in SHOWN.items()}


def _drawn(panels: dict[str, list[RankedRow]]) -> Figure:
    from matplotlib.figure import Figure

    heights = [HEIGHT * len(rows) + 0.7 for rows in panels.values()]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.3), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        for place, row in enumerate(rows):
            score, colour = row.result.transfer_score, "0.6" if row.result.mapping.control else "tab:blue"
            axis.barh(place, score, color=colour, height=0.7)
            if row.ci95:
                axis.plot(row.ci95, (place, place), color="black", linewidth=1)
        axis.set_yticks(range(len(rows)), [row.result.mapping.name for row in rows], fontsize=8)
        axis.invert_yaxis()
        for line in (0, 100):
            axis.axvline(line, color="black", linewidth=0.6, linestyle=":")
        axis.set_title(title, fontsize=9, loc="left")
    axes[-1].set_xlabel("Transfer Score: 0 steers not at all, 100 as the target's own vector (95% intervals)")
    return figure
