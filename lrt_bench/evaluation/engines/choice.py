"""Where cells are computed: in this process, by several of this machine, or by workers of a Ray cluster."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrt_bench.errors import UserError
from lrt_bench.evaluation.engines.base import Engine

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite
    from lrt_bench.evaluation.cells import Cell
    from lrt_bench.evaluation.evaluation import Evaluation

PROCESSES = 4  # at most, where nobody says how many
SMALL = 64 * 2**20  # bytes of weights: a larger model uses the processors' threads well by itself
ENOUGH = 60  # tasks of cells to compute, for which it pays to start processes


@dataclass(frozen=True)
class Local(Engine):
    """On this machine.

    Parameters
    ----------
    workers : processes, which share out the cells and the processors; 1 is this very process, one cell after
        another. None: as many as `prepared` finds useful; without it, 1.
    """

    workers: int | None = 1

    def run(self, evaluation: Evaluation) -> list[Cell]:
        if self.workers is None or self.workers == 1:
            return evaluation.run()
        from lrt_bench.evaluation.engines.processes import run

        return run(evaluation, self.workers)

    def prepared(self, suite: Suite, settings: Mapping[str, Any]) -> Engine:
        found = replace(self, workers=self.workers or suited(suite, settings))
        if found.workers != 1:
            from lrt_bench.evaluation.engines.forkserver import warm

            warm()
        return found


def suited(suite: Suite, settings: Mapping[str, Any]) -> int:
    """How many processes an evaluation on this machine is done soonest by.

    Several, where every model is small and there is much to compute; it is not guessed of models that are not
    on this disk. What asks others (a judge) or is code (lm-eval's tasks) stays in one.
    """
    alone = ("device_map", "side_effects", "scorers")
    if settings.get("device", "cpu") != "cpu" or any(settings.get(name) for name in alone):
        return 1
    local = settings.get("local_models", {})
    if not all(_small(local.get(spec.partition("@")[0], spec)) for spec in suite.models):
        return 1
    methods = settings.get("mappings") or suite.mappings
    folders = [Path(settings.get("out", "results")) / suite.name / pair.name for pair in suite.pairs]
    missing = sum(not (folder / f"{name}.json").exists() for folder in folders for name in methods)
    tasks = len(settings.get("tasks") or suite.tasks)
    return min(PROCESSES, _processors()) if missing * tasks >= ENOUGH else 1


def _small(spec: str) -> bool:
    spec = spec.rpartition(":")[2]  # what a planted model is planted in
    if spec.startswith("nano/"):
        return True
    path = Path(spec).expanduser()
    files = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")] if path.is_dir() else [path]
    return path.exists() and sum(file.stat().st_size for file in files) <= SMALL


def _processors() -> int:
    """Those that this process may use, or as many threads as it is told to."""
    if (told := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return max(1, int(told))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def engine(
    name: str,
    address: str | None = None,
    workers: int | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    memory: float | None = None,
) -> Engine:
    """The engine of that name. Raises UserError where it does not know an option."""
    if name == "ray":
        return _ray().Ray(address, workers, cpus, gpus, memory)
    options = {
        "--address": address, "--worker-cpus": cpus, "--worker-gpus": gpus, "--worker-memory": memory,
    }  # fmt: skip
    if given := [option for option, value in options.items() if value is not None]:
        raise UserError(f"{given[0]}: the local engine does not know it: give --engine ray beside it")
    return Local(workers)


def _ray() -> Any:
    """The Ray engine's module. Raises UserError where Ray is not installed."""
    # before Ray is imported: workers use this very Python, under `uv run` too, and nobody is told of it
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("lrt_bench.evaluation.engines.ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("--engine ray: Ray is not installed: pip install 'lrt-bench[ray]'") from error
