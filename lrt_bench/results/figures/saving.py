"""A drawn figure to a file: PDF, SVG or PNG, by its ending; the same bytes when drawn again."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lrt_bench.errors import UserError
from lrt_bench.files.whole import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureFormat = Literal["pdf", "svg", "png"]
FORMATS: tuple[FigureFormat, ...] = get_args(FigureFormat)
UNDATED: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
STYLE = {
    "svg.hashsalt": "lrt-bench", "svg.fonttype": "none",  # text that can be read and searched
    "pdf.fonttype": 42,  # fonts as publishers ask for them
}  # fmt: skip


def check_figure_path(path: str | Path) -> str:
    """Return the format that a file's ending asks for.

    Raises UserError for an ending that is none.
    """
    form = Path(path).suffix.lower().removeprefix(".")
    if form not in FORMATS:
        raise UserError(f"{path}: give a file that ends in .{', .'.join(FORMATS)}")
    return form


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all.

    Raises UserError for an ending that is none.
    """
    import matplotlib

    form, buffer = check_figure_path(path), io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=form, metadata=UNDATED[form], dpi=150)
    write_whole(path, buffer.getvalue())
    return path
