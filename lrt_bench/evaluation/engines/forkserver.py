"""The process that workers of this machine are forked from, which has imported what they need.

It is begun before the driver imports anything heavy itself, so that the two go on side by side.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import BaseContext

PRELOAD = ["lrt_bench.evaluation.engines.preload"]


def context() -> BaseContext:
    """Where forks are unsafe or unknown, every worker is a fresh process, which imports all for itself."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if forks else "spawn")


def start_server() -> None:
    """Start the server, if it does not run yet."""
    started = context()
    if started.get_start_method() == "forkserver":
        from multiprocessing import forkserver

        started.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
