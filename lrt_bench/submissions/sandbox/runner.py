"""Runs inside the sandbox: the only importer of a stranger's code.

Started by `jail.py` as ``python -I -S runner.py``. It reads frames from standard input, its orders first, and
writes one reply to descriptor 3. Its work is one of two:

- fit: it reads the moments and validation states, the sample in pieces, an empty frame. A linear map is told
  as a line of JSON, then weight and bias as one safetensors stream; any other map as a line of JSON, then
  what the fit left (`carry`);
- answer: it reads what a fit left and one frame of source states, and writes a line of JSON and the mapped
  states as one safetensors stream. It never reads what maps are fitted on.

A failure is a line of JSON that says what failed. It is given states alone: no vectors, labels, prompts,
results or names of a pair. What it sends is checked by the scorer, who trusts none of it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import io
import json
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from lrt_bench.mappings.base import Mapping
    from lrt_bench.mappings.moments import Moments

OUT = 3
LINEAR_TOLERANCE = 1e-3  # of the output's size: float32 rounding stays far below


def filter_calls(steps: list[list[int]], seccomp: int) -> None:
    """Put a seccomp filter over every thread, a second wall."""
    packed = b"".join(struct.pack("=HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(packed, len(packed))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, ctypes.c_ulong(1), *(ctypes.c_ulong(0),) * 3)  # no_new_privs, which a filter wants
    whole = Program(len(steps), ctypes.cast(code, ctypes.c_void_p))
    every_thread = ctypes.c_ulong(1)
    if libc.syscall(ctypes.c_long(seccomp), ctypes.c_ulong(1), every_thread, ctypes.byref(whole)) != 0:
        raise OSError(ctypes.get_errno(), "seccomp filter")


def read_exactly(size: int) -> bytearray:
    """Read so many bytes from standard input.

    Raises EOFError where fewer come.
    """
    data = bytearray()
    while len(data) < size:
        part = os.read(0, min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return data


def read_frame() -> bytes:
    """Return a frame: eight bytes that say its length, then it."""
    return bytes(read_exactly(int.from_bytes(read_exactly(8), "little")))


def write_all(data: bytes) -> None:
    """Write bytes to the scorer."""
    view = memoryview(data)
    while view:
        view = view[os.write(OUT, view) :]


def say(**fields: Any) -> None:
    """Write a line of JSON to the scorer."""
    write_all(json.dumps(fields).encode() + b"\n")


@dataclass
class Sample:
    """The bounded sample, as the built-in mappings know it: its length, and x and y [n, d] in float32."""

    x: Any
    y: Any

    def __len__(self) -> int:
        return len(self.x)


@dataclass
class States:
    """What a submission is fitted on; the order of its batches is that of `PairedStates`."""

    moments: Moments
    sample: Sample
    validation: tuple[Tensor, Tensor]

    @property
    def tokens(self) -> int:
        """Number of fit pairs."""
        return self.moments.n

    @property
    def d_source(self) -> int:
        """Width of the source states."""
        return len(self.moments.mean_x)

    @property
    def d_target(self) -> int:
        """Width of the target states."""
        return len(self.moments.mean_y)

    def batches(self, size: int = 512, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch over the sample in a shuffled order; it can be iterated again."""
        import numpy as np
        import torch

        order = np.random.default_rng(seed).permutation(len(self.sample))
        for start in range(0, len(order), size):
            rows = np.sort(order[start : start + size])
            yield torch.from_numpy(self.sample.x[rows]), torch.from_numpy(self.sample.y[rows])


def read_states() -> States:
    """Read the moments, validation states and sample from standard input."""
    import numpy as np
    import safetensors.torch

    from lrt_bench.mappings.moments import Moments

    first = safetensors.torch.load(read_frame())
    names = ("mean_x", "mean_y", "s_xx", "s_xy", "s_yy")
    moments = Moments(int(first["n"]), *(first[name] for name in names))
    size = int(first["sample"])
    x = np.empty((size, len(moments.mean_x)), np.float32)
    y = np.empty((size, len(moments.mean_y)), np.float32)
    start = 0
    while frame := read_frame():
        part = safetensors.torch.load(frame)
        rows = len(part["x"])
        x[start : start + rows], y[start : start + rows] = part["x"].numpy(), part["y"].numpy()
        start += rows
    return States(moments, Sample(x, y), (first["validation_x"], first["validation_y"]))


