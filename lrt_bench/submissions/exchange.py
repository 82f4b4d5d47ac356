"""One fit of a submission: what its runner is given, and what of its answer is believed.

It is given the moments whole, validation states, and the bounded sample as a stream. Believed is: a line that
a strict schema accepts, and one safetensors stream of the wanted names, shapes and types, finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from lrt_bench.errors import one_line
from lrt_bench.files.schema import Strict
from lrt_bench.files.tensors import TensorError, read_tensors
from lrt_bench.mappings import FixedLinear, Mapping
from lrt_bench.mappings.base import FitStates
from lrt_bench.mappings.moments import Moments
from lrt_bench.models.states import PairedStates
from lrt_bench.submissions.sandbox.launcher import Limits, SandboxError, SandboxProcess, frame

ROWS = 4096  # of the sample in a frame
LONGEST_MESSAGE = 400  # letters of what a submission's code raises
CUDA_LIBRARIES = 10 * 2**30  # addresses that a CUDA build of torch maps when it is imported
STACK = 256 * 2**20  # addresses that a thread takes, its share of the allocator included
NEAR = 1e-3  # of a state's norm
SLACK = 4096  # bytes that a safetensors header may add


class Reply(Strict):
    """The line before the tensors."""

    kind: Literal["linear", "queries", "failure"]
    stochastic: bool = False
    parameters: Annotated[int, Field(ge=0, le=10**13)] = 0
    message: Annotated[str, Field(max_length=2000)] = ""


@dataclass(frozen=True)
class Bases:
    """Orthogonal bases of both sides [d, d]; states are shown as x @ source.T and y @ target.T."""

    source: Tensor
    target: Tensor

    @classmethod
    def drawn(cls, d_source: int, d_target: int, seed: int) -> Bases:
        """Uniform rotations (QR of a normal matrix, its signs fixed)."""
        generator = torch.Generator().manual_seed(seed)
        sides = []
        for size in (d_source, d_target):
            q, r = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
            sides.append(q * r.diagonal().sign())
        return cls(*sides)

    def moments(self, moments: Moments) -> Moments:
        """Return moments of the states as they are shown in these bases."""
        s, t = self.source, self.target
        return replace(
            moments, mean_x=s @ moments.mean_x, mean_y=t @ moments.mean_y,
            s_xx=s @ moments.s_xx @ s.T, s_xy=s @ moments.s_xy @ t.T, products_y=t @ moments.s_yy @ t.T,
        )  # fmt: skip


def turned(states: Tensor, basis: Tensor) -> Tensor:
    """Return states [n, d] in another basis, float32."""
    return (states.double() @ basis.T).float()


def _frames(states: PairedStates, bases: Bases | None) -> Iterator[bytes]:
    """All that a runner is given, in the order in which it reads it."""
    from safetensors.torch import save

    moments = bases.moments(states.moments) if bases else states.moments
    x, y = states.validation
    if bases:
        x, y = turned(x, bases.source), turned(y, bases.target)
    names = ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy")
    tensors = {name: getattr(moments, name).cpu().contiguous() for name in names}
    counts = {"n": torch.tensor(moments.n), "sample": torch.tensor(len(states.sample))}
    yield frame(save(tensors | counts | {"validation_x": x.contiguous(), "validation_y": y.contiguous()}))
    for start in range(0, len(states.sample), ROWS):
        stop = min(start + ROWS, len(states.sample))
        part_x, part_y = (
            torch.from_numpy(side[start:stop].copy()) for side in (states.sample.x, states.sample.y)
        )
        if bases:
            part_x, part_y = turned(part_x, bases.source), turned(part_y, bases.target)
        yield frame(save({"x": part_x, "y": part_y}))
    yield frame(b"")


@dataclass(frozen=True)
class Code:
    """A submission's program: its source and the name of its class."""

    source: bytes
    class_name: str


@dataclass(frozen=True)
class Fitted:
    """What came back.

    `linear`, or `mapped`: the answers to the queries [n, d_target], float32.
    """

    stochastic: bool
    parameters: int
    linear: FixedLinear | None = None
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


def fit_in_sandbox(
    code: Code, states: PairedStates, queries: Callable[[], Tensor], seed: int, limits: Limits, isolate: bool,
    bases: Bases | None = None,
) -> Fitted:  # fmt: skip
    """Fit once in a fresh runner.

    queries : gives the source states [n, d_source] that a non-linear map is asked to map; called, and its
        result sent, only after the fit has ended.
    bases : shows both sides in other bases; what comes back is turned into the pair's own.

    Raises SandboxError with one line, IsolationError.
    """
    threads = torch.get_num_threads()  # the same number gives the same rounding
    orders: dict[str, Any] = {"class": code.class_name, "seed": seed, "threads": threads}
    room = 3 * len(states.sample) * (states.d_source + states.d_target) * 4  # the sample is held, and used
    room += threads * STACK + (CUDA_LIBRARIES if torch.version.cuda else 0)
    limits = replace(
        limits, memory=limits.memory + room, threads=threads, processes=limits.processes + 4 * threads
    )
    d_source, d_target = states.d_source, states.d_target
    with SandboxProcess(code.source, orders, limits, isolate) as process:
        process.send(_frames(states, bases))
        reply = _read_reply(process.line())
        stochastic = reply.stochastic
        if reply.kind == "linear":
            shapes = {"weight": (d_target, d_source), "bias": (d_target,)}
            tensors = _tensors(process, shapes)
            linear = _turned_back(tensors["weight"].double(), tensors["bias"].double(), bases)
            return Fitted(stochastic, linear.n_parameters, linear=linear)
        began = time.monotonic()
        query_states = queries()
        process.extend(time.monotonic() - began)  # the scorer's own time is not the submission's
        process.send(_query_frame(query_states, bases))
        mapped = _tensors(process, {"mapped": (len(query_states), d_target)})["mapped"].float()
        if bases:
            mapped = turned(mapped, bases.target.T)
        return Fitted(stochastic, reply.parameters, mapped=mapped)


def _query_frame(states: Tensor, bases: Bases | None) -> Iterator[bytes]:
    from safetensors.torch import save

    yield frame(save({"h": (turned(states, bases.source) if bases else states).contiguous()}))


def _turned_back(weight: Tensor, bias: Tensor, bases: Bases | None) -> FixedLinear:
    if bases:
        weight, bias = bases.target.T @ weight @ bases.source, bases.target.T @ bias
    return FixedLinear(weight, bias)


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
        line = data[:2000].split(b"\n", 1)[0]
        if line.startswith(b"{"):  # a failure between the first line and the tensors
            _read_reply(line)
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
        """Number of parameters, by the submission's word."""
        return self._parameters
