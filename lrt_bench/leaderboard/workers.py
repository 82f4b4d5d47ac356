"""Shares work out to processes forked from this one, which see all that it holds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from lrt_bench.errors import UserError

Item = TypeVar("Item")
Made = TypeVar("Made")
LEAST = 100  # pages or files for a worker: fewer are not worth a process


@dataclass(frozen=True)
class Work:
    """What a worker process was forked with.

    Only its own process holds it, so nothing is sent but places.
    """

    function: Callable[[Any], Any]
    items: Sequence[Any]
    mine: ClassVar[Work]

    @classmethod
    def begin(cls, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """Set up a worker process: Ctrl-C is its parent's, and what it was born with is never collected."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        gc.disable()
        cls.mine = cls(function, items)

    @classmethod
    def do(cls, place: int) -> Any:
        """Do one item, by its place."""
        return cls.mine.function(cls.mine.items[place])


def share_out(
    function: Callable[[Item], Made],
    items: Sequence[Item],
    report: Callable[[float, float], None] = lambda done, total: None,
    size: int | None = None,
) -> list[Made]:
    """[function(item) for item in items], by several processes where that pays.

    What `function` returns is sent back and must be picklable; what it raises is raised here.

    Parameters
    ----------
    report
        Called with (done, in all).
    size
        Pages or files in all, where an item is several.

    Raises
    ------
    UserError
        Where a worker was killed.
    """
    workers = min(os.cpu_count() or 1, (size or len(items)) // LEAST) if hasattr(os, "fork") else 0
    made: list[Made] = []
    if workers < 2:
        for item in items:
            made.append(function(item))
            report(len(made), len(items))
        return made
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=Work.begin, initargs=(function, items)
    ) as pool:
        try:
            chunk = max(1, min(20, len(items) // (8 * workers)))
            for value in pool.map(Work.do, range(len(items)), chunksize=chunk):
                made.append(value)
                report(len(made), len(items))
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed, perhaps for memory; nothing was changed") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return made
