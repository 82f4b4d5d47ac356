"""Out of memory: the work is halved and goes on, and says so; it is never lost."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from lrt_bench.errors import UserError

Item = TypeVar("Item")
T = TypeVar("T")
LOG = logging.getLogger("lrt_bench")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
MOST_MMAP = 32 * 2**20  # bytes: the largest threshold that glibc takes
_LOCK = threading.Lock()
_keeping = 0  # contexts of `held_memory` that are open


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the processor's allocator, ran out of memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def give_back() -> None:
    """Hand what is free back to the system, where glibc keeps it: heaps break up with time."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def held_memory() -> Iterator[None]:
    """Keep freed memory for the next tensors, where glibc would hand it back and be asked for it again.

    A sweep's states are of a few megabytes: without this a tenth of its time is the system's, which clears
    pages. What is kept is bounded by the peak; `give_back` still hands it over. After the outermost context
    the thresholds are those that glibc's own rule arrives at once a block of 32 MiB was freed.
    """
    global _keeping
    tune = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if tune is None:
        yield
        return
    with _LOCK:
        _keeping += 1
        tune(M_MMAP_THRESHOLD, MOST_MMAP)
        tune(M_TRIM_THRESHOLD, 2**30)
    try:
        yield
    finally:
        with _LOCK:
            _keeping -= 1
            if not _keeping:
                tune(M_TRIM_THRESHOLD, 2 * MOST_MMAP)
                give_back()


def halving(
    compute: Callable[[Sequence[Item]], T], items: Sequence[Item]
) -> Iterator[tuple[Sequence[Item], T]]:
    """(items, compute(items)), all at once; where memory does not last, in halves of halves.

    Raises UserError where one item alone is too much.
    """
    waiting = [items]
    while waiting:
        part = waiting.pop()
        try:
            result = compute(part)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(part) == 1:
                raise UserError(
                    "out of memory with one sequence at a time: give --dtype bfloat16, --device-map auto, or "
                    "a suite with a shorter context"
                ) from error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            half = len(part) // 2
            LOG.warning("out of memory with %d sequences at once: going on with %d", len(part), half)
            waiting += [part[half:], part[:half]]
            continue
        yield part, result
