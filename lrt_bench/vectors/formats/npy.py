"""One row of numbers as NumPy's .npy; the layer is not in it."""

from __future__ import annotations

import io

import numpy as np
import torch

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.vector import MAX_WIDTH, SteeringVector


def encode(vector: SteeringVector) -> bytes:
    if len(vector.layers) > 1:
        there = ", ".join(map(str, vector.layers))
        raise FormatError(f"an .npy file holds one layer, the vector has {there}: take another format")
    stream = io.BytesIO()
    np.save(stream, vector.at().numpy(), allow_pickle=False)
    return stream.getvalue()


def decode(data: bytes, layer: int | None) -> SteeringVector:
    if layer is None:
        raise FormatError("an .npy file does not say its layer: give it")
    stream = io.BytesIO(data)
    try:
        major, _ = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(stream)
    except Exception as error:  # a broken header makes NumPy's reader raise whatever its parser does
        raise FormatError("not an .npy file") from error
    if dtype.kind != "f" or len(shape) != 1 or not 1 <= shape[0] <= MAX_WIDTH:
        raise FormatError(f"holds {dtype} of shape {tuple(shape)}: want one row of floats")
    body = data[stream.tell() :]
    if len(body) != shape[0] * dtype.itemsize:
        raise FormatError("not as long as its header says: not a whole file")
    row = np.frombuffer(body, dtype).astype(np.float32)
    return SteeringVector({layer: torch.from_numpy(row)})
