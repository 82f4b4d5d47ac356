"""Control vectors of repeng (0.4) and llama.cpp: GGUF with one tensor ``direction.N`` a layer.

``general.architecture`` is ``controlvector``, ``controlvector.model_hint`` the architecture of the model,
``controlvector.layer_count`` how many directions there are. N counts blocks from 0, and the direction is
added to the output of block N at every token, in repeng (its ControlModule wraps the block) as in llama.cpp
(`build_cvec` after the block's last addition): layer K here is direction.(K - 1). llama.cpp reads float32
alone and refuses direction.0; repeng takes it.

Files are read here by a few lines of our own, within limits: the gguf package's reader believes the counts
that a header claims.
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.vector import MAX_LAYERS, MAX_WIDTH, ModelHint, SteeringVector

ARCHITECTURE = "controlvector"
FLOATS: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2")}  # by GGML's number of the type
SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
STRING, ARRAY, UINT32 = 8, 9, 4
MAX_FIELDS = 256
MAX_ARRAY = 100_000


def encode(vector: SteeringVector) -> bytes:
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
    if 1 not in vector.layers:
        return []
    return ["layer 1 is direction.0, which repeng takes and llama.cpp refuses: choose a higher target layer"]


class _Reader:
    """Steps through a GGUF header; whatever leads out of the file is a FormatError."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.at:
            raise FormatError("not a whole GGUF file")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, most: int, what: str) -> int:
        found: int = self.number("<Q")
        if found > most:
            raise FormatError(f"claims {found} {what}: no control vector")
        return found

    def text(self) -> str:
        return self.take(self.number("<Q")).decode("utf-8", errors="replace")

    def value(self) -> Any:
        """A field's value; of an array only that it is there."""
        kind = self.number("<I")
        if kind == STRING:
            return self.text()
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind != ARRAY:
            raise FormatError(f"a field of unknown type {kind}: not a GGUF file of version 2 or 3")
        inner, size = self.number("<I"), self.count(MAX_ARRAY, "values in a field")
        if inner == STRING:
            for _ in range(size):
                self.text()
        elif inner in SCALARS:
            self.take(size * struct.calcsize(SCALARS[inner]))
        else:
            raise FormatError(f"a field of unknown type {inner}: no control vector")
        return None


def decode(data: bytes, layer: int | None) -> SteeringVector:
    reader = _Reader(data)
    if reader.take(4) != b"GGUF" or reader.number("<I") not in (2, 3):
        raise FormatError("not a GGUF file of version 2 or 3")
    tensors = reader.count(MAX_LAYERS, "tensors")
    fields = {reader.text(): reader.value() for _ in range(reader.count(MAX_FIELDS, "fields"))}
    architecture = fields.get("general.architecture")
    if architecture != ARCHITECTURE:
        raise FormatError(f"general.architecture is {str(architecture)[:40]!r}: no control vector")
    entries = [_entry(reader) for _ in range(tensors)]
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or not 1 <= alignment <= 1 << 16:
        raise FormatError("general.alignment is no small number")
    start = -(-reader.at // alignment) * alignment
    layers: dict[int, torch.Tensor] = {}
    for name, size, dtype, offset in entries:
        block = _block(name)
        if block is None:
            continue
        if block + 1 in layers:
            raise FormatError(f"{name[:40]} stands twice")
        reader.at = min(start + offset, len(data))
        row = np.frombuffer(reader.take(size * dtype.itemsize), dtype).astype(np.float32)
        layers[block + 1] = torch.from_numpy(row)
    if not layers:
        raise FormatError("no tensor direction.N there: no control vector")
    hint = fields.get(f"{ARCHITECTURE}.model_hint")
    known = isinstance(hint, str) and hint != "unknown" and len(hint) <= 200
    return SteeringVector(layers, ModelHint(model_type=hint if known else None))


def _entry(reader: _Reader) -> tuple[str, int, np.dtype[Any], int]:
    """A tensor as the header describes it: name, length, type, offset in the data."""
    name: str = reader.text()
    n_dims: int = reader.number("<I")
    shape: list[int] = [reader.number("<Q") for _ in range(min(n_dims, 4))]
    kind, offset = reader.number("<I"), reader.number("<Q")
    if n_dims != 1 or not 1 <= shape[0] <= MAX_WIDTH:
        raise FormatError(f"{name[:40]} is {shape}: want one row")
    if kind not in FLOATS:
        raise FormatError(f"{name[:40]} is of GGML type {kind}: want float32 or float16")
    return name, shape[0], FLOATS[kind], offset


def _block(name: str) -> int | None:
    """N of direction.N; None for another tensor."""
    head, _, tail = name.partition(".")
    if head != "direction":
        return None
    if not (tail.isascii() and tail.isdecimal()) or int(tail) >= MAX_LAYERS:
        raise FormatError(f"{name[:40]}: want direction.0, direction.1, ...")
    return int(tail)
