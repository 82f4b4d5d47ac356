"""Several contenders timed in turn in one run, so that a busy minute of the machine hits them all."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Timing:
    """Wall seconds of each repetition."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def low(self) -> float:
        return min(self.seconds)

    @property
    def high(self) -> float:
        return max(self.seconds)

    def times(self, factor: float) -> Timing:
        """The seconds of `factor` times the work."""
        return Timing(tuple(factor * value for value in self.seconds))


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of one call, a GPU's queue emptied before and after, and what it gave."""
    _settle()
    began = time.perf_counter()
    result = work()
    _settle()
    return time.perf_counter() - began, result


def interleaved(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, budget: float = 1e9
) -> tuple[dict[str, Timing], dict[str, Any]]:
    """Time every contender once a round; the order turns from round to round.

    At least one round, at most `rounds`, and no further one where it would not end within `budget` seconds.
    Returns the timings, and what each contender gave in the last round.
    """
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    results: dict[str, Any] = {}
    began = time.perf_counter()
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            taken, results[name] = clock(contenders[name])
            seconds[name].append(taken)
        spent = time.perf_counter() - began
        if spent + spent / (number + 1) > budget:
            break
    return {name: Timing(tuple(values)) for name, values in seconds.items()}, results


def _settle() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> dict[str, str]:
    """What the figures were measured on; no name of a host, no path."""
    import transformers

    facts = {
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "processor": _processor(),
        "vector unit": torch.backends.cpu.get_cpu_capability(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _processor() -> str:
    """The processor's model name, and whether it multiplies bfloat16 by itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in values.items()}
    flags = named.get("flags", "").split()
    units = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    return " ".join([named.get("model name", platform.machine()), *units])
