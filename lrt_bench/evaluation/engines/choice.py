"""Where cells are computed: in this process, by several of this machine, or by workers of a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrt_bench.errors import UserError
from lrt_bench.evaluation.config import option_of
from lrt_bench.evaluation.engines.base import Engine
from lrt_bench.evaluation.process_state import one_thread

if TYPE_CHECKING:
    from lrt_bench.data.suites import Suite
    from lrt_bench.evaluation.cells import Cell
    from lrt_bench.evaluation.config import RunConfig
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
        """Compute every cell with this engine."""
        if self.workers is None or self.workers == 1:
            config = evaluation.config
            small = all_small(evaluation.suite.models, config.device, config.models)
            with one_thread() if small else contextlib.nullcontext():
                return evaluation.run()
        from lrt_bench.evaluation.engines.processes import run

        return run(evaluation, self.workers)

    def prepared(self, suite: Suite, config: RunConfig) -> Engine:
        """Return the engine with its number of processes; the server that forks them is started."""
        prepared = replace(self, workers=self.workers or useful_processes(suite, config))
        if prepared.workers != 1:
            from lrt_bench.evaluation.engines.forkserver import start_server

            start_server()
        return prepared


def useful_processes(suite: Suite, config: RunConfig) -> int:
    """Return the number of processes by which an evaluation on this machine ends soonest.

    It is above 1 where every model is small and there is much to compute, or torch is not imported yet: then
    the workers' imports and this process's go on side by side. Models that are not on this disk count as
    large. A run with a judge, a classifier or lm-eval's tasks stays in one process.
    """
    in_one = (config.device_map, config.side_effects, config.judge_url, config.classifier)
    if any(in_one) or not all_small(suite.models, config.device, config.models):
        return 1
    methods = config.mappings or suite.mappings
    folders = [config.out / suite.name / pair.name for pair in suite.pairs]
    missing = sum(not (folder / f"{name}.json").exists() for folder in folders for name in methods)
    tasks = len(config.tasks or suite.tasks)
    pays = missing * tasks >= ENOUGH or (missing and "torch" not in sys.modules)
    return min(PROCESSES, _processors()) if pays else 1


def all_small(specs: Iterable[str], device: str, local: Mapping[str, str]) -> bool:
    """Whether every model is small and on this machine's processors: one thread each serves them best.

    Cells then have the same bits whether one process computes them or several do, and share what is kept.
    """
    return device == "cpu" and all(_is_small(local.get(spec.partition("@")[0], spec)) for spec in specs)


def _is_small(spec: str) -> bool:
    """Whether a model's weights lie on this disk and take at most `SMALL` bytes."""
    spec = spec.rpartition(":")[2]  # what a planted model is planted in
    if spec.startswith("nano/"):
        return True
    path = Path(spec).expanduser()
    files = [*path.glob("*.safetensors"), *path.glob("pytorch_model*.bin")] if path.is_dir() else [path]
    return path.exists() and sum(file.stat().st_size for file in files) <= SMALL


def _processors() -> int:
    """Return the number of processors that this process may use, or OMP_NUM_THREADS."""
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():
        return max(1, int(threads))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def chosen_engine(config: RunConfig) -> Engine:
    """Return the engine that the settings name.

    Raises
    ------
    UserError
        Where the engine does not know an option.
    """
    if config.engine == "ray":
        options = (config.workers, config.worker_cpus, config.worker_gpus, config.worker_memory)
        return _ray().Ray(config.address, *options)
    of_clusters = ("address", "worker_cpus", "worker_gpus", "worker_memory")
    if given := [name for name in of_clusters if getattr(config, name) is not None]:
        raise UserError(
            f"{option_of(given[0])}: the local engine does not know it: give --engine ray beside it"
        )
    return Local(config.workers)


def _ray() -> Any:
    """Return the Ray engine's module.

    Raises UserError where Ray is not installed.
    """
    # before Ray is imported: workers use this very Python, under `uv run` too, and nobody is told of it
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("lrt_bench.evaluation.engines.ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError("--engine ray: Ray is not installed: pip install 'lrt-bench[ray]'") from error