def import_mapping(path: str, name: str) -> type[Mapping]:
    """Import the submission's class; its code runs."""
    spec = importlib.util.spec_from_file_location("mapping", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mapping"] = module
    spec.loader.exec_module(module)
    method: type[Mapping] = getattr(module, name)
    return method


def linear_parts(mapping: Mapping, states: States) -> tuple[Tensor, Tensor] | None:
    """Return the weight and bias of a linear map, each read once: by its class, or where outputs agree."""
    from torch import Tensor

    from lrt_bench.mappings.base import LinearMapping

    weight, bias = getattr(mapping, "weight", None), getattr(mapping, "bias", None)
    if isinstance(mapping, LinearMapping):
        return _fixed(weight), _fixed(bias)
    want = (states.d_target, states.d_source)
    if not (isinstance(weight, Tensor) and isinstance(bias, Tensor)):
        return None
    if tuple(weight.shape) != want or tuple(bias.shape) != want[:1]:
        return None
    weight, bias = _fixed(weight), _fixed(bias)
    x = states.validation[0][:64].clone()
    said = mapping(x).double()
    meant = x.double() @ weight.T + bias
    agrees = bool((said - meant).norm() <= LINEAR_TOLERANCE * said.norm())
    return (weight, bias) if agrees else None


def _fixed(tensor: Any) -> Tensor:
    fixed: Tensor = tensor.detach().double().contiguous().clone()
    return fixed


def carry(mapping: Mapping) -> bytes:
    """Return what a fit left: eight bytes that say how long the rest is, the rest, its tensors.

    The rest is a pickle without tensors and arrays. Only a cell ever opens it; the scorer counts the tensors.
    """
    import numpy as np
    import safetensors.torch
    import torch

    tensors: list[torch.Tensor] = []
    places: dict[int, int] = {}
    held: list[Any] = []  # alive while their identities are in use

    class Carrier(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            is_array = isinstance(item, np.ndarray) and item.dtype.kind in "fiub"
            if not isinstance(item, torch.Tensor) and not is_array:
                return None
            if id(item) not in places:
                places[id(item)] = len(tensors)
                held.append(item)
                tensor = torch.from_numpy(item.copy()) if is_array else item.detach().cpu()
                tensors.append(tensor.contiguous().clone())
            kind = "array" if is_array else "parameter" if isinstance(item, torch.nn.Parameter) else "tensor"
            return kind, places[id(item)], not is_array and item.requires_grad

    rest = io.BytesIO()
    Carrier(rest, protocol=5).dump(mapping)
    named = {f"t{index}": tensor for index, tensor in enumerate(tensors)}
    return len(rest.getvalue()).to_bytes(8, "little") + rest.getvalue() + safetensors.torch.save(named)


def uncarry(rest: bytes, tensors: bytes) -> Mapping:
    """Make the mapping again that `carry` wrote."""
    import safetensors.torch
    import torch

    named = safetensors.torch.load(tensors)
    made: dict[int, Any] = {}

    class Opener(pickle.Unpickler):
        def persistent_load(self, place: Any) -> Any:
            kind, index, requires_grad = place
            if index not in made:
                tensor = named[f"t{index}"]
                made[index] = {
                    "array": lambda: tensor.numpy(),
                    "parameter": lambda: torch.nn.Parameter(tensor, requires_grad),
                    "tensor": lambda: tensor.requires_grad_(requires_grad),
                }[kind]()
            return made[index]

    mapping: Mapping = Opener(io.BytesIO(rest)).load()
    return mapping


def fit(method: type[Mapping], states: States, seed: int, step: Step) -> None:
    """Fit, and write the map, or what the fit left, to the scorer."""
    import safetensors.torch
    import torch

    step.name = "__init__"
    mapping = method()
    mapping.seed = seed
    step.name = "fit"
    mapping.fit(states)
    step.name = "__call__"
    about = {
        "stochastic": bool(mapping.stochastic),
        "equivariance": getattr(mapping, "equivariance", "orthogonal"),
    }
    with torch.no_grad():
        parts = linear_parts(mapping, states)
    if parts is not None:
        say(kind="linear", **about)
        write_all(safetensors.torch.save(dict(zip(("weight", "bias"), parts, strict=True))))
        return
    step.name = "what fit leaves cannot be carried to where queries are answered: keep it in tensors; it"
    left = carry(mapping)
    say(kind="left", **about)
    write_all(left)


def answer(step: Step) -> None:
    """Write a fitted map's answers to the scorer."""
    import safetensors.torch
    import torch

    rest, tensors, frame = read_frame(), read_frame(), read_frame()
    step.name = "what fit left"
    mapping = uncarry(rest, tensors)
    step.name = "__call__"
    with torch.no_grad():
        queries = safetensors.torch.load(frame)["h"]
        mapped = torch.cat([mapping(part).float() for part in queries.split(8192)]).contiguous()
    say(kind="mapped")
    write_all(safetensors.torch.save({"mapped": mapped}))


@dataclass
class Step:
    """What is being done, for the line that a failure is told in."""

    name: str = "import"


def work(orders: dict[str, Any]) -> None:
    """Read the states, import the submission, fit it or let it answer, reply."""
    import random

    import numpy as np
    import torch

    torch.set_num_threads(orders["threads"])
    states = read_states() if orders["work"] == "fit" else None
    if orders["filter"]:
        filter_calls(orders["filter"], orders["seccomp"])
    seed = orders["seed"]
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    step = Step()
    try:
        method = import_mapping(orders["mapping"], orders["class"])
        if states is not None:
            fit(method, states, seed, step)
        else:
            answer(step)
    except BaseException as error:
        say(kind="failure", message=_failure(step.name, error, orders["mapping"]))


def _failure(step: str, error: BaseException, path: str) -> str:
    """Return what went wrong, and in which line of the submission."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (mapping.py, line {line})" if line else ""
    return f"{step} fails{where}: {type(error).__name__}: {str(error)[:200]}"


def main() -> None:
    """Read the orders, fit, reply, end."""
    orders = json.loads(read_frame())
    sys.path[:] = [*sys.path, *orders["paths"]]
    os.environ["TMPDIR"] = orders["scratch"]
    for library in ("OMP", "OPENBLAS", "MKL"):  # else each starts a thread a core when it is imported
        os.environ[f"{library}_NUM_THREADS"] = str(orders["threads"])
    assert Path(orders["mapping"]).is_file()
    work(orders)
    os._exit(0)  # whatever threads it left behind


if __name__ == "__main__":
    main()
