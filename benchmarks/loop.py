"""The author's loop: one more linear mapping where every other row is finished, with the cache and without.

`python -m benchmarks --parts loop`. Seconds are wall time of the command as an author starts it. Every
command that computes waits for torch and transformers to be imported, whatever is kept. That floor is
measured beside them, and the goals are what a command may take beyond it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.evaluate import FEW, filled
from benchmarks.record import Line, Settings, seconds
from benchmarks.timing import Timing, clock

ONE, ALL, VECTOR = 5.0, 15.0, 3.0  # seconds beyond the imports: of one pair, all pairs, a second vector
IMPORTS = "import lrt_bench.evaluation.engines.preload"  # what a worker begins with
ROUNDS = 2
MINE = """from lrt_bench.mappings import LinearMapping
import torch

class Mine{number}(LinearMapping):
    def solve(self, states):
        moments = states.moments
        penalty = {number} * 1e-3 * moments.s_xx.diagonal().mean() * torch.eye(len(moments.s_xx)).double()
        return torch.linalg.solve(moments.s_xx + penalty, moments.s_xy).T
"""


def ran(folder: Path, *arguments: str, cache: bool = True) -> float:
    """Wall seconds of a command, its results and its cache in a folder."""
    environment = os.environ | {"LRT_BENCH_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "lrt_bench.cli", *arguments, *([] if cache else ["--no-cache"])]
    return clock(
        lambda: subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
    )[0]


def imports(rounds: int) -> Timing:
    """Wall seconds of a process that imports what any computation needs, and ends."""
    command = [sys.executable, "-c", IMPORTS]
    return Timing(tuple(clock(lambda: subprocess.run(command, check=True))[0] for _ in range(rounds)))


def beyond(title: str, spent: Timing, floor: Timing, goal: float) -> list[Line]:
    """Return a command's wall time, and what it takes beyond the imports beside its goal."""
    rest = Timing(tuple(one - floor.median for one in spent.seconds))
    return [
        seconds("loop", title, spent),
        seconds("loop", f"{title}: beyond the imports", rest).aims("at most", goal),
    ]


def one_more(folder: Path, number: int, *arguments: str, cache: bool = True) -> float:
    """Seconds of one more mapping; it is forgotten afterwards."""
    (folder / "mine.py").write_text(MINE.format(number=number))
    spent = ran(folder, "evaluate", "--mapping", f"mine.py:Mine{number}", *arguments, cache=cache)
    for path in (folder / "results").rglob("mine.Mine*"):
        path.unlink()
    return spent


def measure(settings: Settings) -> list[Line]:
    """One more mapping on one pair and on all, and a second vector over a fitted pair."""
    scope = FEW if settings.quick else ("--pair", "S-L")
    folder = filled(settings.quick, settings.device).folder
    rounds = 1 if settings.quick else ROUNDS
    with_cache = Timing(tuple(one_more(folder, n, *scope) for n in range(1, 1 + rounds)))
    without = Timing((one_more(folder, 9, *scope, cache=False),))
    floor = imports(rounds)
    lines = [
        seconds("loop", "imports that every computation waits for", floor),
        *beyond("one more linear mapping on S-L", with_cache, floor, ONE),
        seconds("loop", "the same without the cache", without),
    ]
    if not settings.quick:
        every = Timing((one_more(folder, 11),))
        lines += beyond("one more linear mapping on all pairs", every, floor, ALL)
    return lines + _vectors(folder, floor, quick=settings.quick)


def _vectors(folder: Path, floor: Timing, *, quick: bool) -> list[Line]:
    """A vector over a pair, the first time and another one afterwards."""
    sides = (
        "transfer",
        "--source",
        "nano/S:3",
        "--target",
        "nano/L:5",
        "--no-forecast" if quick else "--forecast",
    )
    for number, word in enumerate(("wonderful", "lovely")):
        (folder / f"positive{number}.txt").write_text(
            f"The sailor is {word}. It was a\nThe garden is {word}.\n"
        )
        (folder / f"negative{number}.txt").write_text(
            "The sailor is terrible. It was a\nThe garden is awful.\n"
        )
    first, second = (
        Timing((ran(folder, *sides, "--concept", f"positive{n}.txt", f"negative{n}.txt"),)) for n in range(2)
    )
    what = "a second vector over a fitted pair, its forecast with it"
    return [
        seconds("loop", "a first vector over a pair", first),
        *beyond(what, second, floor, VECTOR),
    ]
