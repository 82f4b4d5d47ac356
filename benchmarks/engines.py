"""One Ray worker against two, and against this machine's own processes: seconds, and the greatest difference.

    OMP_NUM_THREADS=1 python benchmarks/engines.py [--suite nano] [--repeats 1] [--out benchmarks/engines.md]

Every run is a process of its own that scores the whole suite from nothing, start-up included; the engines
take turns. A worker has one thread. Of every number in every result, seconds, memory and dates aside, the
greatest difference to the local engine's is told; a word that differs ends the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENGINES = {
    "local, 1 thread": [],
    "local, 2 processes": ["--workers", "2"],
    "ray, 1 worker": ["--engine", "ray", "--workers", "1", "--worker-cpus", "1"],
    "ray, 2 workers": ["--engine", "ray", "--workers", "2", "--worker-cpus", "1"],
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def seconds(suite: str, options: list[str], out: Path) -> float:
    """Wall seconds of one whole run."""
    command = [sys.executable, "-m", "lrt_bench.cli", "evaluate", "--suite", suite, "--out", str(out)]
    environment = os.environ | dict.fromkeys(THREADS, "1")
    began = time.perf_counter()
    subprocess.run([*command, *options], env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a result, with its place."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from numbers(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from numbers(part, f"{path}[{index}]")
    else:
        yield path, value


def difference(one: Path, two: Path) -> tuple[float, int]:
    """The greatest difference between two folders of results, and how many leaves were compared."""
    files = sorted(path.relative_to(one) for path in one.rglob("*.json"))
    assert files == sorted(path.relative_to(two) for path in two.rglob("*.json")), "other cells"
    greatest, compared = 0.0, 0
    for file in files:
        sides = [json.loads((folder / file).read_text()) for folder in (one, two)]
        for side in sides:
            del side["cost"], side["provenance"]["created"], side["provenance"]["commit"]
        for (place, a), (where, b) in zip(*map(numbers, sides), strict=True):
            compared += 1
            if a == b and place == where:
                continue
            assert place == where, f"{file}{place}: a field is missing"
            assert isinstance(a, float), f"{file}{place}: {a} and {b}"
            assert isinstance(b, float), f"{file}{place}: {a} and {b}"
            greatest = max(greatest, abs(a - b))
    return greatest, compared


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--suite", default="nano")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, help="Write the table there too.")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in ENGINES}
    lines = []
    with tempfile.TemporaryDirectory(prefix="lrt-bench-engines-") as folder:
        for repeat in range(options.repeats):
            for number, (name, words) in enumerate(ENGINES.items()):
                out = Path(folder) / f"{repeat}-{number}"
                taken[name].append(seconds(options.suite, words, out))
                print(f"{name}: {taken[name][-1]:.1f} s", file=sys.stderr, flush=True)
        one = statistics.median(taken["ray, 1 worker"])
        for number, (name, durations) in enumerate(taken.items()):
            greatest, compared = difference(Path(folder) / "0-0", Path(folder) / f"0-{number}")
            median = statistics.median(durations)
            lines.append(f"| {name} | {median:.1f} | {one / median:.2f} | {greatest:.2g} of {compared:,} |")
    table = [
        f"By `benchmarks/engines.py --suite {options.suite}`, medians of {options.repeats}, on "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}.",
        "",
        "| engine | s | times as fast as one worker | greatest difference to local |",
        "| --- | --- | --- | --- |",
        *lines,
    ]
    print("\n".join(table))
    if options.out:
        options.out.write_text("\n".join(["# One worker and two", "", *table, ""]))


if __name__ == "__main__":
    main()
