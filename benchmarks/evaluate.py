"""The whole default `lrt-bench evaluate`, as a user runs it, in a fresh folder."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock
from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import useful_processes
from lrt_bench.results.storage import Result, read_result, result_files

GOAL = 45.0  # of the suite of protocol 1, which measured no behaviour
FEW = ("--pair", "S-L", "--task", "number")  # what is run where it is to be quick


@dataclass(frozen=True)
class Filled:
    """A folder in which the command was run: ``results``, and ``cache``, which was empty before."""

    folder: Path
    seconds: float


@functools.cache  # the parts `evaluate` and `loop` are of one run
def filled(quick: bool, device: str) -> Filled:
    """Run the default evaluation, or a row of it, in a folder that goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="lrt-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    few = [*FEW, "--mapping", "affine"] if quick else []
    command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--device", device, *few]
    own = os.environ | {"LRT_BENCH_CACHE": str(folder / "cache")}

    def run() -> object:
        where = ["--out", str(folder / "results")]
        return subprocess.run([*command, *where], check=True, capture_output=True, env=own)

    return Filled(folder, clock(run)[0])


def measure(settings: Settings) -> list[Line]:
    """Wall seconds, from the command to its last line; nothing was kept of earlier runs."""
    done = filled(settings.quick, settings.device)
    if settings.quick:
        return [seconds("evaluate", "one row of `lrt-bench evaluate`", Timing((done.seconds,)))]
    results = [read_result(path) for path in result_files(done.folder / "results")]
    whole = seconds("evaluate", "the default `lrt-bench evaluate`", Timing((done.seconds,)))
    processes = useful_processes(
        find_suite("nano"), RunConfig(device=settings.device, out=Path("there-is-nothing-here"))
    )
    return [whole.aims("at most", GOAL), *_stages(results, done.seconds, processes)]


def _stages(results: list[Result], taken: float, processes: int) -> list[Line]:
    """Where the processes' seconds went, by what the results say that they cost."""
    passes = {result.pair.name: result.cost.states_seconds for result in results if result.cost.fit_tokens}
    stages = {
        "sweeps": sum(result.cost.sweep_seconds for result in results),
        "fits": sum(result.cost.fit_seconds for result in results),
        "passes over the corpus": sum(passes.values()),
    }
    rest = "start, behaviour, writing, perplexity, fidelity, intervals, figures"
    stages[rest] = taken * processes - sum(stages.values())
    note = f"of {processes * taken:.0f} s of {processes} processes"
    return [Line("evaluate", f"of which {stage}", spent, "s", note=note) for stage, spent in stages.items()]
