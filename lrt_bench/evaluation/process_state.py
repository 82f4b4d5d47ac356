"""What a run changes of its whole process, in one place: each change is a context that puts it back.

A caller of the Python interface has its process as it was once a run has ended, however it ended.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def run_state() -> Iterator[None]:
    """Hold the process as a run computes in it: freed memory stays with the allocator."""
    from lrt_bench.models.memory import held_memory

    with held_memory():
        yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: a driver of workers computes little, and idle threads would keep others off.

    Small models gain next to nothing from a second one, and lose much on a busy machine.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Hold off the cyclic garbage collector, which would walk every object again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
