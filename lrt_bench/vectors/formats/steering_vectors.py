"""The package steering-vectors (0.12): its SteeringVector as `torch.save` writes it.

The package has no file format of its own. Its ``layer_activations`` count blocks from 0 and are added to the
block's output, so layer K here is K - 1 there. The file is a pickle of one class: it is written without the
package, and read by torch's restricted reader, to which that one class is known by a stand-in.
"""

from __future__ import annotations

import io
import pickle
import types
import zipfile
from typing import Any

import torch
from torch import Tensor

from lrt_bench.vectors.formats.errors import MAX_BYTES, FormatError
from lrt_bench.vectors.vector import MAX_WIDTH, SteeringVector

MODULE, NAME = "steering_vectors.steering_vector", "SteeringVector"


class _StandIn:
    """In the place of the package's class, with its attributes."""

    layer_activations: dict[int, Tensor]
    layer_type: str


class _Pickler(pickle._Pickler):
    """Writes the stand-in under the name of the package's class."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is _StandIn:
            self.write(pickle.GLOBAL + f"{MODULE}\n{NAME}\n".encode())  # type: ignore[attr-defined]
            self.memoize(obj)  # type: ignore[attr-defined]
        else:
            super().save_global(obj, name)  # type: ignore[misc]


def encode(vector: SteeringVector) -> bytes:
    stood = _StandIn()
    stood.layer_activations = {layer - 1: v for layer, v in vector.layers.items()}
    stood.layer_type = "decoder_block"
    stream = io.BytesIO()
    torch.save(stood, stream, pickle_module=types.SimpleNamespace(__name__="pickle", Pickler=_Pickler))
    return stream.getvalue()


def decode(data: bytes, layer: int | None) -> SteeringVector:
    _check_archive(data)
    try:
        with torch.serialization.safe_globals([(_StandIn, f"{MODULE}.{NAME}")]):
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or hostile pickle makes the restricted reader raise
        raise FormatError(
            "not a SteeringVector of the package steering-vectors; other pickles are not read, they are code"
        ) from error
    return _vector(found)


def _check_archive(data: bytes) -> None:
    """Refuse what is no plain archive of torch's, and one that would unpack to more than it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise FormatError("not a whole file of torch.save") from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise FormatError("not a file of torch.save: it is compressed or too large")


def _vector(found: Any) -> SteeringVector:
    if not isinstance(found, _StandIn):
        raise FormatError(
            f"holds a {type(found).__name__}, no SteeringVector of the package steering-vectors"
        )
    about = vars(found)
    activations, kind = about.get("layer_activations"), about.get("layer_type", "decoder_block")
    if kind != "decoder_block":
        raise FormatError(f"layer_type {str(kind)[:40]!r}: only decoder_block is the residual stream")
    if not isinstance(activations, dict):
        raise FormatError("layer_activations is no table of layers")
    layers = {}
    for layer, value in activations.items():
        if type(layer) is not int or layer < 0 or not isinstance(value, Tensor):
            raise FormatError("layer_activations: want {block counted from 0: tensor}")
        if not 1 <= value.numel() <= MAX_WIDTH:
            raise FormatError(f"layer_activations[{layer}] has {value.numel()} numbers: want one row")
        layers[layer + 1] = value.squeeze()
    return SteeringVector(layers)
