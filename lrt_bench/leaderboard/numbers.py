"""Figures as the pages write them."""

from __future__ import annotations


def number(value: float | None, digits: int = 3) -> str:
    """A figure with a true minus sign; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if text[0] != "-":
        return text
    return "\N{MINUS SIGN}" + text[1:] if text.strip("-0.") else text[1:]


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
