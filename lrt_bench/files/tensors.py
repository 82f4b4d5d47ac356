"""Reads safetensors from strangers: the header is checked within hard limits before any library sees it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

HEADER_LIMIT = 65_536
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of a number
OTHER_WIDTHS = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1}
MAX_SIDE = 1 << 24
MAX_DIMENSIONS = 8


class TensorError(ValueError):
    """What is wrong with a safetensors stream, in a few words."""


@dataclass(frozen=True)
class Entry:
    """One tensor as the header describes it."""

    dtype: str
    shape: tuple[int, ...]


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return a safetensors stream's header, and how many bytes of tensors follow it.

    Raises TensorError.
    """
    if len(data) < 8:
        raise TensorError("not safetensors: shorter than a header")
    size = int.from_bytes(data[:8], "little")
    if size > HEADER_LIMIT or size > len(data) - 8:
        raise TensorError(f"not safetensors: its header claims {size} bytes")
    try:
        header = json.loads(data[8 : 8 + size].decode(), object_pairs_hook=_once)
    except TensorError:
        raise
    except (ValueError, RecursionError) as error:
        raise TensorError("not safetensors: its header is no JSON") from error
    if not isinstance(header, dict):
        raise TensorError("not safetensors: its header is no JSON object")
    return header, len(data) - 8 - size


def read_header(data: bytes, keys: set[str] | None) -> dict[str, Entry]:
    """Return the tensors of a whole safetensors stream, which must hold exactly `keys`.

    Nothing is taken on trust: the header's length, its JSON (each key once), types, shapes, and that the
    tensors fill the data part without a gap or an overlap.

    Raises TensorError.

    Parameters
    ----------
    keys : set of str or None
        None takes any.

    Raises
    ------
    TensorError
    """
    header, available = _header(data)
    header.pop("__metadata__", None)
    if keys is not None and set(header) != keys:
        names = ", ".join(sorted(key[:40] for key in list(header)[:8])) or "nothing"
        raise TensorError(f"holds {names!r}: want exactly {', '.join(sorted(keys))}")
    return _entries(header, available, lambda name: True, 2)


def count_numbers(data: bytes) -> int:
    """Return how many numbers a whole safetensors stream holds, of whatever names and types.

    Raises TensorError.
    """
    header, available = _header(data)
    header.pop("__metadata__", None)
    return sum(prod(entry.shape) for entry in _entries(header, available, lambda name: False, 8).values())


def read_metadata(data: bytes) -> dict[str, str]:
    """Return the strings beside the tensors of a safetensors stream.

    Raises TensorError.
    """
    metadata = _header(data)[0].get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TensorError("its __metadata__ is no table of texts")
    return metadata


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise TensorError("a key stands twice in its header")
    return table


def _entries(
    header: dict[str, Any], available: int, chosen: Callable[[str], bool], dimensions: int
) -> dict[str, Entry]:
    """Return a header's tensors, of at most so many dimensions; those not `chosen` may be no floats."""
    entries, spans = {}, []
    for name, described in header.items():
        if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
            raise TensorError(f"{name}: its header entry is not dtype, shape, data_offsets")
        dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
        widths = WIDTHS if chosen(name) else WIDTHS | OTHER_WIDTHS
        if not isinstance(dtype, str) or dtype not in widths:
            raise TensorError(f"{name}: dtype {str(dtype)[:20]!r}: want one of {', '.join(WIDTHS)}")
        if not _whole_numbers(shape, MAX_SIDE) or len(shape) > dimensions:
            raise TensorError(f"{name}: its shape is not one or two whole numbers")
        if not _whole_numbers(offsets, available) or len(offsets) != 2:
            raise TensorError(f"{name}: its data_offsets lie outside the file")
        if offsets[1] - offsets[0] != prod(shape) * widths[dtype]:
            raise TensorError(f"{name}: shape {shape} of {dtype} does not fill its data_offsets")
        spans.append((offsets[0], offsets[1]))
        entries[name] = Entry(dtype, tuple(shape))
    filled = 0
    for start, end in sorted(spans):
        if start != filled:
            raise TensorError("its tensors overlap, or leave a gap")
        filled = end
    if filled != available:
        raise TensorError("more data than its header describes")
    return entries


def _whole_numbers(value: Any, most: int) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= most for item in value)


def read_tensors(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read finite float tensors of exactly these names and shapes.

    Raises TensorError.
    """
    entries = read_header(data, set(shapes))
    for name, shape in shapes.items():
        if entries[name].shape != tuple(shape):
            raise TensorError(f"{name} is {list(entries[name].shape)}: want {list(shape)}")
    return _loaded(data)


def read_chosen_tensors(data: bytes, chosen: Callable[[str], bool]) -> dict[str, Tensor]:
    """All tensors of a stream; those that are `chosen` by name are finite floats.

    Raises TensorError.
    """
    header, available = _header(data)
    header.pop("__metadata__", None)
    _entries(header, available, chosen, MAX_DIMENSIONS)
    return _loaded(data, chosen)


def _loaded(data: bytes, chosen: Callable[[str], bool] = lambda name: True) -> dict[str, Tensor]:
    """Return the tensors of a stream whose header was checked; the chosen ones are finite."""
    import torch
    from safetensors.torch import load

    try:
        tensors: dict[str, Tensor] = load(data)
    except Exception as error:  # Python's JSON reader takes headers that the library refuses
        raise TensorError(f"not readable as safetensors: {error}") from error
    for name, tensor in tensors.items():
        if chosen(name) and not bool(torch.isfinite(tensor).all()):
            raise TensorError(f"{name} holds NaN or infinity")
    return tensors
