"""The tensors that a fitted map is kept as, and the map that is made of them again.

A linear map's are ``weight`` and ``bias``, a network's its standardisation and its parameters, a
`FeatureRidge`'s what its features are made of and their decoder. A `Blend` has each member's, after its
number and a dot.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from typing import Any, TypeVar

import torch
from torch import Tensor

from lrt_bench.files.tensors import TensorError, read_header, read_tensors
from lrt_bench.mappings import FixedLinear, LinearMapping, Mapping
from lrt_bench.mappings.blend import Blend
from lrt_bench.mappings.kernels.feature_ridge import DECODER, FeatureRidge
from lrt_bench.mappings.network import NetworkMapping

STATISTICS = ("mean_x_", "mean_y_", "scale_x_", "scale_y_")  # of a network's standardised states
Shape = tuple[int, ...]
Value = TypeVar("Value")


def tensors_of(mapping: Mapping) -> dict[str, Tensor]:
    """Return what a fitted built-in or linear mapping is kept as, float32 on the CPU."""
    if isinstance(mapping, Blend):
        return {
            f"{number}.{name}": value
            for number, member in enumerate(mapping.members_)
            for name, value in tensors_of(member).items()
        }
    if isinstance(mapping, LinearMapping):
        tensors = {"weight": mapping.weight, "bias": mapping.bias}
    elif isinstance(mapping, FeatureRidge):
        tensors = mapping.learned
    else:
        assert isinstance(mapping, NetworkMapping)
        tensors = {name: getattr(mapping, name) for name in STATISTICS}
        tensors |= {f"network.{key}": value for key, value in mapping.network_.state_dict().items()}
    return {name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}


def mapping_of(method: type[Mapping], data: bytes, d_source: int, d_target: int) -> Mapping:
    """Return the map of a built-in class, or the linear one, that safetensors `data` hold.

    The file is checked before anything of its size is made. Raises TensorError.
    """
    written = {name: entry.shape for name, entry in read_header(data, None).items()}
    tensors = read_tensors(data, _shapes(method, written, d_source, d_target))
    return _filled(method, tensors, d_source, d_target)


def _shapes(
    method: type[Mapping], written: Table[str, Shape], d_source: int, d_target: int
) -> dict[str, Shape]:
    """Return the names and shapes that a class's tensors must have; a free side is as it is written."""
    if issubclass(method, Blend):
        return {
            f"{number}.{name}": shape
            for number, kind in enumerate(method.kinds)
            for name, shape in _shapes(kind, _part(written, number), d_source, d_target).items()
        }
    if issubclass(method, FeatureRidge):
        return {name: written.get(name, ()) for name in method.sides | DECODER}
    if not issubclass(method, NetworkMapping):
        return {"weight": (d_target, d_source), "bias": (d_target,)}
    state = _empty(method(), d_source, d_target).state_dict()
    shapes: dict[str, Shape] = {f"network.{key}": tuple(value.shape) for key, value in state.items()}
    for name, width in zip(STATISTICS, (d_source, d_target) * 2, strict=True):
        shapes[name] = (width,)
    return shapes


def _filled(method: type[Mapping], tensors: dict[str, Tensor], d_source: int, d_target: int) -> Mapping:
    if issubclass(method, FixedLinear):
        return FixedLinear(**tensors)
    mapping: Any = method()
    if isinstance(mapping, Blend):
        parts = (_part(tensors, number) for number in range(len(mapping.kinds)))
        mapping.members_ = [
            _filled(kind, part, d_source, d_target) for kind, part in zip(mapping.kinds, parts, strict=True)
        ]
    elif isinstance(mapping, FeatureRidge):
        try:
            return mapping.of_tensors(tensors, d_source, d_target)
        except ValueError as error:
            raise TensorError(str(error)) from error
    elif isinstance(mapping, NetworkMapping):
        _fill_network(mapping, tensors, d_source, d_target)
    else:
        mapping.weight, mapping.bias = tensors["weight"].double(), tensors["bias"].double()
        assert isinstance(mapping, LinearMapping)
    made: Mapping = mapping
    return made


def _fill_network(mapping: NetworkMapping, tensors: Table[str, Tensor], d_source: int, d_target: int) -> None:
    network = _empty(mapping, d_source, d_target)
    network.load_state_dict({key: tensors[f"network.{key}"] for key in network.state_dict()}, assign=True)
    mapping.network_ = network.eval().requires_grad_(False)
    for name in STATISTICS:
        setattr(mapping, name, tensors[name])


def _empty(mapping: NetworkMapping, d_source: int, d_target: int) -> torch.nn.Module:
    """Return the network with shapes alone."""
    with torch.device("meta"):
        return mapping.build(d_source, d_target)


def _part(table: Table[str, Value], number: int) -> dict[str, Value]:
    """Return a member's entries, under their own names."""
    start = f"{number}."
    return {name.removeprefix(start): value for name, value in table.items() if name.startswith(start)}
