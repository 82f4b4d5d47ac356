"""Control vectors of repeng (0.4) and llama.cpp: GGUF with one tensor ``direction.N`` a layer.

``general.architecture`` is ``controlvector``, ``controlvector.model_hint`` the architecture of the model,
``controlvector.layer_count`` how many directions there are. N counts blocks from 0, and the direction is
added to the output of block N at every token, in repeng (its ControlModule wraps the block) as in llama.cpp
(`build_cvec` after the block's last addition): layer K here is direction.(K - 1). llama.cpp reads float32
alone and refuses direction.0; repeng takes it.

Files are read here by a few lines of our own, within limits: the gguf package's reader believes the counts
that a header claims. As that reader does, these lines take both byte orders, which the version's tells. A
direction is one row, [d] or [1, d], of float32, float16, bfloat16 or float64; tensors of other names are
passed over, whatever they are.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.formats.rows import MAX_NUMBERS, is_row, steering_vector
from lrt_bench.vectors.vector import MAX_LAYERS, ModelHint, SteeringVector

ARCHITECTURE = "controlvector"
FLOATS = {0: "f4", 1: "f2", 28: "f8"}  # NumPy's types by GGML's number of the type
BFLOAT16 = 30  # the upper half of a float32, which NumPy has no type for
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_FIELDS = 4096
MAX_ARRAY = 1 << 19
MAX_READS = 1 << 21  # of a header: a file within the limit of size could hold minutes of empty texts
MAX_DIMENSIONS = 4


def encode(vector: SteeringVector) -> bytes:
    """Return the file's bytes, as the gguf package writes them."""
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory(prefix="lrt-bench-") as folder:
        path = Path(folder) / "vector.gguf"
        writer = GGUFWriter(path, ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", vector.model.model_type or "unknown")
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vector.layers))
        for layer, direction in vector.layers.items():
            writer.add_tensor(f"direction.{layer - 1}", direction.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def notes(vector: SteeringVector) -> list[str]:
    """Return what a reader of the file should know that is no error."""
    if 1 not in vector.layers:
        return []
    return ["layer 1 is direction.0, which repeng takes and llama.cpp refuses: choose a higher target layer"]


class _Reader:
    """Steps through a GGUF header; whatever leads out of the file is a FormatError."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position, self.reads = data, 0, 0
        if self.take(4) != b"GGUF":
            raise FormatError("not a GGUF file of version 2 or 3")
        version = self.take(4)
        self.order = "<" if int.from_bytes(version, "little") in (2, 3) else ">"
        if int.from_bytes(version, "little" if self.order == "<" else "big") not in (2, 3):
            raise FormatError("not a GGUF file of version 2 or 3")

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self.reads += 1
        if not 0 <= size <= len(self.data) - self.position or self.reads > MAX_READS:
            raise FormatError("not a whole GGUF file")
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, form: str) -> Any:
        """Return the next number, of one of `struct`'s types."""
        return struct.unpack(self.order + form, self.take(struct.calcsize("<" + form)))[0]

    def count(self, most: int, what: str) -> int:
        """Return the next number as a count of things, no more than `most`."""
        claimed: int = self.number("Q")
        if claimed > most:
            raise FormatError(f"claims {claimed} {what}: no control vector")
        return claimed

    def text(self) -> str:
        """Return the next text, after its length."""
        return self.take(self.number("Q")).decode("utf-8", errors="replace")

    def value(self) -> Any:
        """Return the next field's value; None for an array, which is stepped over."""
        kind = self.number("I")
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise FormatError(f"a field of unknown type {kind}: not a GGUF file of version 2 or 3")
        inner, size = self.number("I"), self.count(MAX_ARRAY, "values in a field")
        if inner == STRING:
            for _ in range(size):
                self.text()
        elif inner in SCALARS:
            self.take(size * struct.calcsize("<" + SCALARS[inner]))
        else:
            raise FormatError(f"a field of unknown type {inner}: no control vector")
        return None


@dataclass(frozen=True)
class _Entry:
    """A tensor as the header describes it; offset is in bytes, from where the data begin."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def decode(data: bytes, layer: int | None) -> SteeringVector:
    """Return the vector in a file.

    Raises FormatError.
    """
    reader = _Reader(data)
    tensors = reader.count(MAX_LAYERS, "tensors")
    fields = {reader.text(): reader.value() for _ in range(reader.count(MAX_FIELDS, "fields"))}
    architecture = fields.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise FormatError(f"general.architecture is {str(architecture)[:40]!r}: no control vector")
    entries = _directions([_entry(reader) for _ in range(tensors)])
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 16:
        raise FormatError("general.alignment is no small number")
    start = -(-reader.position // alignment) * alignment
    if layer in entries:
        entries = {layer: entries[layer]}
    if sum(prod(entry.shape) for entry in entries.values()) > MAX_NUMBERS:
        raise FormatError("its directions claim more numbers than a steering vector has")
    layers = {number: _row(reader, entry, start) for number, entry in entries.items()}
    hint = fields.get(f"{ARCHITECTURE}.model_hint")
    known = isinstance(hint, str) and hint != "unknown" and len(hint) <= 200 and hint.isprintable()
    return steering_vector(layers, layer, model=ModelHint(model_type=hint if known else None))


def _entry(reader: _Reader) -> _Entry:
    name, n_dimensions = reader.text(), reader.number("I")
    if n_dimensions > MAX_DIMENSIONS:
        raise FormatError(f"{name[:40]} claims {n_dimensions} dimensions: not a GGUF file")
    shape = tuple(reader.number("Q") for _ in range(n_dimensions))
    return _Entry(name, shape, reader.number("I"), reader.number("Q"))


def _directions(entries: list[_Entry]) -> dict[int, _Entry]:
    """Return the entries of directions, by layer counted from 1.

    Raises FormatError where one is no row.
    """
    directions: dict[int, _Entry] = {}
    for entry in entries:
        block = _block(entry.name)
        if block is None:
            continue
        if block + 1 in directions:
            raise FormatError(f"{entry.name[:40]} stands twice")
        if not entry.shape or not is_row(entry.shape):
            raise FormatError(f"{entry.name[:40]} is {list(entry.shape)}: want one row")
        if entry.kind not in (*FLOATS, BFLOAT16):
            raise FormatError(
                f"{entry.name[:40]} is of GGML type {entry.kind}: want float32, float16, bfloat16 or float64"
            )
        directions[block + 1] = entry
    if not directions:
        raise FormatError("no tensor direction.N in it: no control vector")
    return directions


def _row(reader: _Reader, entry: _Entry, start: int) -> torch.Tensor:
    """Return a direction's numbers [d], of the file's bytes from `start` on."""
    dtype = np.dtype(reader.order + FLOATS.get(entry.kind, "u2"))
    reader.position = min(start + entry.offset, len(reader.data))
    numbers = np.frombuffer(reader.take(prod(entry.shape) * dtype.itemsize), dtype)
    if entry.kind == BFLOAT16:
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return torch.from_numpy(numbers.astype(numbers.dtype.newbyteorder("=")))


def _block(name: str) -> int | None:
    """N of direction.N; None for another tensor."""
    head, _, tail = name.partition(".")
    if head != "direction":
        return None
    if not (tail.isascii() and tail.isdecimal()) or int(tail) >= MAX_LAYERS:
        raise FormatError(f"{name[:40]}: want direction.0, direction.1, ...")
    return int(tail)
