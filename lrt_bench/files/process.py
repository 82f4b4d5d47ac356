"""Settings of the whole Python process that a run may change, each put back when the run is over."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect no cycles meanwhile: scanning hundreds of thousands of small records over and over costs time.

    Nested, and where collection was off before, it stays as it was.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@contextlib.contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """Let no thread keep the others waiting for longer than this."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
