"""One fit of a submission: what its runner is given, and what of its answer is believed.

It is given the moments whole, validation states, and the bounded sample as a stream. Believed is: a line that
a strict schema accepts, and one safetensors stream of the wanted names, shapes and types, finite.

A fit never sees a query. What a map that is not linear learned comes back as tensors and a small rest. They
are counted and not opened here. Fresh runners, which have seen neither states nor other queries, answer from
them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from lrt_bench.errors import one_line
from lrt_bench.files.schema import Strict
from lrt_bench.files.tensors import TensorError, count_numbers, read_tensors
from lrt_bench.mappings import FixedLinear, Mapping
from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.states import PairedStates
from lrt_bench.submissions.sandbox.launcher import Limits, SandboxError, SandboxProcess, frame
from lrt_bench.submissions.views import View

ROWS = 4096  # of the sample in a frame
LONGEST_MESSAGE = 400  # letters of what a submission's code raises
CUDA_LIBRARIES = 10 * 2**30  # addresses that a CUDA build of torch maps when it is imported
STACK = 256 * 2**20  # addresses that a thread takes, its share of the allocator included
NEAR = 1e-3  # of a state's norm
FIRST = 0.35  # of the queries at least are answered by either of two runners
LEFT_LIMIT = 2**29  # bytes that a fit may leave
REST_LIMIT = 65_536  # bytes of it that are no tensors: names, settings, the structure of modules
PLAIN = 8_192  # bytes of the rest that are taken to be structure
SLACK = 4096  # bytes that a safetensors header may add


Equivariance = Literal["orthogonal", "linear"]


class Reply(Strict):
    """The line before the tensors."""

    kind: Literal["linear", "left", "mapped", "failure"]
    stochastic: bool = False
    equivariance: Equivariance = "orthogonal"
    message: Annotated[str, Field(max_length=2000)] = ""


def _frames(states: PairedStates, view: View | None) -> Iterator[bytes]:
    """All that a runner is given to fit, in the order in which it reads it."""
    from safetensors.torch import save

    kept = torch.arange(len(states.sample)) if view is None or view.kept is None else view.kept
    whole = shown(states, view) if view else states
    moments, (x, y) = whole.moments, whole.validation
    names = ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy")
    tensors = {name: getattr(moments, name).cpu().contiguous() for name in names}
    counts = {"n": torch.tensor(moments.n), "sample": torch.tensor(len(kept))}
    yield frame(save(tensors | counts | {"validation_x": x.contiguous(), "validation_y": y.contiguous()}))
    for rows in kept.split(ROWS):
        part_x, part_y = _rows(states, rows)
        if view:
            part_x, part_y = view.source.shown(part_x), view.targets(part_y, int(rows[0]))
        yield frame(save({"x": part_x, "y": part_y}))
    yield frame(b"")


def shown(states: PairedStates, view: View) -> PairedStates:
    """Return moments and validation states as a fit is shown them; the sample is left as it is."""
    kept = torch.arange(len(states.sample)) if view.kept is None else view.kept
    x, y = states.validation
    return replace(
        states,
        moments=view.moments(states.moments, _left_out(states, kept)),
        validation=(view.source.shown(x), view.targets(y, len(states.sample))),
    )


def _rows(states: PairedStates, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return copies of some rows of the sample."""
    return torch.from_numpy(states.sample.x[rows.numpy()]), torch.from_numpy(states.sample.y[rows.numpy()])


def _left_out(states: PairedStates, kept: Tensor) -> Moments | None:
    """Return the moments of the sample's rows that are not kept; None where all are."""
    rest = torch.ones(len(states.sample), dtype=torch.bool)
    rest[kept] = False
    if not bool(rest.any()):
        return None
    moments = Moments.zeros(states.d_source, states.d_target)
    for rows in rest.nonzero()[:, 0].split(ROWS):
        moments.update(*(side.double() for side in _rows(states, rows)))
    return moments


@dataclass(frozen=True)
class Code:
    """A submission's program: its source and the name of its class."""

    source: bytes
    class_name: str


