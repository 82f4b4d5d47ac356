"""Progress: a bar with an estimate on a terminal, a line a minute where there is none."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from lrt_bench.cli.terminal.screen import Screen
from lrt_bench.errors import printable

Update = Callable[[str, float, float], None]
LINE_SECONDS = 60.0  # between two lines where there is no terminal
SURE_SECONDS, SURE_SHARE = 3.0, 0.01  # of a run, before which nothing is said of the time left
LOG = logging.getLogger("lrt_bench")


class Estimate:
    """Share done and time left of a run whose total may shrink (cells that were finished before).

    The share never falls. The time left is that of the work left at the speed of the last minutes: an
    average over the run would take a slow beginning, such as loading models, for ever into account.

    Parameters
    ----------
    clock
        Seconds, monotone.
    """

    MEMORY = 0.9  # of the speed, for each share of a hundredth that is done

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = clock()
        self.done, self.total, self.share = 0.0, 0.0, 0.0
        self._mark = (self.began, 0.0)  # when, and the work done, at which the speed was last taken
        self._pace: float | None = None  # seconds for one unit of work

    def update(self, done: float, total: float) -> None:
        """Take how much is done, of how much."""
        self.done, self.total = max(done, self.done), total
        if total <= 0:
            return
        self.share = max(self.share, min(1.0, done / total))
        now, (before, work) = self._clock(), self._mark
        steps = 100 * (self.done - work) / total
        if steps >= 1 and now > before:
            pace = (now - before) / (self.done - work)
            kept = self.MEMORY**steps
            self._pace = pace if self._pace is None else kept * self._pace + (1 - kept) * pace
            self._mark = now, self.done

    @property
    def left(self) -> float | None:
        """Seconds left; None as long as nothing can be said of them.

        What has gone by since the last step is taken off that step alone: one that takes longer than
        expected adds nothing, and takes nothing from those after it.
        """
        if self._pace is None or self.elapsed < SURE_SECONDS or self.share < SURE_SHARE:
            return None
        since, work = self._mark
        remaining = max(0.0, self.total - work)
        step = min(1.0, remaining)
        return self._pace * (remaining - step) + max(0.0, self._pace * step - (self._clock() - since))

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self.began


def duration(seconds: float) -> str:
    """Write a time as one reads it: 40 s, 12 min, 1 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextlib.contextmanager
def progress(unit: str = "cells") -> Iterator[Update]:
    """Give the update function of a progress display on standard error.

    It is called with what is being done, how much is done, and how much there is. On a terminal it moves a
    bar; elsewhere it logs a line a minute. `--quiet` silences both.
    """
    estimate = Estimate()
    errors = Screen(stderr=True)
    if is_quiet():
        yield lambda what, done, total: estimate.update(done, total)
        return
    with _bar(errors, estimate) if errors.is_terminal else _lines(estimate, unit) as update:
        yield _spoken(update)


def is_quiet() -> bool:
    """Whether `--quiet` was given: nothing but errors is shown."""
    return not LOG.isEnabledFor(logging.WARNING)


def _spoken(update: Update) -> Update:
    """Return an update function that logs each step when it begins, for `-v`."""
    doing = [""]

    def spoken(what: str, done: float, total: float) -> None:
        if what != doing[0]:
            doing[0] = what
            LOG.info("%s", what)
        update(what, done, total)

    return spoken


@contextlib.contextmanager
def _bar(errors: Screen, estimate: Estimate) -> Iterator[Update]:
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        """The time left, asked for at every paint."""

        def render(self, task: Any) -> Text:
            return Text(f"{duration(estimate.elapsed)} gone, {_left(estimate)}")

    columns = (
        TextColumn("{task.description:<28}", markup=False), BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"), Left(),
    )  # fmt: skip
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def update(what: str, done: float, total: float) -> None:
            estimate.update(done, total)
            bar.update(task, description=printable(what), completed=estimate.share, total=1.0)

        yield update


@contextlib.contextmanager
def _lines(estimate: Estimate, unit: str) -> Iterator[Update]:
    """Print a line a minute, whatever the run is busy with by then."""
    doing, ended = ["starting"], threading.Event()

    def update(what: str, done: float, total: float) -> None:
        doing[0] = what
        estimate.update(done, total)

    def speak() -> None:
        while not ended.wait(LINE_SECONDS):
            click.echo(line(estimate, doing[0], unit), err=True)

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield update
    finally:
        ended.set()
        thread.join()


def line(estimate: Estimate, what: str, unit: str) -> str:
    """Return what is said once a minute: what is being done, how much is done, the time gone and left."""
    done, total = estimate.done, estimate.total
    counted = f"{done:.0f} of {total:.0f} {unit}" if total > 1 else f"{estimate.share:.0%}"
    text = f"{what}: {counted}, {duration(estimate.elapsed)} gone, {_left(estimate)}"
    return printable(" ".join(text.split()))


def _left(estimate: Estimate) -> str:
    left = estimate.left
    return "estimating the time left" if left is None else f"about {duration(left)} left"
