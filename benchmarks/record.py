"""One measured figure, its goal, and the settings that every part of the bench is run with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.timing import Timing
from lrt_bench.errors import UserError


class UnavailableError(UserError):
    """Something that a part needs can't be had here; the part is left out, and that is no failure."""


@dataclass(frozen=True)
class Settings:
    """How a part is run.

    quick : shapes that take seconds and say nothing about speed; for tests.
    device : where models lie.
    smollm2 : a GGUF file of SmolLM2-135M; fetched where none is given.
    models : folders of larger models, which the part `large` is about.
    """

    quick: bool = False
    device: str = "cpu"
    smollm2: Path | None = None
    models: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Line:
    """One row of the table.

    value, low, high : median and spread of the repetitions; low and high are None where there was one.
    unit : "s", "x" (times another), "%", "MB", or what is counted.
    goal : what the value is to reach, `at least` or `at most`; None where there is no goal.
    note : what a reader has to know to trust it.
    """

    part: str
    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    goal: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.sense == "at least" else self.value <= self.goal

    def aims(self, sense: Literal["at least", "at most"], goal: float) -> Line:
        """The line with a goal."""
        return replace(self, goal=goal, sense=sense)


def seconds(part: str, what: str, timing: Timing, note: str = "") -> Line:
    """A line of seconds."""
    several = len(timing.seconds) > 1
    return Line(
        part, what, timing.median, "s", timing.low if several else None, timing.high if several else None,
        note=note,
    )  # fmt: skip


def ratio(part: str, what: str, slow: Timing, fast: Timing, note: str = "") -> Line:
    """How many times faster `fast` is, round by round: the median and the spread of the rounds' ratios."""
    rounds = Timing(tuple(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)))
    return replace(seconds(part, what, rounds, note), unit="x")


def shares(part: str, what: str, parts: Mapping[str, float], whole: float, note: str = "") -> list[Line]:
    """A line for each part of `whole` seconds, in per cent."""
    return [
        Line(part, f"{what}, {name}", 100 * spent / whole, "%", note=note) for name, spent in parts.items()
    ]


def same(what: str, ours: Sequence[float], theirs: Sequence[float], limit: float) -> float:
    """The greatest difference of two lists of numbers that have to be equal.

    Raises UserError where it is over `limit`: times of other work compare nothing.
    """
    if len(ours) != len(theirs):
        raise UserError(f"{what}: {len(theirs)} numbers where ours are {len(ours)}")
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    worst = math.nan if any(map(math.isnan, apart)) else max(apart, default=0.0)
    if not worst <= limit:
        raise UserError(f"{what}: differs from ours by {worst:.2e}, over {limit:.0e}: not the same work")
    return worst
