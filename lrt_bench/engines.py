"""Where cells are computed: in this process, or by workers of a Ray cluster."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lrt_bench.errors import UserError

if TYPE_CHECKING:
    from lrt_bench.cells import Cell
    from lrt_bench.evaluation import Evaluation


class Engine(ABC):
    """Runs an evaluation. Whatever the engine, cells have the same numbers and lie in the same files."""

    @abstractmethod
    def run(self, evaluation: Evaluation) -> list[Cell]:
        """Compute (or read) every cell, in the suite's order. Raises UserError as `Evaluation.run` does."""


class Local(Engine):
    """In this process, one cell after another."""

    def run(self, evaluation: Evaluation) -> list[Cell]:
        return evaluation.run()


@dataclass(frozen=True)
class Ray(Engine):
    """By workers, each a process with models of its own: several cells and corpus shards at a time.

    Parameters
    ----------
    address : of a running cluster, as `ray.init` takes it ("auto" for the one of this machine); None starts
        workers on this machine alone, and ends them with the run.
    workers : how many. By default one a GPU with --device cuda, else two a machine.
    cpus : processors, and so threads, of one worker; by default the machines' are shared out.
    gpus : GPUs of one worker; by default 1 with --device cuda, else 0.
    memory : GiB that one worker asks the cluster for; by default none are.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    memory: float | None = None

    def run(self, evaluation: Evaluation) -> list[Cell]:
        # before Ray is imported: workers use this very Python, under `uv run` too, and nobody is told of it
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            from lrt_bench.cluster.ray_engine import run
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise UserError("--engine ray: Ray is not installed: pip install 'lrt-bench[ray]'") from error
        return run(evaluation, self)


def engine(
    name: str,
    address: str | None = None,
    workers: int | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    memory: float | None = None,
) -> Engine:
    """The engine of that name. Raises UserError where it does not know an option."""
    options = {
        "--address": address, "--workers": workers, "--worker-cpus": cpus, "--worker-gpus": gpus,
        "--worker-memory": memory,
    }  # fmt: skip
    if name == "ray":
        return Ray(address, workers, cpus, gpus, memory)
    if given := [option for option, value in options.items() if value is not None]:
        raise UserError(f"{given[0]}: the local engine has no workers: give --engine ray beside it")
    return Local()
