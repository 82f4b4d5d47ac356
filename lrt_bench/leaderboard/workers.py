"""Shares work out to processes forked from this one, which see all that it holds."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from lrt_bench.errors import UserError

Item = TypeVar("Item")
Made = TypeVar("Made")
LEAST = 100  # pages or files for a worker: fewer are not worth a process

_held: tuple[Callable[[Any], Any], Sequence[Any]]  # what workers are forked with: nothing is sent but places


def share_out(
    function: Callable[[Item], Made],
    items: Sequence[Item],
    report: Callable[[float, float], None] = lambda done, total: None,
    size: int | None = None,
) -> list[Made]:
    """[function(item) for item in items], by several processes where that pays.

    What `function` returns is sent back and must be picklable; what it raises is raised here.
    report : called with (done, in all). size : pages or files in all, where an item is several.
    Raises UserError where a worker was killed.
    """
    global _held
    workers = min(os.cpu_count() or 1, (size or len(items)) // LEAST) if hasattr(os, "fork") else 0
    made: list[Made] = []
    if workers < 2:
        for item in items:
            made.append(function(item))
            report(len(made), len(items))
        return made
    _held = (function, items)
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        try:
            chunk = max(1, min(20, len(items) // (8 * workers)))
            for value in pool.map(_at, range(len(items)), chunksize=chunk):
                made.append(value)
                report(len(made), len(items))
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed, perhaps for memory; nothing was changed") from error
        finally:
            pool.shutdown(cancel_futures=True)
    return made


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    gc.freeze()
    gc.disable()  # hundreds of thousands of small records: scanning them again and again doubles the time


def _at(place: int) -> Any:
    function, items = _held
    return function(items[place])
