"""Peak memory of the pass over a corpus, against the corpus's length. Each length in a process of its own.

python -m benchmarks.memory TOKENS      prints the tokens read and the peak of resident memory, in bytes
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

from benchmarks.record import Line, Settings

TIMES = (1, 4, 16)
FLAT = 5.0  # per cent over the shortest corpus
STRIDE = 0.25  # seconds between two looks at the memory


def resident() -> int:
    """Bytes of this process that lie in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def over_time(tokens: int, sample: int) -> dict[str, object]:
    """Collect states of the embedded S and L on `tokens` tokens; the peak, and the memory as it went."""
    from benchmarks.models import embedded_pair
    from lrt_bench.data.corpus import Budget, Corpus
    from lrt_bench.evaluation.provenance import peak_memory
    from lrt_bench.models.states import collect

    source, target = embedded_pair("cpu")
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(STRIDE):
            seen.append(resident())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    began = time.perf_counter()
    states = collect(source, target, Corpus("nano"), Budget(tokens, 5_000, sample))
    spent = time.perf_counter() - began
    over.set()
    watcher.join()
    peak = peak_memory("cpu")
    return {"tokens": states.tokens, "peak": peak, "seconds": spent, "resident": seen}


def measure(settings: Settings) -> list[Line]:
    """The peak at 1, 4 and 16 times the corpus, and how far the longest lies over the shortest."""
    base = 1_000 if settings.quick else 30_000
    peaks, lines = [], []
    for times in TIMES[:2] if settings.quick else TIMES:
        command = [sys.executable, "-m", "benchmarks.memory", str(base * times), str(base)]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]
        )
        report = json.loads(done.stdout)
        peaks.append(report["peak"])
        note = f"{report['tokens']:,} tokens read, {report['seconds']:.1f} s"
        lines.append(
            Line("memory", f"peak of a pass over {times}x the corpus", peaks[-1] / 1e6, "MB", note=note)
        )
    growth = 100 * (max(peaks) / peaks[0] - 1)
    what = f"growth of the peak from 1x to {TIMES[len(peaks) - 1]}x"
    return [*lines, Line("memory", what, growth, "%").aims("at most", FLAT)]


if __name__ == "__main__":
    print(json.dumps(over_time(int(sys.argv[1]), int(sys.argv[2]))))