@dataclass(frozen=True)
class Left:
    """What a fit left: its tensors as safetensors, and the rest of it, which only a cell may open."""

    tensors: bytes
    rest: bytes

    @property
    def parameters(self) -> int:
        """How many numbers it holds; what the rest holds beyond `PLAIN` bytes is counted as numbers too."""
        return count_numbers(self.tensors) + max(0, len(self.rest) - PLAIN) // 4


@dataclass(frozen=True)
class Fitted:
    """What came back.

    `linear`, or `left` and `mapped`: the answers to the queries [n, d_target], float32.

    equivariance : what the method says that it follows, beside orthogonal changes of basis.
    """

    stochastic: bool
    parameters: int
    equivariance: Equivariance = "orthogonal"
    linear: FixedLinear | None = None
    left: Left | None = None
    mapped: Tensor | None = None

    def distance(self, other: Fitted) -> float:
        """Largest difference between two fits, relative to the first one's size; inf if of two kinds."""
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.linear and other.linear:
            pairs = [(self.linear.weight, other.linear.weight), (self.linear.bias, other.linear.bias)]
        elif self.mapped is not None and other.mapped is not None:
            pairs = [(self.mapped.double(), other.mapped.double())]
        if not pairs:
            return float("inf")
        return max(float((a - b).norm() / a.norm().clamp_min(1e-300)) for a, b in pairs)


