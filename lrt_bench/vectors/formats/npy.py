"""One row of numbers as NumPy's .npy, [d] or [1, d]; the layer is not in it."""

from __future__ import annotations

import io

import numpy as np
import torch

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.formats.rows import is_row, steering_vector
from lrt_bench.vectors.vector import SteeringVector


def encode(vector: SteeringVector) -> bytes:
    """Return the file's bytes.

    Raises FormatError for a vector of several layers.
    """
    if len(vector.layers) > 1:
        layers = ", ".join(map(str, vector.layers))
        raise FormatError(f"an .npy file holds one layer, the vector has {layers}: take another format")
    stream = io.BytesIO()
    np.save(stream, vector.at().numpy(), allow_pickle=False)
    return stream.getvalue()


def decode(data: bytes, layer: int | None) -> SteeringVector:
    """Return the vector in a file, at `layer`.

    Raises FormatError.
    """
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
    if dtype.kind != "f" or not is_row(shape):
        raise FormatError(
            f"holds {dtype} of shape {tuple(shape)}: want one row of floats; of a stack save one layer's row"
        )
    body = data[stream.tell() :]
    if len(body) != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise FormatError("not as long as its header says: not a whole file")
    with np.errstate(over="ignore"):  # a long double beyond float64 is infinite, and refused as that
        row = np.frombuffer(body, dtype).astype(np.float64)
    return steering_vector({layer: torch.from_numpy(row)}, layer)
