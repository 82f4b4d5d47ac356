"""The Ray engine: workers as actors; units handed to whoever is free; lost workers replaced.

A worker keeps to its pair, whose models it has loaded, as long as that pair has something to do; then it
begins one that nobody has, or else helps where the fewest are.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from lrt_bench import __version__
from lrt_bench.cells import Cell
from lrt_bench.cluster.pair import PairRun, Unit
from lrt_bench.cluster.worker import Settings, Worker, code_digest
from lrt_bench.errors import UserError
from lrt_bench.evaluation import STATES_WEIGHT, Evaluation, rows_of

if TYPE_CHECKING:
    from lrt_bench.engines import Ray

LOG = logging.getLogger("lrt_bench")
ATTEMPTS = 3  # workers that one unit may lose before the run ends
START_SECONDS = 600.0  # for which no worker may be there
SHORT = 40  # characters of a temporary folder: Ray's sockets below it must stay within 107


@dataclass(frozen=True)
class Crew:
    """How many workers, and what each asks for, as `ray.remote` takes it."""

    count: int
    request: dict[str, float]


def crew(nodes: Sequence[dict[str, float]], device: str, wanted: Ray) -> Crew:
    """The workers for machines with these resources; see `engines.Ray` for the defaults."""
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
    return Crew(count, request)


@contextlib.contextmanager
def connected(wanted: Ray) -> Iterator[None]:
    """A cluster: one that this process is in already, the one at the address, or one of this machine's own.

    The last leaves nothing behind.
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
    asked = (wanted.workers or 1) * (wanted.cpus or 1)
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= SHORT else "/tmp"
    folder = tempfile.mkdtemp(prefix="lrt-ray-", dir=parent)
    try:
        ray.init(
            "local", num_cpus=max(processors, asked), include_dashboard=False, _temp_dir=folder, **quietly
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def run(evaluation: Evaluation, wanted: Ray) -> list[Cell]:
    """`Evaluation.run` by Ray workers. Raises UserError."""
    if evaluation.device.startswith("cuda:"):
        raise UserError(f"--device {evaluation.device}: Ray shares out the GPUs: give --device cuda")
    rows, chosen = evaluation.rows(), evaluation.checked_tasks()
    # what Ray prints of lost workers is no result: it goes to standard error
    with contextlib.redirect_stdout(sys.stderr), connected(wanted):
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        team = crew(nodes, evaluation.device, wanted)
        _check_machine(team, nodes, wanted)
        pairs = [
            PairRun(
                evaluation, number, pair, evaluation.tasks_of(pair, chosen), rows_of(pair, rows),
                ray.put, ahead=2 * team.count + 2,
            )
            for number, pair in enumerate(evaluation.suite.pairs)
        ]  # fmt: skip
        job = _Run(evaluation, pairs, team, ray.put(_sendable(evaluation)))
        try:
            job.run()
        finally:
            job.end()
    evaluation.failures = [failure for pair in pairs for failure in pair.failures.values()]
    return [pair.cells[row.name] for pair in pairs for row in pair.rows if row.name in pair.cells]


def _check_machine(team: Crew, nodes: Sequence[dict[str, float]], wanted: Ray) -> None:
    """Raise UserError where this machine alone can never have the workers; a cluster may still grow."""
    if wanted.address is not None:
        return
    there = sum(node.get("GPU", 0.0) for node in nodes)
    if team.count * team.request["num_gpus"] > there:
        raise UserError(
            f"--engine ray: {team.count} workers want {team.request['num_gpus']:g} GPUs each, and {there:g} "
            "are here: give fewer --workers, or --worker-gpus"
        )


def _sendable(evaluation: Evaluation) -> Settings:
    """The settings. Raises UserError where lm-eval's tasks, which are code, cannot be sent."""
    settings = Settings.of(evaluation)
    if evaluation.side_effects is not None:
        try:
            ray.cloudpickle.dumps(evaluation.side_effects)
        except Exception as error:  # whatever a task's own objects raise
            raise UserError(
                f"--side-effects: these tasks cannot be sent to workers ({type(error).__name__}: {error}): "
                "give --engine local"
            ) from error
    return settings


@dataclass(eq=False)
class _Hand:
    """A worker as the driver sees it: what it is at, and of which pair it has the models."""

    actor: Any
    reference: Any
    unit: Unit | None = None
    pair: PairRun | None = None
    about: bool = False
    ready: bool = False


class _Run:
    """The driver's loop."""

    def __init__(self, evaluation: Evaluation, pairs: list[PairRun], team: Crew, settings: Any) -> None:
        self.evaluation, self.pairs, self.settings = evaluation, pairs, settings
        options = {"max_restarts": 0, "max_task_retries": 0} | team.request
        remote: Any = ray.remote(Worker)
        self._actor = remote.options(**options)
        self._seen = time.monotonic()  # when a worker was last known to be there
        self._lost = 0  # workers that were lost before they were ready
        self._total = sum(STATES_WEIGHT + len(pair.rows) for pair in pairs)
        self.hands = [self._hired() for _ in range(team.count)]

    def run(self) -> None:
        """Until every pair is done."""
        while not all(pair.done for pair in self.pairs):
            for hand in self.hands:
                if hand.ready and hand.reference is None:
                    self._hand_out(hand)
            for pair in self.pairs:
                pair.prepare()
            busy = {hand.reference: hand for hand in self.hands if hand.reference is not None}
            for reference in ray.wait(list(busy), num_returns=1, timeout=1.0)[0]:
                self._take_in(busy[reference])
            self._check_start()
        self.evaluation.report("done", self._total, self._total)

    def end(self) -> None:
        """Let the workers go, whatever they are at."""
        for hand in self.hands:
            with contextlib.suppress(RayError):
                ray.kill(hand.actor)

    def _hired(self) -> _Hand:
        actor = self._actor.remote()
        return _Hand(actor, actor.about.remote())

    def _hand_out(self, hand: _Hand) -> None:
        """Give a free worker the next unit, of its own pair if that has one."""
        crowd = {pair: sum(other.pair is pair for other in self.hands) for pair in self.pairs}
        for pair in sorted(self.pairs, key=lambda pair: (pair is not hand.pair, crowd[pair], pair.number)):
            if unit := pair.next():
                hand.unit, hand.pair = unit, pair
                hand.reference = getattr(hand.actor, unit.call).remote(pair.task, *unit.arguments)
                self._report(unit)
                return

    def _take_in(self, hand: _Hand) -> None:
        try:
            found = ray.get(hand.reference)
        except RayTaskError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, UserError | OSError):
                raise cause from None
            raise
        except RayError as error:
            self._replace(hand, error)
            return
        self._seen = time.monotonic()
        unit, hand.unit, hand.reference = hand.unit, None, None
        if unit is not None:
            unit.pair.take(unit, found)
            self._report(next((other.unit for other in self.hands if other.unit), unit))
        elif not hand.about:
            check_version(*found)
            hand.about, hand.reference = True, hand.actor.begin.remote(self.settings)
        else:
            hand.ready = True

    def _replace(self, hand: _Hand, error: RayError) -> None:
        """Another worker in the place of a lost one; what it was at is done again.

        Raises UserError where the same work has lost several.
        """
        reason = str(error).strip().partition("\n")[0]
        unit = hand.unit
        if unit is None:
            self._lost += 1
            lost, what = self._lost, "starting"
        else:
            unit.lost += 1
            lost, what = unit.lost, str(unit)
            unit.pair.put_back(unit)
        if lost >= ATTEMPTS:
            raise UserError(
                f"{what}: its worker was lost {lost} times; too little memory for {len(self.hands)} workers? "
                f"Give fewer --workers. Ray says: {reason}"
            )
        LOG.warning("%s: its worker was lost; another one does it again", what)
        with contextlib.suppress(RayError):
            ray.kill(hand.actor)
        self.hands[self.hands.index(hand)] = self._hired()

    def _check_start(self) -> None:
        """Raise UserError where no worker has been there for long: the cluster has no room for one."""
        if any(hand.ready for hand in self.hands):
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > START_SECONDS:
            there = ", ".join(f"{value:g} {name}" for name, value in sorted(ray.cluster_resources().items()))
            raise UserError(f"--engine ray: no worker has started in {START_SECONDS:g} s; there is {there}")

    def _report(self, unit: Unit) -> None:
        """What is being done, and by how many others besides."""
        others = sum(hand.unit not in (None, unit) for hand in self.hands)
        done = sum(pair.progress for pair in self.pairs)
        self.evaluation.report(f"{unit}{f' (+{others})' if others else ''}", done, self._total)


def check_version(version: str, digest: str, host: str, process: int) -> None:
    """Raise UserError where a worker would compute with other code."""
    if version != __version__ or digest != code_digest():
        which = f"lrt-bench {version}" if version != __version__ else f"other code of lrt-bench {version}"
        raise UserError(
            f"worker on {host} (process {process}): it runs {which}, this is {__version__}: install the same "
            "on every machine"
        )
