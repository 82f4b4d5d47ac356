"""Numbers as tables and pages write them: one dash, one minus sign."""

from __future__ import annotations

DASH = "–"  # where there is no value
MINUS = "\N{MINUS SIGN}"
LATEX = {MINUS: "$-$", DASH: "--", "±": r"$\pm$", "→": r"$\to$"}  # what old engines have no letter for


def number(value: float | None, digits: int = 3) -> str:
    """Format a number to so many decimals; a dash for None, no sign where it rounds to zero."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    if text[0] != "-":
        return text
    return MINUS + text[1:] if text.strip("-0.") else text[1:]


def signed(value: float, digits: int | None = None) -> str:
    """Format a number that always has a sign: +0.5, −0.25; `digits` decimals, or as few as it needs."""
    text = f"{value:+g}" if digits is None else f"{value:+.{digits}f}"
    return text.replace("-", MINUS, 1) if text[0] == "-" else text


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Format a figure to one decimal with its interval, if it has one: 86.9 [74.0, 97.1]."""
    text = number(value, 1)
    return text if low is None else f"{text} [{number(low, 1)}, {number(high, 1)}]"


def shared_rank(rank: int | None, tied: bool) -> str:
    """Format a rank, with = where it is shared; nothing for none."""
    return "" if rank is None else f"{rank}{' =' if tied else ''}"


def latex_signs(text: str) -> str:
    """Return LaTeX in which our signs are commands."""
    for sign, command in LATEX.items():
        text = text.replace(sign, command)
    return text


def seconds(value: float) -> str:
    """Format seconds to two digits: 0.013 s, 2.6 s, 200 s."""
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def count(value: int) -> str:
    """Format a count in thousands, millions or billions."""
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{name}"
    return str(value)


def size(value: int) -> str:
    """Format bytes in MB or GB."""
    return f"{value / 1e9:.1f} GB" if value >= 10**9 else f"{value / 1e6:.0f} MB"


def counted(number: int, noun: str) -> str:
    """Return a number of things: ``1 pair``, ``2 pairs``."""
    return f"{number} {noun}{'s' * (number != 1)}"
