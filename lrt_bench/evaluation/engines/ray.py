"""The Ray engine: workers as actors, on this machine or on a cluster's."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from lrt_bench.errors import UserError
from lrt_bench.evaluation.cells import Cell
from lrt_bench.evaluation.engines import driver
from lrt_bench.evaluation.engines.base import Engine
from lrt_bench.evaluation.engines.worker import Worker, WorkerSettings
from lrt_bench.evaluation.evaluation import Evaluation

SHORT = 40  # characters of a temporary folder: Ray's sockets below it must stay within 107


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
        """Compute every cell with this engine."""
        return run(evaluation, self)


@dataclass(frozen=True)
class Team:
    """How many workers, and what each asks for, as `ray.remote` takes it."""

    count: int
    request: dict[str, float]


def team(nodes: Sequence[dict[str, float]], device: str, wanted: Ray) -> Team:
    """Return the workers for machines with these resources; see `Ray` for the defaults."""
    cuda = device.startswith("cuda")
    gpus = wanted.gpus if wanted.gpus is not None else float(cuda)
    used = [node for node in nodes if node.get("CPU", 0.0) >= 1 and node.get("GPU", 0.0) >= gpus]
    used = used or [{"CPU": 1.0}]  # a cluster may still grow
    places = [math.floor(node.get("GPU", 0.0) / gpus) if gpus else 2 for node in used]
    count = wanted.workers or max(1, sum(places))
    each = places if wanted.workers is None else [math.ceil(count / len(used))] * len(used)
    shares = [int(node.get("CPU", 1.0)) // max(1, n) for node, n in zip(used, each, strict=True)]
    request = {"num_cpus": float(wanted.cpus or max(1, min(shares))), "num_gpus": gpus}
    if wanted.memory is not None:
        request["memory"] = wanted.memory * 2**30
    return Team(count, request)


@contextlib.contextmanager
def connected(wanted: Ray) -> Iterator[None]:
    """Connect to a cluster: this process's own, the one at the address, or a new one on this machine.

    A new one leaves nothing behind.
    """
    if ray.is_initialized():
        yield
        return
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if wanted.address is not None:
        try:
            ray.init(wanted.address, **quietly)
        except (ConnectionError, RayError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(f"--address {wanted.address}: no Ray cluster there: {reason}") from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    # other users of this machine cannot give our workers work; Ray would leave a token in the home folder
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted_cpus = (wanted.workers or 1) * (wanted.cpus or 1)
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= SHORT else "/tmp"
    folder = tempfile.mkdtemp(prefix="lrt-ray-", dir=parent)
    try:
        ray.init(
            "local",
            num_cpus=max(processors, wanted_cpus),
            include_dashboard=False,
            _temp_dir=folder,
            **quietly,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def run(evaluation: Evaluation, wanted: Ray) -> list[Cell]:
    """`Evaluation.run` by Ray workers.

    Raises UserError.
    """
    if evaluation.config.device.startswith("cuda:"):
        raise UserError(f"--device {evaluation.config.device}: Ray shares out the GPUs: give --device cuda")
    evaluation.check()  # before a cluster is started
    # what Ray prints of lost workers is no result: it goes to standard error
    with contextlib.redirect_stdout(sys.stderr), connected(wanted):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        workers = team(nodes, evaluation.config.device, wanted)
        _check_machine(workers, nodes, wanted)
        return driver.run(evaluation, _sendable(evaluation), Actors(workers))


class Actors(driver.WorkerPool):
    """Workers as Ray actors."""

    def __init__(self, team: Team) -> None:
        self.count = team.count
        options = {"max_restarts": 0, "max_task_retries": 0} | team.request
        remote: Any = ray.remote(Worker)
        self._actor = remote.options(**options)

    def share(self, value: Any) -> Any:
        """Put a value where every worker can read it."""
        return ray.put(value)

    def start_worker(self) -> Any:
        """Start a worker."""
        return self._actor.remote()

    def call(self, worker: Any, method: str, *arguments: Any) -> Any:
        """Call a worker's method; return a reference to its result."""
        return getattr(worker, method).remote(*arguments)

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Return the calls that have ended within some seconds."""
        return ray.wait(list(references), num_returns=1, timeout=seconds)[0]

    def result(self, reference: Any) -> Any:
        """Return what an ended call returned, or raise what it raised."""
        try:
            return ray.get(reference)
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError | OSError):
                raise cause from None
            raise
        except RayError as error:
            raise driver.LostWorkerError(f"Ray says: {str(error).strip().partition(chr(10))[0]}") from error

    def stop_worker(self, worker: Any) -> None:
        """End a worker."""
        with contextlib.suppress(RayError):
            ray.kill(worker)

    def why_none_started(self) -> str:
        """Say why no worker may have started."""
        resources = ", ".join(f"{value:g} {name}" for name, value in sorted(ray.cluster_resources().items()))
        return f"the cluster has {resources}"


def _check_machine(team: Team, nodes: Sequence[dict[str, float]], wanted: Ray) -> None:
    """Raise UserError where this machine alone can never have the workers; a cluster may still grow."""
    if wanted.address is not None:
        return
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if team.count * team.request["num_gpus"] > gpus:
        raise UserError(
            f"--engine ray: {team.count} workers want {team.request['num_gpus']:g} GPUs each, and {gpus:g} "
            "are here: give fewer --workers, or --worker-gpus"
        )


def _sendable(evaluation: Evaluation) -> WorkerSettings:
    """Return the settings.

    Raises UserError where lm-eval's tasks, which are code, cannot be sent.
    """
    settings = WorkerSettings.of(evaluation)
    if evaluation.side_effects is not None:
        try:
            ray.cloudpickle.dumps(evaluation.side_effects)
        except Exception as error:  # whatever a task's own objects raise
            raise UserError(
                f"--side-effects: these tasks cannot be sent to workers ({type(error).__name__}: {error}): "
                "give --engine local"
            ) from error
    return settings
