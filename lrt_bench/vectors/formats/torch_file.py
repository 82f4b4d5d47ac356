"""What `torch.save` wrote: a tensor, {layer: tensor}, or a SteeringVector of the package steering-vectors.

That package (0.12) has no file format of its own. Its ``layer_activations`` count blocks from 0 and are added
to the block's output, so layer K here is K - 1 there. A plain table counts layers from 1 (`rows.py`), and a
lone tensor does not say its layer.

The file is a pickle: it is read by torch's restricted reader, to which the package's class is known by a
stand-in, and only where the pickle names nothing but tensors and that class. torch's own list is longer; it
holds ``bytearray``, with which a few bytes ask for gigabytes. The class is written without the package.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import types
import zipfile
from typing import Any

import torch
from torch import Tensor

from lrt_bench.vectors.formats.errors import MAX_BYTES, FormatError
from lrt_bench.vectors.formats.rows import ASSUMED, COUNTED, is_row, numbered_rows, steering_vector
from lrt_bench.vectors.vector import SteeringVector

MODULE, NAME = "steering_vectors.steering_vector", "SteeringVector"
STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
NAMED = {
    f"{MODULE} {NAME}",
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in STORAGES),
}
MAX_PICKLE = 1 << 20  # bytes of the pickle itself; tensors lie beside it in the archive


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
    """Return the file's bytes, as the package steering-vectors reads them."""
    stood = _StandIn()
    stood.layer_activations = {layer - 1: v for layer, v in vector.layers.items()}
    stood.layer_type = "decoder_block"
    stream = io.BytesIO()
    torch.save(stood, stream, pickle_module=types.SimpleNamespace(__name__="pickle", Pickler=_Pickler))
    return stream.getvalue()


def decode(data: bytes, layer: int | None) -> SteeringVector:
    """Return the vector in a file.

    Raises FormatError.
    """
    _check_archive(data)
    try:
        with torch.serialization.safe_globals([(_StandIn, f"{MODULE}.{NAME}")]):
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken or hostile pickle makes the restricted reader raise
        raise FormatError("not a whole file of tensors; other pickles are not read, they are code") from error
    about = {ASSUMED: COUNTED} if isinstance(content, dict) else {}
    return steering_vector(_layers(content, layer), layer, provenance=about)


def _check_archive(data: bytes) -> None:
    """Refuse what is no plain archive of torch's, unpacks to more than it is, or names more than tensors."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
            if packed or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise FormatError("not a file of torch.save: it is compressed or too large")
            pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
            if any(entry.file_size > MAX_PICKLE for entry in pickles):
                raise FormatError("not a steering vector: it holds more than tensors")
            texts = [archive.read(entry) for entry in pickles]
    except FormatError:
        raise
    except Exception as error:  # whatever a broken archive makes the standard library raise
        raise FormatError("not a whole file of torch.save, as torch 1.6 or newer writes it") from error
    for text in texts:
        _check_names(text)


def _check_names(text: bytes) -> None:
    """Refuse a pickle that names anything but tensors; nothing of it is run.

    Raises FormatError.
    """
    try:
        for code, argument, _ in pickletools.genops(text):
            if code.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                raise FormatError("not a file of tensors as torch.save writes it; other pickles are code")
            if code.name == "GLOBAL" and argument not in NAMED:
                name = str(argument).replace(" ", ".")[:80]
                raise FormatError(f"not a file of tensors alone: it names {name!r}; other pickles are code")
    except FormatError:
        raise
    except Exception as error:  # whatever a broken pickle makes the standard library raise
        raise FormatError("not a whole file of torch.save") from error


def _layers(content: Any, layer: int | None) -> dict[int, Tensor]:
    """Directions by layer, whichever of the three kinds the file is.

    Raises FormatError.
    """
    if isinstance(content, _StandIn):
        return _package_layers(content)
    if isinstance(content, Tensor):
        if not is_row(content.shape):
            raise FormatError(
                f"holds a tensor of shape {tuple(content.shape)}: want one row; of a stack save one layer's"
            )
        if layer is None:
            raise FormatError("holds one tensor, which does not say its layer: give it")
        return {layer: content}
    if not isinstance(content, dict):
        raise FormatError(f"holds a {type(content).__name__}: want a tensor, or {{layer: tensor}}")
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise FormatError("holds a dict, no SteeringVector of steering-vectors and no {layer: tensor}")
    return numbered_rows(tensors, layer)


def _package_layers(content: _StandIn) -> dict[int, Tensor]:
    """Directions of the package's class, their layers counted from 1."""
    about = vars(content)
    activations, kind = about.get("layer_activations"), about.get("layer_type", "decoder_block")
    if kind != "decoder_block":
        raise FormatError(f"layer_type {str(kind)[:40]!r}: only decoder_block is the residual stream")
    if not isinstance(activations, dict):
        raise FormatError("layer_activations is no table of layers")
    layers = {}
    for block, value in activations.items():
        if type(block) is not int or block < 0 or not isinstance(value, Tensor):
            raise FormatError("layer_activations: want {block counted from 0: tensor}")
        if not is_row(value.shape):
            raise FormatError(f"layer_activations[{block}] is {tuple(value.shape)}: want one row")
        layers[block + 1] = value
    return layers
