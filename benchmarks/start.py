"""What a command costs before it computes: its first line, and what it imports.

`python -m benchmarks --parts start`. The first line of `evaluate` is timed from outside, as it is painted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock

FIRST_LINE = 1.0  # seconds: the goal
ROUNDS = 3
IMPORTS = ("torch", "transformers", "pydantic", "scipy", "pandas", "matplotlib", "rich")


def first_line() -> float:
    """Seconds from the start of `lrt-bench evaluate` to its first line on a terminal."""
    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--pair", "S-L", "--out", folder]
        mine, theirs = os.openpty()
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=folder)
        os.close(theirs)
        try:
            said = b""
            while not said.strip():
                said += os.read(mine, 4096)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()
            os.close(mine)


def imported(module: str) -> float:
    """Seconds of importing a module in a fresh process, its start left out."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure(settings: Settings) -> list[Line]:
    """The first line, the shortest command, and the imports behind them."""
    rounds = 1 if settings.quick else ROUNDS
    here = Path(__file__).parents[1]
    command = [sys.executable, "-m", "lrt_bench.cli", "--version"]
    shortest = [clock(lambda: subprocess.run(command, check=True, capture_output=True, cwd=here))[0]
                for _ in range(rounds)]  # fmt: skip
    painted = Timing(tuple(first_line() for _ in range(rounds)))
    lines = [
        seconds("start", "`lrt-bench evaluate` to its first line", painted).aims("at most", FIRST_LINE),
        seconds("start", "`lrt-bench --version`", Timing(tuple(shortest))),
    ]  # fmt: skip
    for module in IMPORTS[: 2 if settings.quick else None]:
        spent = Timing(tuple(imported(module) for _ in range(rounds)))
        lines.append(seconds("start", f"import {module}", spent))
    return lines
