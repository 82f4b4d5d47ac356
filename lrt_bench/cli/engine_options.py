"""Options that say where cells are computed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True,
        help="Compute here, or by workers of a Ray cluster.",
    ),
    click.option("--address", help="The cluster's, for instance auto; without it workers of this machine."),
    click.option("--workers", type=click.IntRange(min=1), help="Processes to share the work.  [as it pays]"),
    click.option("--worker-cpus", type=click.IntRange(min=1), help="Processors of one worker."),
    click.option("--worker-gpus", type=click.FloatRange(min=0), help="GPUs of one worker."),
    click.option("--worker-memory", type=click.FloatRange(min=0), help="GiB that one worker asks for."),
)  # fmt: skip


def running(command: Command) -> Command:
    """The command with `OPTIONS`; it is given the `engine` that they name."""

    @functools.wraps(command)
    def run(
        engine: str,
        address: str | None,
        workers: int | None,
        worker_cpus: int | None,
        worker_gpus: float | None,
        worker_memory: float | None,
        **others: Any,
    ) -> Any:
        from lrt_bench.evaluation.engines import choice as engines

        chosen = engines.engine(engine, address, workers, worker_cpus, worker_gpus, worker_memory)
        return command(engine=chosen, **others)

    for option in reversed(OPTIONS):
        run = option(run)
    return run  # type: ignore[return-value]