@dataclass(frozen=True)
class Runner:
    """How a submission's code is run: in cells of its own, within limits.

    seed : all that is random in it follows from it.
    """

    code: Code
    limits: Limits
    isolate: bool
    seed: int

    def started(self, work: str, numbers: int) -> SandboxProcess:
        """Return a fresh runner for a piece of work that holds so many float32 numbers."""
        threads = torch.get_num_threads()  # the same number gives the same rounding
        orders = {"work": work, "class": self.code.class_name, "seed": self.seed, "threads": threads}
        room = 3 * 4 * numbers + threads * STACK  # what is given is held, and used
        room += CUDA_LIBRARIES if torch.version.cuda else 0
        limits = replace(
            self.limits, memory=self.limits.memory + room, threads=threads,
            processes=self.limits.processes + 4 * threads,
        )  # fmt: skip
        return SandboxProcess(self.code.source, orders, limits, self.isolate)

    def fit(self, states: PairedStates, view: View | None = None) -> Fitted:
        """Fit once; a map that is not linear is not asked yet.

        view : how both sides are shown; a linear map comes back as one of the pair's own states.

        Raises SandboxError with one line, IsolationError.
        """
        d_source, d_target = states.d_source, states.d_target
        with self.started("fit", len(states.sample) * (d_source + d_target)) as process:
            process.send(_frames(states, view))
            reply = _read_reply(process.line())
            if reply.kind == "linear":
                tensors = _tensors(process, {"weight": (d_target, d_source), "bias": (d_target,)})
                both = tensors["weight"].double(), tensors["bias"].double()
                linear = FixedLinear(*(view.weight_back(*both) if view else both))
                return Fitted(reply.stochastic, linear.n_parameters, reply.equivariance, linear)
            left = _read_left(process.rest(LEFT_LIMIT))
            return Fitted(reply.stochastic, left.parameters, reply.equivariance, left=left)

    def answers(self, left: Left, states: Tensor, d_target: int, view: View | None = None) -> Tensor:
        """Return what a fitted map gives for states [n, d_source]: [n, d_target], float32.

        The states go in random order, cut at random, to two fresh runners. Neither sees the other's states.

        Raises SandboxError with one line.
        """
        mapped = torch.empty(len(states), d_target)
        cut = round(len(states) * (FIRST + (1 - 2 * FIRST) * secrets.randbelow(1000) / 1000))
        for rows in secret_order(len(states)).tensor_split([cut]):
            if len(rows):
                mapped[rows] = self._answered(left, states[rows], d_target, view)
        return mapped

    def _answered(self, left: Left, states: Tensor, d_target: int, view: View | None) -> Tensor:
        from safetensors.torch import save

        asked = (view.source.shown(states) if view else states).contiguous()
        with self.started("answer", asked.numel() + len(left.tensors) // 4) as process:
            process.send([frame(left.rest), frame(left.tensors), frame(save({"h": asked}))])
            _read_reply(process.line())
            mapped = _tensors(process, {"mapped": (len(asked), d_target)})["mapped"].float()
        return view.target.back(mapped) if view else mapped


def secret_order(count: int) -> Tensor:
    """Return a random order of so many rows, which follows from nothing that anybody knows."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(secrets.randbits(62)))


def fit_in_sandbox(
    runner: Runner, states: PairedStates, queries: Callable[[], Tensor], view: View | None = None
) -> Fitted:
    """Fit once in a fresh runner; a map that is not linear then answers the queries in others.

    queries : gives the source states [n, d_source] that such a map is asked to map; called after the fit.

    Raises SandboxError with one line, IsolationError.
    """
    fitted = runner.fit(states, view)
    if fitted.left is None:
        return fitted
    return replace(fitted, mapped=runner.answers(fitted.left, queries(), states.d_target, view))


def _read_left(data: bytes) -> Left:
    """Read what a fit left: eight bytes that say how long the rest is, the rest, safetensors."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(REST_LIMIT, len(data) - 8):
        _raise_if_failed(data)
        raise SandboxError(
            f"left more than {REST_LIMIT} bytes beside its tensors: keep what is learned in tensors"
        )
    left = Left(data[8 + size :], data[8 : 8 + size])
    try:
        count_numbers(left.tensors)
    except TensorError as error:
        _raise_if_failed(data)
        raise SandboxError(f"answered junk: {error}") from error
    return left


def _raise_if_failed(data: bytes) -> None:
    """Raise the failure that a runner told between its first line and the tensors."""
    line = data[:2000].split(b"\n", 1)[0]
    if line.startswith(b"{"):
        _read_reply(line)


def _read_reply(line: bytes) -> Reply:
    try:
        reply = Reply.model_validate_json(line)
    except ValidationError as error:
        raise SandboxError("answered junk") from error
    if reply.kind == "failure":
        raise SandboxError(one_line(reply.message, LONGEST_MESSAGE))
    return reply


def _tensors(process: SandboxProcess, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    numbers = sum(torch.Size(shape).numel() for shape in shapes.values())
    data = process.rest(8 * numbers + SLACK)
    try:
        return read_tensors(data, shapes)
    except TensorError as error:
        _raise_if_failed(data)
        raise SandboxError(f"answered junk: {error}") from error


class Answered(Mapping):
    """A non-linear submission, as its answers to the queries: it knows these states and no others."""

    def __init__(self, queries: Tensor, mapped: Tensor, parameters: int) -> None:
        self._queries, self._mapped, self._parameters = queries.contiguous(), mapped, parameters
        self._answers = {row.tobytes(): index for index, row in enumerate(self._queries.numpy())}

    def fit(self, states: FitStates) -> None:
        """Do nothing: it was fitted in the runner."""

    def __call__(self, h: Tensor) -> Tensor:
        """Return the answers to states that were among the queries.

        Raises ValueError for others.
        """
        rows = h.float().cpu().contiguous().reshape(-1, h.shape[-1])
        index = [self._answers.get(row.tobytes(), -1) for row in rows.numpy()]
        places = torch.tensor(index, dtype=torch.long)
        if bool((unknown := places < 0).any()):
            places[unknown] = self._nearest(rows[unknown])
        return self._mapped[places].reshape(*h.shape[:-1], -1)

    def _nearest(self, rows: Tensor) -> Tensor:
        """States that some accelerators compute a little differently each time: the query next to each."""
        index = torch.cdist(rows, self._queries).argmin(1)
        distance = (rows - self._queries[index]).norm(dim=1)  # cdist's own lose digits to cancellation
        if bool((distance > NEAR * rows.norm(dim=1)).any()):
            raise ValueError("a state that was not among the queries")
        return index

    @property
    def n_parameters(self) -> int:
        """Number of parameters, counted from what the fit left."""
        return self._parameters
