"""The whole default `lrt-bench evaluate`, as a user runs it, in a fresh folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock
from lrt_bench.data.suites import find_suite
from lrt_bench.evaluation.config import RunConfig
from lrt_bench.evaluation.engines.choice import useful_processes
from lrt_bench.results.storage import Result, read_result, result_files

GOAL = 45.0


def measure(settings: Settings) -> list[Line]:
    """Wall seconds, from the command to its last line."""
    few = ["--pair", "S-L", "--task", "number", "--mapping", "affine"] if settings.quick else []
    command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--device", settings.device, *few]

    def run() -> list[Result]:
        with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
            where = ["--out", str(Path(folder) / "results")]
            subprocess.run([*command, *where], check=True, capture_output=True)
            return [read_result(path) for path in result_files(Path(folder))]

    taken, results = clock(run)
    if few:
        return [seconds("evaluate", "one row of `lrt-bench evaluate`", Timing((taken,)))]
    whole = seconds("evaluate", "the default `lrt-bench evaluate`", Timing((taken,))).aims("at most", GOAL)
    processes = useful_processes(
        find_suite("nano"), RunConfig(device=settings.device, out=Path("there-is-nothing-here"))
    )
    return [whole, *_stages(results, taken, processes)]


def _stages(results: list[Result], taken: float, processes: int) -> list[Line]:
    """Where the processes' seconds went, by what the results say that they cost."""
    passes = {result.pair.name: result.cost.states_seconds for result in results if result.cost.fit_tokens}
    stages = {
        "sweeps": sum(result.cost.sweep_seconds for result in results),
        "fits": sum(result.cost.fit_seconds for result in results),
        "passes over the corpus": sum(passes.values()),
    }
    rest = "start, writing, perplexity, fidelity, intervals, figures"
    stages[rest] = taken * processes - sum(stages.values())
    note = f"of {processes * taken:.0f} s of {processes} processes"
    return [Line("evaluate", f"of which {stage}", spent, "s", note=note) for stage, spent in stages.items()]
