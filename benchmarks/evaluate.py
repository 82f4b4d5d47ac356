"""The whole default `lrt-bench evaluate`, as a user runs it, in a fresh folder."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock

GOAL = 45.0


def measure(settings: Settings) -> list[Line]:
    """Wall seconds, from the command to its last line."""
    few = ["--pair", "S-L", "--task", "number", "--mapping", "affine"] if settings.quick else []
    command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--device", settings.device, *few]

    def run() -> None:
        with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
            where = ["--out", str(Path(folder) / "results")]
            subprocess.run([*command, *where], check=True, capture_output=True)

    taken, _ = clock(run)
    if few:
        return [seconds("evaluate", "one row of `lrt-bench evaluate`", Timing((taken,)))]
    return [seconds("evaluate", "the default `lrt-bench evaluate`", Timing((taken,))).aims("at most", GOAL)]
