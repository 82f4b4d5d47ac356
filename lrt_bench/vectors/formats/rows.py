"""From the tensors of a file to directions: one row a layer, zeros and unrelated tensors passed over.

Files of other tools name their directions by a layer's number: ``13``, ``layer.13``, ``layers_13``. The
number is taken as counted from 1, as a `Site` counts: the residual stream after so many blocks, which is also
the index of transformers' ``hidden_states``. No file can prove that, so the vector's provenance says it, and
a file that numbers a direction 0 is refused: it counts blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from lrt_bench.vectors.formats.errors import FormatError
from lrt_bench.vectors.vector import MAX_LAYERS, MAX_WIDTH, SteeringVector

NUMBERED = re.compile(r"(?:layers?[._ -]?)?(\d{1,4})", re.IGNORECASE)
MAX_NUMBERS = 1 << 24  # of all directions of a file: tensors that share bytes may claim more than it holds
ASSUMED = "layer_numbers"  # the provenance's word on numbers that other tools wrote
COUNTED = "as in the file, taken as counted from 1: the residual stream after so many blocks"
GGUF_NAME = re.compile(r"direction\.-?\d+")
NAMES_SHOWN = 6


def layer_number(name: object) -> int | None:
    """Return the number in a direction's name, or a whole number itself; None for any other name."""
    if type(name) is int:
        return name
    matched = NUMBERED.fullmatch(name) if isinstance(name, str) else None
    return int(matched[1]) if matched else None


def is_row(shape: Iterable[int]) -> bool:
    """Whether a shape is one row: [d], [1, d], [1, 1, d]."""
    sides = [side for side in shape if side != 1]
    return len(sides) <= 1 and all(1 <= side <= MAX_WIDTH for side in sides)


def numbered_rows(tensors: Mapping[Any, Tensor], layer: int | None) -> dict[int, Tensor]:
    """Directions by layer, of tensors by name.

    Parameters
    ----------
    tensors : those of a file; what bears no layer's number is passed over where another one does.
    layer : the layer to take, or the one that a lone direction of another name belongs to.

    Raises
    ------
    FormatError
        Where no tensor is a direction, where two are of one layer, or where layers are counted from 0.
    """
    layers: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if isinstance(name, str) and GGUF_NAME.fullmatch(name):
            raise FormatError(
                f"tensor {name[:40]!r}: direction.N counts blocks from 0 in GGUF files, and is ambiguous in "
                "others: name it layer.K, K counted from 1"
            )
        number = layer_number(name)
        if number is None:
            continue
        if not 1 <= number <= MAX_LAYERS:
            raise FormatError(
                f"tensor {name!r}: layers are counted from 1, the stream after so many blocks: a file that "
                "counts blocks from 0 is ambiguous, save block K as layer.K+1"
            )
        if number in layers:
            raise FormatError(f"layer {number} stands twice")
        layers[number] = tensor
    return layers or _lone_row(tensors, layer)


def _lone_row(tensors: Mapping[Any, Tensor], layer: int | None) -> dict[int, Tensor]:
    """Return the only row of a file whose names tell no layer, as the direction at `layer`."""
    rows = {name: t for name, t in tensors.items() if is_row(t.shape) and t.is_floating_point()}
    if len(rows) > 1:  # a strength or a norm beside the direction is a single number
        rows = {name: t for name, t in rows.items() if t.numel() > 1}
    shown = ", ".join(repr(str(name)[:60]) for name in list(tensors)[:NAMES_SHOWN]) or "nothing"
    wanted = "a steering vector's tensors are named layer.1, layer.2, ..."
    if len(rows) != 1:
        raise FormatError(f"holds {shown}: {wanted}")
    if layer is None:
        raise FormatError(f"holds tensor {shown} without a layer: {wanted}; or give the layer")
    return {layer: next(iter(rows.values()))}


def steering_vector(layers: Mapping[int, Tensor], layer: int | None, **about: Any) -> SteeringVector:
    """Return the vector of a file's directions, each [d], [1, d] or [1, 1, d].

    Parameters
    ----------
    layers : {layer, counted from 1: direction}.
    layer : the only one to take; None takes all that are not zero.
    about : the other fields of `SteeringVector`.

    Raises
    ------
    FormatError
        Where a direction is no row, where all are zero, or where together they are too large.
    """
    if layer is not None:
        layers = {number: tensor for number, tensor in layers.items() if number == layer} or layers
    total = 0
    for number, tensor in layers.items():
        if not is_row(tensor.shape) or tensor.layout != torch.strided or tensor.is_meta:
            raise FormatError(f"layer {number} is {tuple(tensor.shape)}: want one row of floats")
        total += tensor.numel()
    if total > MAX_NUMBERS:
        raise FormatError(f"claims {total} numbers: no steering vector")
    rows = {number: tensor.detach().reshape(-1) for number, tensor in layers.items()}
    steering = {number: row for number, row in rows.items() if bool((row != 0).any())}
    if not steering and rows:
        named = ", ".join(map(str, rows))
        raise FormatError(f"layer {named} of the steering vector is zero: it has no direction")
    return SteeringVector(steering, **about)
