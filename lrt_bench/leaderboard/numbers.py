"""Figures as the pages write them."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from lrt_bench.results import TaskFigures


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a true minus sign; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


def seconds(value: float) -> str:
    """Seconds to two digits: 0.013 s, 2.6 s, 200 s."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def count(value: int) -> str:
    """A count in thousands, millions or billions."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return str(value)


def size(value: int) -> str:
    """Bytes in MB or GB."""
    return f"{value / 1e9:.1f} GB" if value >= 10**9 else f"{value / 1e6:.0f} MB"


def figures(task: TaskFigures) -> list[str]:
    """A task's figures in the order of a mapping's page."""
    return [
        number(task.steering_r2),
        number(task.ceiling_r2),
        number(task.correlation_delta),
        number(task.concordance),
        number(task.slope_ratio, 2),
        f"{100 * task.anti_steerable:.0f}%",
        number(task.cosine),
        number(task.norm_ratio, 2),
        number(task.correlation),
        f"{task.prompts} ({task.failures} failed)" if task.failures else str(task.prompts),
    ]


def cells(values: Iterable[str]) -> Markup:
    """Figures as cells of a row. Only for figures: text is not escaped here, the template does that."""
    return Markup('<td class="num">' + '</td><td class="num">'.join(values) + "</td>")
