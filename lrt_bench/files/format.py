"""Numbers as tables and pages write them: one dash, one minus sign."""

from __future__ import annotations

DASH = "–"  # where there is no value
MINUS = "\N{MINUS SIGN}"


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
